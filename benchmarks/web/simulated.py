"""A run of any length with real commits and events, and a made-up search behind them."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path
from typing import Any

from evolve.opening import protected_digest
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.brief import Brief
from evolve.population.novelty import shape, sketch
from evolve.population.writer import Writer
from evolve.tasks.evidence import Artifact, Check, Cost, Evidence, Failure, FailureKind, Outcome, Sample
from evolve.tasks.task import Task
from evolve.tasks.verdict import Calibration, Estimate, Status, Verdict

RUN = "large"
PATH = "program.py"

TOML = """\
[task]
name = "knobs"
editable = ["program.py"]

[evaluate]
command = "python program.py"
metrics = [
  { name = "score", goal = "max", unit = "points", pattern = "score (.*)" },
  { name = "seconds", goal = "min", unit = "s", pattern = "seconds (.*)" },
]
repeats = { screen = 1, confirm = 3 }
"""

PROGRAM = "".join(f"KNOB_{n} = {n / 7:.6f}  # line {n} of the program under search\n" for n in range(80))
OPERATORS = ("improve", "explore", "tune", "crossover", "simplify", "fix")
MODELS = ("", "model-a", "model-b")
ISLANDS = ("main", "i1", "i2", "i3")
BROKEN = (FailureKind.CRASH, FailureKind.TIMEOUT, FailureKind.MEMORY, FailureKind.METRIC)
FLUSH = 500
"""Candidates between two flushes."""


class Simulation:
    """Writes candidates one by one. `resumed`: after what the run has already, whose newest are the first parents."""

    def __init__(self, archive: Archive, writer: Writer, seed: int, resumed: bool = False) -> None:
        self.archive, self.writer, self.rng = archive, writer, random.Random(seed)
        self.number, self.best = 0, 1.0
        self.pools: dict[str, list[tuple[str, float]]] = {}
        if resumed:
            state = archive.state(RUN)
            self.number = len(state.candidates) - 1
            self.best = state.candidates[state.lineage.champions["knobs"]].fitness or 1.0
            self.champion = state.lineage.champions["knobs"]
            self.pools = {
                name: [(c, state.candidates[c].fitness or 0.0) for c in island.members]
                for name, island in state.live.islands["knobs"].items()
            }

    def open(self, base: str) -> None:
        task = Task.parse(TOML)
        digest = task.digest(protected_digest(self.archive.store, base, task))
        put = self.writer.append
        put(ev.RunOpened(RUN, {"knobs": ev.TaskOpened(base, TOML, digest)}, 7, "0.1.0", "simulated", "islands"))
        put(ev.EpochOpened("knobs", "e", digest, "command", "cpu"))
        files = {PATH: PROGRAM.encode()}
        tree = self.archive.store.tree_of(base)
        put(ev.Imported("knobs", base, tree, (), 0, source="seed", idea="seed", shape=shape(files), sketch=sketch(files)))
        put(ev.Calibrated("knobs", "e", Calibration({"score": 0.01, "seconds": 0.001}, 4, "here"), base))
        put(ev.Judged("knobs", base, "e", scored(1.0, 1.0)))
        self.champion = base
        self.pools = {name: [(base, 1.0)] for name in ISLANDS}

    def candidate(self) -> None:
        self.number += 1
        rng, put, store, n = self.rng, self.writer.append, self.archive.store, self.number
        island = rng.choice(sorted(self.pools))
        pool = self.pools[island]
        parent, base = pool[-1 - min(int(rng.expovariate(0.25)), len(pool) - 1)]
        other = rng.choice(self.pools[rng.choice(sorted(self.pools))])[0] if rng.random() < 0.04 else parent
        parents = (parent,) if other == parent else (parent, other)
        operator = "crossover" if len(parents) > 1 else rng.choice(OPERATORS)
        put(ev.Asked(Brief(n, "knobs", operator, parents, rng.getrandbits(63), "simulated")))
        model = rng.choice(MODELS) if n % 2 else ""
        if model:
            put(ev.Requested(n, 0, "0" * 64, model, 0.01), [Artifact("request-0", f"a prompt for brief {n}")])
            put(ev.Answered(n, 0, model, money=0.004, tokens_in=900, tokens_out=300), [Artifact("answer-0", f"an answer to brief {n}")])
        at = rng.randrange(80)
        lines = (store.file(parent, PATH) or b"").splitlines(keepends=True)
        lines[at] = b"KNOB_%d = %.6f  # line %d of the program under search\n" % (at, rng.random(), at)
        if rng.random() < 0.1:
            lines.append(b"EXTRA_%d = %.4f\n" % (n, rng.random()))
        files = {PATH: b"".join(lines)}
        tree = store.edit(store.tree_of(parent), {PATH: files[PATH]})
        idea = f"idea {n}: change knob {at}"
        commit = store.commit(tree, list(parents), f"{idea}\n\nEvolve-Run: {RUN}\n", self.writer.now())
        put(ev.Born(n, "knobs", commit, tree, parents, n, operator, model, idea, island, (), shape(files), sketch(files)))
        self._judge(commit, tree, island, base)

    def _judge(self, commit: str, tree: str, island: str, base: float) -> None:
        rng, put, n = self.rng, self.writer.append, self.number
        job = f"{n}/screen/0"
        put(ev.Started(job, "knobs", (commit,), "screen", seconds=10.0))
        value, seconds = base + rng.gauss(-0.02, 0.03) / (1 + n / 20_000), 0.5 + rng.random()
        kind = rng.choice(BROKEN) if rng.random() < 0.35 else None
        evidence = Evidence(
            job, (tree,), "d" * 64, "v" * 64, "m" * 16, "screen",
            samples=() if kind else (Sample(tree, {"score": value, "seconds": seconds}, seconds=0.1),),
            failures={tree: Failure(kind, "it did not work")} if kind else {},
            checks=(Check("clock", Outcome.PASSED, "", tree),), cost=Cost(0.1, 0.1), sandbox="jailed", self_reported=True,
        )  # fmt: skip
        put(ev.Measured(job, "knobs", (commit,), "e", evidence), [Artifact("stdout", f"score {value}\n")])
        if kind:
            put(ev.Judged("knobs", commit, "e", Verdict(Status.INVALID, stage="screen", kind=kind.value, reason="it did not work")))
            return
        put(ev.Judged("knobs", commit, "e", scored(value, seconds)))
        if value > base or rng.random() < 0.02:
            self.pools[island] = [*self.pools[island], (commit, value)][-40:]
        if value > self.best + 0.02:
            put(ev.Promoted("knobs", commit, self.champion, value - self.best, 0.001, 3))
            self.best, self.champion = value, commit


def scored(value: float, seconds: float) -> Verdict:
    metrics = {"score": Estimate(value, value - 0.02, value + 0.02, 1), "seconds": Estimate(seconds, seconds, seconds, 1)}
    return Verdict(Status.SCORED, value, value - 0.02, value + 0.02, (value,), metrics, self_reported=True)


def make(place: Path, candidates: int) -> dict[str, Any]:
    """A repository in the new folder `place` whose archive holds the run; what it took."""
    place.mkdir(parents=True)
    (place / PATH).write_text(PROGRAM)
    (place / "evolve.toml").write_text(TOML)
    git = ["git", "-c", "user.name=u", "-c", "user.email=u@u.invalid"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "First"]):
        subprocess.run([*git, *words], cwd=place, check=True)
    began, cpu = time.perf_counter(), time.process_time()
    with Archive.open(place, create=True, durable=False) as archive:
        base = archive.import_commit(place, "HEAD")
        simulation = Simulation(archive, archive.writer(RUN, exclusive=True), seed=1)
        simulation.open(base)
        while simulation.number < candidates - 1:
            simulation.candidate()
            if simulation.number % FLUSH == 0:
                simulation.writer.flush()
        simulation.writer.append(ev.Closed("evaluations"))
        simulation.writer.close()
        archive.maintain()
    return {"made_seconds": time.perf_counter() - began, "made_cpu": time.process_time() - cpu}
