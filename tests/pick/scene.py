"""A user's repository with a finished run in its archive, written event by event; the task and its grader are real."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from evolve.opening import protected_digest
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.writer import Writer
from evolve.tasks.task import Task
from evolve.tasks.verdict import Calibration, Estimate, Status, Verdict

RUN = "r"

TOML = """\
[task]
name = "knobs"
editable = ["program.py"]

[evaluate]
script = "evaluate.py"
metrics = [{ name = "score", goal = "max", unit = "points" }]
timeout = "10s"
repeats = { screen = 1, confirm = 1 }
"""

# Base 1 point. SPEED adds, LEFT and RIGHT only together, IDLE nothing; limit.py is upstream's own and caps the sum.
PROGRAM = "\n\n".join(
    [
        '"""A program with knobs."""\n\nimport limit',
        "SPEED = 1",
        "# the middle of the file\n# stays as it is\n# for several lines",
        "LEFT = 0",
        "# and more\n# of it\n# here",
        "RIGHT = 0",
        "# then\n# some\n# lines",
        "IDLE = 0",
        "def score():\n    return min(SPEED + 3 * LEFT * RIGHT, limit.MOST)\n",
    ]
)

EVALUATE = """\
def evaluate(trial):
    return {"score": trial.call("program.py:score", seconds=5)}
"""


@dataclass
class Scene:
    repo: Path
    archive: Archive
    writer: Writer
    task: Task
    base: str
    number: int = 0

    def git(self, *arguments: str) -> str:
        return run_git(self.repo, *arguments)

    def bear(self, parents: list[str], changes: dict[str, str], fitness: float | None, idea: str = "") -> str:
        """A candidate whose program is its first parent's with words replaced; judged `fitness`, None: invalid."""
        store = self.archive.store
        text = (store.file(parents[0], "program.py") or b"").decode()
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        self.number += 1
        tree = store.edit(store.tree_of(parents[0]), {"program.py": text.encode()})
        commit = store.commit(tree, parents, f"{idea}\n\nEvolve-Run: {RUN}\n", self.writer.now())
        self.writer.append(
            ev.Born(self.number, "knobs", commit, tree, tuple(parents), self.number, "improve", "", idea or "a step")
        )
        self.judge(commit, fitness)
        return commit

    def judge(self, commit: str, fitness: float | None) -> None:
        verdict = Verdict(Status.INVALID, stage="screen", reason="it broke", kind="crash")
        if fitness is not None:
            estimate = Estimate(fitness, fitness, fitness, 1)
            verdict = Verdict(Status.SCORED, fitness, fitness, fitness, (fitness,), {"score": estimate})
        self.writer.append(ev.Judged("knobs", commit, "e", verdict))

    def promote(self, commit: str, gain: float) -> None:
        self.writer.append(ev.Promoted("knobs", commit, self.base, gain, gain, 1))
        self.writer.flush()

    def upstream(self, files: dict[str, str], message: str = "Upstream moves") -> str:
        """A commit of somebody else's on main."""
        for path, text in files.items():
            (self.repo / path).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD")


def run_git(where: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def scene(path: Path) -> Scene:
    repo = path / "repo"
    repo.mkdir()
    run_git(repo, "init", "-q", "-b", "main")
    run_git(repo, "config", "user.name", "Ada User")
    run_git(repo, "config", "user.email", "ada@example.invalid")
    files = {"program.py": PROGRAM, "evaluate.py": EVALUATE, "limit.py": "MOST = 100\n", "evolve.toml": TOML}
    for name, text in files.items():
        (repo / name).write_text(text)
    run_git(repo, "add", ".")
    run_git(repo, "commit", "-qm", "First version")
    archive = Archive.open(repo, create=True, durable=False)
    base = archive.import_commit(repo, "HEAD")
    task = Task.parse(TOML)
    writer = archive.writer(RUN, exclusive=True)
    digest = task.digest(protected_digest(archive.store, base, task))
    writer.append(ev.RunOpened(RUN, {"knobs": ev.TaskOpened(base, TOML, digest)}, 7, "0.1.0", "scripted", "greedy"))
    writer.append(ev.EpochOpened("knobs", "e", digest, "script", "cpu"))
    writer.append(ev.Imported("knobs", base, archive.store.tree_of(base), (), 0, source="seed", idea="seed"))
    writer.append(ev.Calibrated("knobs", "e", Calibration({"score": 0.0}, 4, "here"), base))
    made = Scene(repo, archive, writer, task, base)
    made.judge(base, 1.0)
    writer.flush()
    return made
