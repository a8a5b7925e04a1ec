"""Real repositories and archives for the tests of the record."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.writer import Writer
from evolve.tasks.verdict import Estimate, Status, Verdict

ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "A User",
    "GIT_AUTHOR_EMAIL": "user@example.com",
    "GIT_COMMITTER_NAME": "A User",
    "GIT_COMMITTER_EMAIL": "user@example.com",
}


def git(where: Path, *arguments: str, ok: bool = True, text: str | None = None) -> str:
    """git's stdout, stripped of the last newline."""
    done = subprocess.run(
        ["git", "-C", str(where), *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=False, input=text
    )
    assert done.returncode == 0 or not ok, done.stderr
    return done.stdout.rstrip("\n")


def repository(path: Path, files: dict[str, str] | None = None) -> Path:
    """A user's repository with one commit (none where `files` is empty)."""
    path.mkdir(parents=True, exist_ok=True)
    git(path, "init", "-q", "-b", "main")
    if files is None:
        files = {"train.py": "rate = 0.1\nprint(rate)\n", "lib/deep/util.py": "x = 1\n", "README.md": "hello\n"}
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    if files:
        git(path, "add", ".")
        git(path, "commit", "-qm", "First version")
    return path


def opened(repo: Path, run: str = "r", **options: object) -> tuple[Archive, Writer, str]:
    """Archive, the run's writer and the base, with the run's opening events appended."""
    archive = Archive.open(repo, create=True)
    base = archive.import_commit(repo, "HEAD")
    writer = archive.writer(run, exclusive=True, **options)
    writer.append(ev.RunOpened(run, {"t": ev.TaskOpened(base, "[task]", "digest")}, 7, "0"))
    writer.append(ev.EpochOpened("t", "e1", "digest", "evaluator", "cpu"))
    writer.append(ev.Imported("t", base, archive.store.tree_of(base), (), 0, source="seed"))
    return archive, writer, base


def bear(archive: Archive, writer: Writer, parent: str, number: int, content: str, fitness: float | None = None) -> str:
    """A candidate with its birth on record, and a verdict where `fitness` is given."""
    store = archive.store
    tree = store.edit(parent, {"train.py": content.encode()})
    commit = store.commit(tree, [parent], f"change {number}\n\nEvolve-Run: {writer.run}\n", writer.now())
    writer.append(ev.Born(number, "t", commit, tree, (parent,), number, "syntactic", idea=f"change {number}"))
    if fitness is not None:
        estimate = Estimate(fitness, fitness, fitness, 1)
        verdict = Verdict(Status.SCORED, fitness, fitness, fitness, (fitness,), {"score": estimate})
        writer.append(ev.Judged("t", commit, "e1", verdict))
    return commit


def fsck(path: Path) -> None:
    """Every object is whole and everything a ref reaches is there. Unreachable objects are no fault."""
    done = subprocess.run(
        ["git", "-C", str(path), "fsck", "--full", "--strict", "--no-dangling", "--no-progress"],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = [
        line
        for line in (done.stdout + done.stderr).splitlines()
        if not line.startswith("notice:")
    ]
    assert done.returncode == 0 and not told, told
