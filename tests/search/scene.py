"""A small searchable world: a real repository, a real archive, an evaluator in this process that needs no sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from evolve import api
from evolve.evaluators.evaluator import Job, Stage
from evolve.evaluators.executors import InProcessExecutor
from evolve.mutators import Desk
from evolve.opening import Opened
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.brief import Brief, Proposal
from evolve.population.folds import RunState
from evolve.session import Result, Session
from evolve.settings import RunSettings
from evolve.tasks.evidence import Evidence, Failure, FailureKind, Sample

TOML = """
[task]
name = "toy"
editable = ["program.py"]
[evaluate]
command = "python3 program.py"
metrics = [{ name = "score", goal = "max", pattern = '^score: (.+)' }]
timeout = "5s"
repeats = { screen = 1, confirm = 1 }
[limits]
memory = "256M"
"""

PROGRAM = """X = 1.0
Y = 2.0


def value():
    return X + Y


print(f"score: {value()}")
"""


def make_repository(place: Path, toml: str = TOML, program: str = PROGRAM) -> Path:
    """A repository with program.py, other.txt and evolve.toml committed."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "program.py").write_text(program)
    (place / "other.txt").write_text("protected\n")
    (place / "evolve.toml").write_text(toml)
    run = lambda *words: subprocess.run(["git", *words], cwd=place, check=True, capture_output=True)  # noqa: E731
    run("init", "--quiet", "--initial-branch=main")
    run("config", "user.name", "A User")
    run("config", "user.email", "user@example.invalid")
    run("add", ".")
    run("commit", "--quiet", "-m", "Start")
    return place


class Numbers:
    """Scores program.py by the sum of its X and Y, read as text; nothing is executed.

    noise: standard deviation added to each sample. `fail`: text whose presence makes it crash.
    """

    def __init__(self, opened: Opened, noise: float = 0.0, name: str = "toy") -> None:
        self.opened, self.noise, self.name = opened, noise, name
        self.rng = random.Random(7)
        self.measured: list[Job] = []

    def digest(self) -> str:
        return "numbers"

    def stages(self) -> Sequence[Stage]:
        return (Stage("run", 1, 5.0),)

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        self.measured.append(job)
        samples, failures = [], {}
        for block in range(job.first_block, job.first_block + job.blocks):
            for tree in job.trees:
                value = self._value(tree)
                if isinstance(value, Failure):
                    failures[tree] = value
                else:
                    samples.append(Sample(tree, {"score": value + self.noise * self.rng.gauss(0, 1)}, block, 0.001))
        site = self.opened.sites[self.name]
        return Evidence(
            job.id, job.trees, site.task_digest, site.evaluator, site.machine, job.stage, samples=tuple(samples),
            failures=failures, sandbox="none",
        )  # fmt: skip

    def _value(self, tree: str) -> float | Failure:
        text = (self.opened.archive.store.file(tree, "program.py") or b"").decode("utf-8", "replace")
        names: dict[str, float] = {}
        for line in text.splitlines():
            name, equals, value = line.partition(" = ")
            if equals and name in ("X", "Y"):
                try:
                    names[name] = float(value.strip("()"))
                except ValueError:
                    return Failure(FailureKind.CRASH, f"no number: {value}")
        return sum(names.values()) if len(names) == 2 else Failure(FailureKind.METRIC, "X or Y is missing")

    def close(self) -> None:
        return None


class Climb:
    """Adds a random step to X or Y: deterministic in the brief, so that runs can be compared."""

    name = "climb"
    operators = ("improve",)
    latency = False

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        rng = random.Random(brief.seed)
        lines = desk.files(brief.parents[0])["program.py"].decode().splitlines(keepends=True)
        at = rng.randrange(2)
        name, _, value = lines[at].partition(" = ")
        lines[at] = f"{name} = {float(value) + rng.gauss(0, 1):.6f}\n"
        return Proposal({"program.py": "".join(lines).encode()}, f"move {name}", "climb")


def open_toy(place: Path, *, noise: float = 0.0, mutator: object | None = None, **settings: object) -> Session:
    chosen = mutator or Climb()
    wanted = {"control": False, "publish": False, "workers": 1, "seed": 1, **settings}
    return api.open_session(
        RunSettings(where=place, **wanted),  # type: ignore[arg-type]
        mutators={chosen.name: chosen},  # type: ignore[attr-defined, dict-item]
        executor=lambda opened: InProcessExecutor({"toy": Numbers(opened, noise)}, wanted["workers"]),  # type: ignore[call-overload]
    )


def run_toy(place: Path, **settings: object) -> tuple[Session, Result]:
    session = open_toy(place, **settings)  # type: ignore[arg-type]
    return session, asyncio.run(session.run())


def state_of(place: Path) -> RunState:
    archive = Archive.open(place)
    try:
        return archive.state("toy")
    finally:
        archive.close()


def events_of(place: Path) -> list[ev.Event]:
    archive = Archive.open(place)
    try:
        return [r.event for r in archive.events("toy")]
    finally:
        archive.close()


def history(place: Path, run: str = "toy") -> list[tuple[object, ...]]:
    """(tree, fitness, brief) of each candidate in the order of verdicts."""
    archive = Archive.open(place)
    state = archive.state(run)
    rows = [state.candidates[commit] for commit in state.lineage.verdict_order]
    archive.close()
    return [(c.tree, c.fitness, c.brief) for c in rows]


def cli(*arguments: str, cwd: Path, ok: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "evolve", *arguments], cwd=cwd, capture_output=True, text=True, timeout=240,
        env={**os.environ, **env}, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if ok:
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def json_lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]
