"""A run of any size, in memory: for what only size can show. Its candidates have no commits in git."""

from __future__ import annotations

import hashlib
import random
import threading
from pathlib import Path

from evolve.population import events as ev
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState
from evolve.population.folds.lineage import Reign
from evolve.tasks.task import Task
from evolve.tasks.verdict import Estimate, Status, Verdict
from evolve.web.index import Index
from evolve.web.runs import Live, Runs
from tests.pick.scene import TOML

OPERATORS = ("improve", "explore", "tune", "crossover", "simplify", "fix")
KINDS = ("crash", "timeout", "incorrect", "memory")


def candidates(n: int, seed: int = 1, islands: int = 4) -> list[Candidate]:
    """Descent like a search's: parents mostly among the recent best of an island, now and then far back or crossed."""
    rng = random.Random(seed)
    made: list[Candidate] = []
    best: dict[int, list[int]] = {k: [0] for k in range(islands)}
    when = 1.7e9
    for number in range(n):
        when += rng.expovariate(0.5)
        commit = hashlib.sha1(b"%d/%d" % (seed, number)).hexdigest()
        if number == 0:
            made.append(Candidate(commit, commit, (), "knobs", 0, born=when, verdict=_scored(1.0), idea="seed", operator="import"))
            continue
        island = rng.randrange(islands)
        pool = best[island]
        parent = made[pool[-1 - min(int(rng.expovariate(0.25)), len(pool) - 1)]] if rng.random() < 0.97 else made[rng.randrange(number)]
        parents: tuple[str, ...] = (parent.commit,)
        if rng.random() < 0.04:
            other = made[rng.choice(best[rng.randrange(islands)])]
            parents += (other.commit,) if other.commit != parent.commit else ()
        base = parent.fitness if parent.fitness is not None else 1.0
        verdict = _invalid(rng) if rng.random() < 0.35 else _scored(base + rng.gauss(-0.02, 0.02) / (1 + number / n * 8))
        c = Candidate(
            commit, commit, parents, "knobs", number, number, rng.choice(OPERATORS), rng.choice(("", "model-a", "model-b")),
            f"idea {number}: change {rng.choice(OPERATORS)} in part {rng.randrange(40)}", f"i{island}" if island else "main",
            verdict=verdict, born=when, depth=parent.depth + 1,
        )  # fmt: skip
        parent.children += 1
        made.append(c)
        if c.fitness is not None and (c.fitness > base or rng.random() < 0.02):
            pool.append(number)
            del pool[:-40]
    return made


def _scored(value: float) -> Verdict:
    return Verdict(Status.SCORED, value, value - 0.01, value + 0.01, (value,), {"score": Estimate(value, value - 0.01, value + 0.01, 3)})


def _invalid(rng: random.Random) -> Verdict:
    return Verdict(Status.INVALID, stage="screen", kind=rng.choice(KINDS), reason="it did not work")


def state_of(made: list[Candidate], run: str) -> RunState:
    state = RunState()
    lineage = state.lineage
    lineage.opened = ev.RunOpened(run, {"knobs": ev.TaskOpened(made[0].commit, TOML, "d")}, 1, "0.1.0", "synthetic", "islands")
    for c in made:
        lineage.candidates[c.commit] = c
        lineage.verdict_order.append(c.commit)
        for parent in c.parents:
            lineage.children.setdefault(parent, []).append(c.commit)
    lineage.seeds["knobs"] = made[0].commit
    best = max((c for c in made if c.fitness is not None), key=lambda c: c.fitness or 0.0)
    lineage.champions["knobs"] = best.commit
    best.was_champion = True
    lineage.reigns["knobs"] = [Reign(best.commit, made[0].commit, 1.0, 0.9, 3, 1, best.number, best.born, best.fitness)]
    state.ledger.evaluations = len(made)
    state.last_time = made[-1].born
    return state


class SyntheticLive(Live):
    """A live run that nothing follows."""

    def __init__(self, run: str, state: RunState) -> None:
        self.run, self.state, self.index, self.indexed, self.failed = run, state, Index(), True, ""
        self.lock = threading.RLock()
        self.version = 0
        self.order = list(state.candidates.values())
        self.place = {c.commit: i for i, c in enumerate(self.order)}
        self.tasks = {"knobs": Task.parse(TOML)}
        self._listeners = []

    def close(self) -> None:
        pass


class SyntheticRuns(Runs):
    def __init__(self, path: Path, live: SyntheticLive) -> None:
        super().__init__(path)
        self._made = live

    def names(self) -> list[str]:
        return [self._made.run]

    def get(self, run: str) -> Live:
        return self._made
