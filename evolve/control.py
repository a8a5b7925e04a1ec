"""The live control: how a search without any search does, beside the run, at the same number of evaluations.

Its candidates are no commits of the run, are outside `--evals` and `log`, and share the stated time: the executor
serves both in turn. Its best is the best single measurement, which flatters it where measurements are noisy.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from evolve.evaluators.evaluator import Executor, Job
from evolve.population import events as ev
from evolve.population.git import Store
from evolve.search import Ground, Search
from evolve.streams import stream
from evolve.tasks.errors import InfrastructureError
from evolve.tasks.policy import check_edit
from evolve.tasks.verdict import judge

REPORT_EVERY = 50
"""Control evaluations between two `control` events."""


class Draw(Protocol):
    """Draws one independent candidate from the seed's files (evolve.mutators.random_search)."""

    def __call__(self, files: Mapping[str, bytes], rng: random.Random) -> Mapping[str, bytes | None]: ...


class Control:
    """Random search on one task. `evaluations` and `best` (fitness) are live; `curve` is (evaluations, best)."""

    def __init__(
        self,
        search: Search,
        store: Store,
        ground: Ground,
        draw: Draw,
        executor: Executor,
        *,
        stop: Callable[[], bool],
        durable: Callable[[], Awaitable[None]],
    ) -> None:
        self.search, self.store, self.ground, self.draw = search, store, ground, draw
        self.executor, self.stop, self.durable = executor, stop, durable
        done = search.state.lineage.control.get(ground.task.name)
        self.started = self.evaluations = done.evaluations if done else 0
        self.best: float | None = done.best if done else None
        self.curve: list[tuple[int, float]] = []

    async def run(self, workers: int) -> None:
        """Keep up with the search until `stop` and the counts agree."""
        try:
            await asyncio.gather(*(self._worker() for _ in range(workers)))
        finally:
            self.report()

    def report(self) -> None:
        self.search.append(ev.Control(self.ground.task.name, self.evaluations, self.best))

    def _behind(self) -> bool:
        return self.started < self.search.state.lineage.evaluated.get(self.ground.task.name, 0)

    async def _worker(self) -> None:
        while not self.stop() or self._behind():
            if not self._behind():
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
        rng = stream(self.search.seed, f"control/{self.ground.task.name}", number)
        seed = self.search.state.candidates[self.search.state.lineage.seeds[self.ground.task.name]]
        files = self.draw(self.search.files_of(self.ground.task, seed), rng)
        if not files or check_edit(self.ground.task, self.search.modes(seed.tree), files):
            return None
        tree = self.store.edit(seed.tree, files)
        await self.durable()
        evidence = []
        for stage in self.ground.stages:
            job = Job(f"control-{number}/{stage.name}/0", self.ground.task.name, (tree,), stage.name, stage.blocks)
            try:
                found = await (await self.executor.start(job)).result()
            except InfrastructureError:
                return None  # ours, not the control's: an evaluation without a result, which does not help it
            evidence.append(found)
            if tree in found.failures:
                break
        calibration = self.search.state.lineage.calibration(self.ground.task.name)
        return judge(evidence, tree, self.ground.task, calibration).fitness
