"""From a finished run to a merged cherry-pick, by somebody who knows no command and reads only what is on the screen.

Each step types what the step before it showed. The goal is two minutes; `python -m pytest -s` on this file prints the
seconds that the tool's own steps took.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.search.scene import cli, make_repository
from tests.web.conftest import chromium, page  # noqa: F401

GOAL = 120.0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A repository whose run has ended, and what its screen shows then."""
    place = make_repository(tmp_path_factory.mktemp("new") / "toy")
    done = cli("run", "--evals", "20", "--seed", "3", "--workers", "2", "--no-control", cwd=place)
    return place, done.stdout + done.stderr


@pytest.fixture
def fresh(finished: tuple[Path, str]) -> Path:
    """The repository as it was when the run ended."""
    place, _ = finished
    shell(place, "git reset -q --hard $(git rev-list --max-parents=0 HEAD)")
    return place


def shell(place: Path, command: str) -> str:
    """What the screen shows of a command typed as it stands."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, shell=True, cwd=place, env=environment, capture_output=True, text=True, check=False)
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    return shown


def shown(pattern: str, screen: str) -> str:
    found = re.search(pattern, screen, re.MULTILINE)
    assert found, f"the screen does not tell: {pattern}\n{screen}"
    return found[1]


def program(place: Path, commit: str = "HEAD") -> str:
    return shell(place, f"git show {commit}:program.py")


def told(what: str, began: float) -> None:
    took = time.monotonic() - began
    print(f"{what}: {took:.1f} s")
    assert took < GOAL


def test_the_end_of_a_run_says_how_to_take_it(finished: tuple[Path, str], fresh: Path) -> None:
    began = time.monotonic()
    shell(fresh, shown(r"^take it\s+(.+)$", finished[1]))
    told("run's end -> cherry-pick", began)
    assert program(fresh) == program(fresh, "evolve/toy/best") and shell(fresh, "git status --porcelain") == ""
    assert len(shell(fresh, "git log --format=%H").split()) == 2


def test_days_later_status_and_best_lead_there_onto_a_branch_that_moved(fresh: Path) -> None:
    # In another file: the best may change any line of the program, so a move there could conflict, as git rightly says.
    (fresh / "NOTES.md").write_text("A note of upstream's.\n")
    shell(fresh, "git add NOTES.md && git commit -qm 'Upstream moves'")
    began = time.monotonic()
    assert "best" in shell(fresh, "evolve --help")
    screen = shell(fresh, "evolve best")
    merged = shell(fresh, shown(r"^or\s+(.+)$", screen))
    assert "the gain survives" in merged
    shell(fresh, shown(r"to take it: (.+)$", merged))
    told("evolve best -> pick onto a moved branch, measured there -> merge", began)
    assert (fresh / "NOTES.md").exists() and "Upstream moves" in shell(fresh, "git log --format=%s")
    assert program(fresh) == program(fresh, "evolve/toy/best")


@pytest.mark.browser
def test_from_the_address_that_ui_prints_to_a_commit(fresh: Path, page: Any) -> None:  # noqa: F811
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "evolve", "ui", "--port", "0"], cwd=fresh, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        page.goto(process.stdout.readline().strip())
        page.locator(".headline a").first.click()
        page.wait_for_selector(".take .command")
        assert "as one plain commit" in page.inner_text(".take") and "measured again there" in page.inner_text(".take")
        command = page.locator(".take .command").first.inner_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
    shell(fresh, command)
    told("evolve ui -> candidate -> its command", began)
    assert program(fresh) == program(fresh, "evolve/toy/best")
