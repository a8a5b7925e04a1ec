"""A real server on loopback, and a real Chromium."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from evolve.web.serve import Server
from tests.pick.scene import Scene, scene
from tests.support import require

TOKEN = "a-token-for-the-tests-0123456789"

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@dataclass
class Client:
    """Plain HTTP, so that every header is the test's own."""

    port: int

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> HTTPResponse:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        return connection.getresponse()

    def json(self, path: str) -> Any:
        answer = self.ask(path, Authorization=f"Bearer {TOKEN}")
        assert answer.status == 200, answer.read()
        return json.loads(answer.read())


def serving(archive: Path, **options: Any) -> Iterator[Server]:
    pytest.importorskip("uvicorn")
    server = Server(archive, port=0, token=TOKEN, **options)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Scene]:
    made = scene(tmp_path)
    yield made
    made.writer.close()
    made.archive.close()


@pytest.fixture
def server(place: Scene) -> Iterator[Server]:
    yield from serving(place.archive.path)


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server.port)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """For one module only: while Playwright's loop runs in this thread, no other test could call `asyncio.run`."""
    require("browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=FLAGS)
        yield browser
        browser.close()


def _chromium() -> str:
    for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"):
        if os.access(path, os.X_OK):
            return path
    pytest.skip("no Chromium")


@pytest.fixture
def page(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A fresh profile; any error in the page or its console fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    opened.problems = problems
    yield opened
    context.close()
    assert not (told := [text for text in problems if "net::ERR_" not in text]), told  # the server may end first
