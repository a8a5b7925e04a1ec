"""`evolve ui` and `evolve run --ui` as a person starts them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.pick.scene import RUN, scene

pytest.importorskip("uvicorn")


def start(where: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "evolve", *arguments], cwd=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def asked(address: str, page: str) -> dict[str, object]:
    token = address.partition("token=")[2]
    request = urllib.request.Request(address.partition("?")[0].rstrip("/") + page, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def test_ui_prints_its_address_and_the_tunnel_and_ends_on_interrupt(tmp_path: Path) -> None:
    place = scene(tmp_path)
    place.writer.close()
    place.archive.close()
    served = start(place.repo, "ui", "--port", "0")
    assert served.stdout is not None and served.stderr is not None
    address = served.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/r/r\?token=[\w-]{32}", address)
    assert asked(address, ".json")["run"] == RUN
    served.send_signal(signal.SIGINT)
    served.wait(10)
    port = address.split(":")[2].partition("/")[0]
    assert re.search(rf"ssh -L {port}:127\.0\.0\.1:{port} ", served.stderr.read())


def test_a_run_serves_itself_while_it_goes_on(tmp_path: Path) -> None:
    running = start(tmp_path, "run", "circle_packing", "--time", "60s", "--ui", "--no-control", "--workers", "1", "--unsafe")
    assert running.stderr is not None
    address = next(m[0] for line in running.stderr if (m := re.search(r"http://127\.0\.0\.1:\d+/r/\S+", line)))
    assert asked(address, ".json")["state"] == "running"
    os.kill(running.pid, signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130


def test_a_short_token_and_a_taken_port_are_refused(tmp_path: Path) -> None:
    import socket

    place = scene(tmp_path)
    place.writer.close()
    place.archive.close()
    short = start(place.repo, "ui", "--token", "abc")
    assert "at least 16" in short.communicate(timeout=30)[1] and short.returncode == 2
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = start(place.repo, "ui", "--port", str(port))
        assert f"port {port}" in taken.communicate(timeout=30)[1] and taken.returncode == 2
