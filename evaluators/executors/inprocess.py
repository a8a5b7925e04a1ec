"""Jobs measured in this process: for evaluators of one's own that need no sandbox, and for benchmarks of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from evolve.evaluators.evaluator import Evaluator, Handle, Job
from evolve.tasks.evidence import Evidence


class _Run:
    def __init__(self, executor: InProcessExecutor, job: Job, on_progress: Callable[[str], None] | None) -> None:
        self._executor, self._job, self._progress = executor, job, on_progress
        self._killed = False

    async def result(self) -> Evidence:
        async with self._executor.free:
            if self._killed:
                raise asyncio.CancelledError
            evaluator = self._executor.evaluators[self._job.task]
            await asyncio.sleep(0)
            return evaluator.measure(self._job, self._progress or _ignore)

    def kill(self) -> None:
        self._killed = True


class InProcessExecutor:
    """`evaluators`: task name -> evaluator. A job blocks the loop while it is measured, so it should be short."""

    def __init__(self, evaluators: Mapping[str, Evaluator], slots: int = 1) -> None:
        self.evaluators, self.slots = dict(evaluators), slots
        self.free = asyncio.Semaphore(slots)

    async def start(self, job: Job, on_progress: Callable[[str], None] | None = None) -> Handle:
        return _Run(self, job, on_progress)

    async def close(self) -> None:
        for evaluator in set(self.evaluators.values()):
            evaluator.close()


def _ignore(_: str) -> None:
    return None
