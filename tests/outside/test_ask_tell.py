"""Ask and tell with real processes: on a run that is searched, and on one that is not."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.outside.scene import PROGRAM, command, project, start, told
from tests.population.scene import git


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a short finished run."""
    where = project(tmp_path_factory.mktemp("stopped") / "repo", {"notes.txt": "for people\n"})
    command(where, "run", "--evals", "2", "--no-control", "--seed", "1", "--workers", "1")
    command(where, "budget", "--evals", "50")
    return where


def ask(where: Path, folder: str, *arguments: str) -> Path:
    command(where, "ask", folder, *arguments)
    return where / folder


def test_the_folder_holds_all_that_is_needed(stopped: Path) -> None:
    folder = ask(stopped, "b1", "--operator", "improve", "--as", "ann")
    facts = json.loads((folder / "brief.json").read_text())
    assert facts["operator"] == "improve" and facts["holder"] == "ann" and facts["editable"] == ["prog.py"]
    assert facts["metrics"]["total"]["mean"] > 0
    text = (folder / "brief.md").read_text()
    assert "# Task: sum" in text and "WEIGHTS" in text and "# Order: improve" in text and "evolve tell" in text
    assert sorted(p.name for p in (folder / "work").iterdir()) == [
        ".git",
        "evaluate.py",
        "evolve.toml",
        "notes.txt",
        "prog.py",
    ]
    assert (
        git(folder / "work", "rev-list", "--count", "HEAD") == "1"
        and git(folder / "work", "status", "--porcelain") == ""
    )
    assert not git(folder / "work", "remote")
    told(stopped, "b1", "--give-up", "no idea")


def test_an_answer_is_judged_without_a_running_search(stopped: Path) -> None:
    folder = ask(stopped, "b2")
    (folder / "work" / "prog.py").write_text(PROGRAM.replace("3.0", "300.0"))
    (folder / "work" / "scratch.txt").write_text("litter")
    got = told(stopped, "b2", "--idea", "a larger weight", "--model", "ann")
    assert got["state"] == "born" and got["status"] == "scored" and got["fitness"] == 303.0
    assert got["ignored"] == ["scratch.txt"]
    row = [json.loads(line) for line in command(stopped, "log", "--json").stdout.splitlines()][-1]
    assert row["commit"] == got["candidate"] and row["idea"] == "a larger weight" and row["model"] == "ann"
    assert row["champion"] is True
    again = told(stopped, "b2", code=0)
    assert again["candidate"] == got["candidate"]  # a second answer changes nothing and says what became of the first


def test_what_may_not_be_is_refused_by_name_and_can_be_put_right(stopped: Path) -> None:
    folder = ask(stopped, "b3")
    work = folder / "work"
    assert "nothing changed" in command(stopped, "tell", "b3", code=2).stderr
    (work / "prog.py").write_text(PROGRAM.replace("3.0", "4.5"))
    (work / "evaluate.py").write_text("def evaluate(trial):\n    return {'total': 1e9}\n")
    assert "evaluate.py is not editable" in command(stopped, "tell", "b3", code=2).stderr
    git(work, "checkout", "--", "evaluate.py")
    (work / "notes.txt").unlink()
    assert "notes.txt" in command(stopped, "tell", "b3", code=2).stderr
    git(work, "checkout", "--", "notes.txt")
    (work / "prog.py").unlink()
    (work / "prog.py").symlink_to("/etc/passwd")
    assert "link" in command(stopped, "tell", "b3", code=2).stderr
    (work / "prog.py").unlink()
    os.mkfifo(work / "prog.py")
    assert "only plain files" in command(stopped, "tell", "b3", code=2).stderr
    (work / "prog.py").unlink()
    (work / "prog.py").write_text(PROGRAM.replace("3.0", "4.5"))
    assert told(stopped, "b3")["status"] == "scored"


def test_a_known_program_is_refused_and_named(stopped: Path) -> None:
    folder = ask(stopped, "b4")
    (folder / "work" / "prog.py").write_text(PROGRAM + "\n# the seed again\n")
    got = told(stopped, "b4", code=1)
    assert got["state"] == "refused" and got["why"].startswith("duplicate")


def test_a_lease_expires_and_its_answer_is_late(stopped: Path) -> None:
    folder = ask(stopped, "b5", "--lease", "1ms")
    (folder / "work" / "prog.py").write_text(PROGRAM.replace("2.0", "2.5"))
    assert told(stopped, "b5", code=1)["state"] == "late"


def test_a_folder_that_is_in_use_or_no_brief_says_so(stopped: Path) -> None:
    (stopped / "mine").mkdir()
    (stopped / "mine" / "x").write_text("x")
    assert "not empty" in command(stopped, "ask", "mine", code=2).stderr
    assert "brief.json" in command(stopped, "tell", "mine", code=2).stderr
    assert "operator" in command(stopped, "ask", "other", "--operator", "tune", code=2).stderr


def test_a_running_search_hands_out_briefs_and_takes_answers(tmp_path: Path) -> None:
    where = project(tmp_path / "repo")
    process = start(where, "--time", "90s", "--workers", "1", "--seed", "3")
    try:
        folder = ask(where, "b1", "--operator", "improve")
        (folder / "work" / "prog.py").write_text(PROGRAM.replace("1.0", "1e6"))
        got = told(where, "b1", "--idea", "much heavier")
        assert got["state"] == "born" and got["status"] == "scored" and got["fitness"] == 1000005.0
        second = ask(where, "b2")
        (second / "work" / "prog.py").write_text(PROGRAM.replace("1.0", "2e6"))
        first, then = told(where, "b2", "--idea", "heavier still"), told(where, "b2", "--idea", "twice")
        assert first["candidate"] == then["candidate"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 75
