"""Live controls: how a search without a search's choices does, beside the run, at the same number of evaluations.

`Random` draws each candidate from the seed alone (best of n). `Greedy` edits the best so far, always, with the same key-less
edits: what islands, novelty and the rest must beat to be worth having. Their candidates are no commits of the run, are outside
`--evals` and `log`, and share the stated time: the executor serves all in turn. A control's best is its best single
measurement, which flatters it where measurements are noisy.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from evolve.evaluators.evaluator import Executor, Job
from evolve.mutators import numeric
from evolve.mutators.random_search import draw
from evolve.mutators.syntactic import mutate
from evolve.population import events as ev
from evolve.population.candidate import Candidate
from evolve.population.git import Store
from evolve.search import Ground, Search
from evolve.streams import stream
from evolve.tasks.errors import InfrastructureError
from evolve.tasks.evidence import Evidence
from evolve.tasks.policy import check_edit
from evolve.tasks.verdict import judge

REPORT_EVERY = 50
"""Control evaluations between two events of a control."""

DEAREST = 2.0
"""Mean seconds of a run's evaluation above which the greedy control is left out unless asked for: with it two thirds of the
evaluations are a control's."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A proposal: a tree and the files of it to change; step: the size of the numbers' move, in units of their scale."""

    base: str
    files: Mapping[str, bytes | None]
    step: float = 0.0


@dataclass(frozen=True, slots=True)
class Beside:
    """What a control runs beside. stop: whether the search has ended; durable: returns once what was appended is on disk."""

    search: Search
    store: Store
    ground: Ground
    executor: Executor
    stop: Callable[[], bool]
    durable: Callable[[], Awaitable[None]]


class Control(ABC):
    """One control on one task. `evaluations` and `best` (fitness) are live; `curve` is (evaluations, best)."""

    name: ClassVar[str]
    label: ClassVar[str]
    """For a person."""

    def __init__(self, beside: Beside) -> None:
        self.search, self.store, self.ground = beside.search, beside.store, beside.ground
        self.executor, self.stop, self.durable = beside.executor, beside.stop, beside.durable
        done = self.recorded()
        self.started = self.evaluations = done.evaluations if done else 0
        self.best: float | None = done.best if done else None
        self.curve: list[tuple[int, float]] = []

    def wanted(self) -> bool:
        """Whether it may take another evaluation of the run's time."""
        return True

    @abstractmethod
    def recorded(self) -> ev.Control | ev.GreedyControl | None:
        """How far it was when the run last stopped."""

    @abstractmethod
    def report(self) -> None:
        """Append how far it is."""

    @abstractmethod
    def propose(self, rng: random.Random) -> Draft: ...

    def learn(self, draft: Draft, tree: str, fitness: float | None) -> None:  # noqa: B027  a control may have no memory
        """What became of a proposal."""

    async def run(self, workers: int) -> None:
        """Keep up with the search until `stop` and the counts agree."""
        try:
            await asyncio.gather(*(self._worker() for _ in range(workers)))
        finally:
            if self.evaluations:
                self.report()

    def behind(self) -> bool:
        return self.started < self.search.state.lineage.evaluated.get(self.ground.task.name, 0) and self.wanted()

    async def _worker(self) -> None:
        while not self.stop() or self.behind():
            if not self.behind():
                await asyncio.sleep(0.01)
                continue
            number, self.started = self.started, self.started + 1
            fitness = await self._one(number)
            self.evaluations += 1
            if fitness is not None and (self.best is None or fitness > self.best):
                self.best = fitness
                self.curve.append((self.evaluations, fitness))
            if self.evaluations % REPORT_EVERY == 0:
                self.report()

    async def _one(self, number: int) -> float | None:
        """The fitness of one proposal; None where it has none."""
        rng = stream(self.search.seed, f"{self.name}/{self.ground.task.name}", number)
        draft = self.propose(rng)
        if not draft.files or check_edit(self.ground.task, self.search.modes(draft.base), draft.files):
            return None
        tree = self.store.edit(draft.base, draft.files)
        await self.durable()
        evidence: list[Evidence] = []
        for stage in self.ground.stages:
            job = Job(f"{self.name}-{number}/{stage.name}/0", self.ground.task.name, (tree,), stage.name, stage.blocks)
            try:
                found = await (await self.executor.start(job)).result()
            except InfrastructureError:
                return None  # ours, not the control's: an evaluation without a result, which does not help it
            evidence.append(found)
            if tree in found.failures:
                break
        calibration = self.search.state.lineage.calibration(self.ground.task.name)
        fitness = judge(evidence, tree, self.ground.task, calibration).fitness
        self.learn(draft, tree, fitness)
        return fitness

    def mean_seconds(self) -> float:
        """Mean wall seconds of an evaluation of the run so far."""
        ledger = self.search.state.ledger
        return ledger.evaluator_wall / max(ledger.evaluations, 1)

    def seed(self) -> Candidate:
        return self.search.state.candidates[self.search.state.lineage.seeds[self.ground.task.name]]


class Random(Control):
    """Independent draws from the seed (evolve.mutators.random_search)."""

    name = "control"
    label = "random search"

    def recorded(self) -> ev.Control | None:
        return self.search.state.lineage.control.get(self.ground.task.name)

    def report(self) -> None:
        self.search.append(ev.Control(self.ground.task.name, self.evaluations, self.best))

    def propose(self, rng: random.Random) -> Draft:
        seed = self.seed()
        return Draft(seed.tree, draw(self.search.files_of(self.ground.task, seed), rng))


class Greedy(Control):
    """The best so far is always the parent, and steps that gained are taken again, as by the search's own key-less edits. No
    islands, no second parent, no tuner. always: also where an evaluation takes more than DEAREST seconds."""

    name = "greedy"
    label = "greedy"

    def __init__(self, beside: Beside, *, always: bool = False) -> None:
        super().__init__(beside)
        self.always = always
        done = self.recorded()
        self.tree = done.tree if done and self.store.exists(done.tree) else self.seed().tree
        self.top = self.seed().fitness if done is None or done.best is None else done.best
        self._files: Mapping[str, bytes] = {}
        self._gained: list[tuple[float, float]] = []

    def wanted(self) -> bool:
        return self.always or self.mean_seconds() <= DEAREST

    def recorded(self) -> ev.GreedyControl | None:
        return self.search.state.lineage.greedy.get(self.ground.task.name)

    def report(self) -> None:
        self.search.append(ev.GreedyControl(self.ground.task.name, self.evaluations, self.best, self.tree))

    def propose(self, rng: random.Random) -> Draft:
        self._files = self._files or self.store.files(self.tree, self.ground.task.may_edit)
        credit = [] if rng.random() < numeric.FRESH else self._gained[-numeric.ANCESTORS :]
        step = numeric.step_of_credit(credit, rng)
        return Draft(self.tree, dict(mutate(self._files, "improve", rng, step).files), step)

    def learn(self, draft: Draft, tree: str, fitness: float | None) -> None:
        if fitness is None or (self.top is not None and fitness < self.top):
            return
        if self.top is not None and fitness > self.top:
            self._gained.append((draft.step, fitness - self.top))
        self.tree, self.top, self._files = tree, fitness, {}
