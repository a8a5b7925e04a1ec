"""The loop. Read `evolve` first; everything else here is the plumbing between it and slow or failing things."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from evolve.errors import BudgetSpent
from evolve.evaluators.evaluator import Executor, Job
from evolve.mutators import Desk, Mutator
from evolve.population.brief import Brief, Proposal
from evolve.tasks.errors import InfrastructureError
from evolve.tasks.evidence import Evidence

if TYPE_CHECKING:
    from evolve.search import Search, Unfinished


PACE = 0.2
"""Weight of the newest proposal or evaluation in the running mean of what one takes."""

GRACE = 10.0
"""Seconds for which a proposal under way is waited for once the run is ending: it may be paid for already."""


@dataclass(frozen=True, slots=True)
class ProposalSlotFree:
    mutator: str


@dataclass(frozen=True, slots=True)
class Answered:
    brief: Brief
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class Unpaid:
    """A request for this brief did not fit into what is left of a limit: `what`."""

    brief: Brief
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Measured:
    job: Job
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Broke:
    job: Job
    error: InfrastructureError


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing happened for a moment: time to look at the clock and at what people said."""


Done = ProposalSlotFree | Answered | Unpaid | Measured | Broke | Tick


@dataclass(frozen=True, slots=True)
class Slots:
    """evaluations at a time; proposals at a time of each mutator that waits on something outside."""

    evaluations: int = 1
    proposals: int = 1


class Watcher(Protocol):
    """Sees each thing that got done, after the search has dealt with it (progress, publishing, steering)."""

    async def __call__(self, done: Done) -> None: ...


async def evolve(search: Search, work: Pipeline, watch: Watcher) -> None:
    """Search until the budget is spent. Nothing is decided here: `search` chooses and remembers, the mutators behind
    `work` write, its executor measures. Each step is on record before the next begins, so a crash costs the work in
    flight and no more."""
    async with work:
        work.resume(search.unfinished())  # briefs unanswered, jobs unfinished, a gate under way
        async for done in work:  # whichever finishes first
            match done:
                case ProposalSlotFree(mutator):
                    if search.wants_more(mutator):
                        work.propose(search.ask(mutator))
                        await asyncio.sleep(0)  # it begins with what its brief saw, before anything else is told
                case Answered(brief, proposal):
                    if job := search.accept(brief, proposal):  # a commit and its first stage; or a recorded refusal
                        work.measure(job)
                case Unpaid(brief, what, why):  # its mutator is asked again once there is more
                    search.unpaid(brief, what, why)
                case Measured(job, evidence):  # once a stage
                    for following in search.tell(job, evidence):  # the next stage, a champion gate; usually nothing
                        work.measure(following)
                case Broke(job, error):  # our failure, not the candidate's
                    for again in search.broke(job, error):
                        work.measure(again)
            await watch(done)


class Pipeline:
    """Proposals and evaluations under way, in separate slots. Iterating yields what finished, oldest first; it ends
    when nothing is under way, no slot is wanted and `stay` is false."""

    def __init__(
        self,
        mutators: Mapping[str, Mutator],
        desk: Callable[[Brief], Desk],
        executor: Executor,
        slots: Slots,
        *,
        start: Callable[[Job], None],
        cancelled: Callable[[Job, float], None],
        durable: Callable[[], Awaitable[None]],
        stay: Callable[[], bool],
        fits: Callable[[Job], bool] = lambda job: True,
        closing: Callable[[], bool] = lambda: False,
        finish: Callable[[Brief, Proposal], Awaitable[Proposal]] | None = None,
        grace: float = GRACE,
        tick: float = 0.25,
    ) -> None:
        """start: puts a job's start on record. cancelled: records its clean end after so many seconds. durable: returns
        once everything on record is on disk. stay: whether to keep ticking though nothing is under way. fits: whether a
        job's reservation fits the budget; one that does not is not started. closing:
        whether the run is ending; a proposal still waited for `grace` seconds later is given up, and its brief stays
        open for a resume. finish: adds to a proposal what takes time to find out about it. tick: seconds."""
        self._mutators, self._desk, self._executor, self._slots = mutators, desk, executor, slots
        self._start, self._cancelled, self._durable = start, cancelled, durable
        self._stay, self._tick, self._fits = stay, tick, fits
        self._finish = finish
        self._closing, self._grace, self._closed_at = closing, grace, math.inf
        self._waiting: set[asyncio.Task[None]] = set()
        self._done: deque[Done] = deque()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._proposing = dict.fromkeys(mutators, 0)
        self._queued = 0
        self._running = 0
        self._declined: set[str] = set()
        self._offered: str | None = None
        self._free = asyncio.Semaphore(slots.evaluations)
        self._proposal_takes: dict[str, float] = {}
        self._evaluation_takes = 0.0
        self._fatal: BaseException | None = None

    # ---- what the loop says --------------------------------------------------------------------------------------

    def resume(self, rest: Unfinished) -> None:
        for brief in rest.briefs:
            self.propose(brief)
        for job in rest.jobs:
            self.measure(job)

    def propose(self, brief: Brief) -> None:
        self._offered = None
        name = brief.mutator if brief.mutator in self._mutators else next(iter(self._mutators))
        self._proposing[name] += 1
        task = self._spawn(self._propose(name, brief))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    def measure(self, job: Job) -> None:
        self._queued += 1
        self._spawn(self._measure(job))

    def drain(self) -> None:
        """Take no further proposal slot; what is under way ends in its own time."""
        self._declined = set(self._mutators)

    # ---- what it waits for ---------------------------------------------------------------------------------------

    async def _propose(self, name: str, brief: Brief) -> None:
        mutator, began = self._mutators[name], time.monotonic()
        try:
            proposal = await mutator.propose(brief, self._desk(brief))
            if self._finish is not None:
                proposal = await self._finish(brief, proposal)
            took = time.monotonic() - began
            self._proposal_takes[name] = _blend(self._proposal_takes.get(name, 0.0), took)
            done: Done = Answered(brief, proposal)
        except BudgetSpent as error:
            done = Unpaid(brief, error.what, str(error))
        finally:
            self._proposing[name] -= 1
        self._report(done)

    async def _measure(self, job: Job) -> None:
        async with self._free:
            self._queued -= 1
            while not self._fits(job):  # it may, once a job that runs has ended sooner than it reserved
                if not self._running:
                    self._wake.set()
                    return
                await asyncio.sleep(self._tick)
            self._running += 1
            try:
                self._start(job)
                await self._durable()
                self._report(Measured(job, await self._run(job)))
            except InfrastructureError as error:
                self._report(Broke(job, error))
            finally:
                self._running -= 1

    async def _run(self, job: Job) -> Evidence:
        began = time.monotonic()
        try:
            handle = await self._executor.start(job)
            try:
                evidence = await handle.result()
                self._evaluation_takes = _blend(self._evaluation_takes, time.monotonic() - began)
                return evidence
            except asyncio.CancelledError:
                handle.kill()
                raise
        except asyncio.CancelledError:
            self._cancelled(job, time.monotonic() - began)
            raise

    def _report(self, done: Done) -> None:
        self._done.append(done)
        self._wake.set()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._fatal = error
        self._wake.set()

    # ---- what is done --------------------------------------------------------------------------------------------

    def _slot(self) -> str | None:
        """A mutator that may propose now: its own slots allow it and evaluations are not waiting in line already."""
        backlog = self._queued + self._running + sum(isinstance(done, Answered) for done in self._done)
        for name, mutator in self._mutators.items():
            if name in self._declined:
                continue
            if mutator.latency:
                ahead = self._proposing[name] + self._queued
                crowded = self._queued >= 2 * self._slots.evaluations + 2
                if self._proposing[name] < self._slots.proposals and ahead < self._ahead(name) and not crowded:
                    return name
            elif self._proposing[name] == 0 and backlog < self._slots.evaluations + (self._slots.evaluations > 1):
                return name
        return None

    def _ahead(self, name: str) -> int:
        """How many proposals of a mutator may be under way or in line for an evaluation: twice as many as keep the evaluators busy
        while one is written. More would be written from parents that are out of date by the time they are judged."""
        most = self._slots.proposals + 2 * self._slots.evaluations + 2
        if not self._evaluation_takes or name not in self._proposal_takes:
            return most
        wanted = 2 * self._slots.evaluations * self._proposal_takes[name] / self._evaluation_takes
        return max(1, min(math.ceil(wanted), most))

    async def __aiter__(self) -> AsyncIterator[Done]:
        while True:
            if self._fatal:
                raise self._fatal
            if self._offered is not None:  # the last offer led to no proposal
                self._declined.add(self._offered)
                self._offered = None
            if self._done:
                done = self._done.popleft()
            elif name := self._slot():
                self._offered = name
                yield ProposalSlotFree(name)
                continue
            elif self._tasks or self._stay():
                done = await self._wait()
            else:
                return
            self._declined.clear()
            yield done

    async def _wait(self) -> Done:
        """The next thing done, or a Tick after a moment without any."""
        if self._waiting and self._closing():
            self._closed_at = min(self._closed_at, time.monotonic())
            if time.monotonic() - self._closed_at >= self._grace:
                for task in self._waiting:
                    task.cancel()
        self._wake.clear()
        try:
            await asyncio.wait_for(self._wake.wait(), self._tick)
        except TimeoutError:
            return Tick()
        return self._done.popleft() if self._done else Tick()

    async def __aenter__(self) -> Pipeline:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _blend(mean: float, newest: float) -> float:
    return newest if not mean else (1 - PACE) * mean + PACE * newest
