from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import require


@pytest.fixture(autouse=True)
def _optional_parts(request: pytest.FixtureRequest) -> None:
    """A marker names an optional part: skipped or failed as `require` says."""
    for part in ("torch", "browser", "node", "jail", "gpu"):
        if request.node.get_closest_marker(part):
            require(part)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's git configuration or settings. That the sandbox's self-test passed is kept between tests."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)


Git = Callable[..., str]


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[tuple[Path, Git]]:
    """A real repository with one commit (program.py, README.md) and a function that runs git in it."""
    place = tmp_path / "repo"
    place.mkdir()

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=place, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    git("config", "user.name", "A User")
    git("config", "user.email", "user@example.invalid")
    (place / "program.py").write_text("SIZE = 3.0\n\n\ndef value():\n    return SIZE\n")
    (place / "README.md").write_text("a library\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "Start")
    yield place, git
