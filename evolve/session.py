"""One process's work on a run: joins search, mutators, executor and archive, and minds what comes from outside
(signals, a person's word, the clock, publishing)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evolve import mutators as mutator_registry
from evolve.check import Checker, Report
from evolve.desk import RunDesk
from evolve.errors import EvolveError, UsageError
from evolve.evaluators.evaluator import Executor, Job
from evolve.fingerprints import Fingerprints
from evolve.loop import Done, Measured, Pipeline, Slots, Tick, evolve
from evolve.mutators import Mutator
from evolve.mutators.outside import OUTSIDE, Outside
from evolve.mutators.tune import Tune
from evolve.opening import Opened
from evolve.population import embedding, selection
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.brief import Brief
from evolve.population.candidate import Candidate
from evolve.population.policy import Policy
from evolve.population.publish import check_island
from evolve.population.selection import Selector
from evolve.search import Search
from evolve.tasks.evidence import Evidence
from evolve.verify import stored

if TYPE_CHECKING:
    from evolve.control import Greedy, Random

PUBLISH_EVERY = 5.0
"""Seconds between two publications of branches while a run goes on."""

POLL_EVERY = 0.5
"""Seconds between two looks at what other processes wrote."""

STALLED_AFTER = 50
"""Fewest evaluations without a promotion that `--on stalled` tells of; half of all so far must be such."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a session ended. `reason`: "evaluations", "seconds", ... (a budget), "stopped", "interrupted",
    "terminated", or why the search gave up. `best` by task; `control` (random search) and `greedy`, evaluations and fitness
    by task, where they ran. `dear`: mean seconds of an evaluation, by task whose greedy control was left out for that."""

    run: str
    reason: str
    best: Mapping[str, Candidate]
    evaluations: int
    seconds: float
    control: Mapping[str, tuple[int, float | None]] = field(default_factory=dict)
    greedy: Mapping[str, tuple[int, float | None]] = field(default_factory=dict)
    dear: Mapping[str, float] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return {"interrupted": 130, "terminated": 75, "stopped": 0}.get(self.reason, 0)


class Session:
    """Everything of one process. Build it with `evolve.api`; `run()` searches until a budget is spent or it is stopped."""

    def __init__(
        self,
        opened: Opened,
        executor: Executor,
        *,
        mutators: Mapping[str, Mutator] | None = None,
        selector: Selector | None = None,
        progress: Callable[[Session], None] | None = None,
    ) -> None:
        self.opened, self.executor, self.progress = opened, executor, progress
        settings = opened.settings
        policy = Policy.known(opened.state.lineage.opened.settings.get("policy", {}) if opened.state.lineage.opened else {})
        self.mutators = dict(mutators or {m.name: m for m in mutator_registry.load(settings.mutators)})
        if not mutators and policy.tune > 0:
            self.mutators.setdefault("tune", Tune())
        self.mutators.setdefault(OUTSIDE, Outside())
        self.selector = selector or selection.load(settings.selector, policy)
        for island in getattr(self.selector, "names", ()):
            check_island(island)
        self.state, self.writer, self.store = opened.state, opened.writer, opened.archive.store
        self.search = Search(
            self.writer, self.store, self.state, opened.grounds, self.selector,
            {name: tuple(m.operators) for name, m in self.mutators.items()},
            evidence=self.evidence, dates=self.writer.now, timer=time.monotonic,
            immediate=[name for name, m in self.mutators.items() if not m.latency],
            readers=[name for name, m in self.mutators.items() if m.latency],
            until=targets(opened), embedder=embedding.load(settings.embedder),
            models={name: tuple(getattr(m, "models", ())) for name, m in self.mutators.items()},
        )  # fmt: skip
        self.fingerprints = Fingerprints(self.search, unsafe=settings.unsafe)
        self.reports: dict[str, Report] = {}
        self.controls: dict[str, tuple[Random, Greedy] | tuple[Random]] = {}
        self.began = time.monotonic()
        self._published: dict[str, str] = {}
        self._last_publish = self._last_poll = 0.0
        self._signals = 0
        self._main: asyncio.Task[object] | None = None
        self._champions: dict[str, str] = {}
        self._stalled: dict[str, str] = {}
        self._control_done = False

    # ---- the whole of it -----------------------------------------------------------------------------------------

    async def run(self) -> Result:
        """Check each task that has no noise floor yet, then search. Raises BaselineError, InfrastructureError.

        The run is closed and unlocked when this returns or raises, whatever happened.
        """
        self._main = asyncio.current_task()
        try:
            with self._signal_handlers():
                self._open_session()
                self._priced()
                try:
                    await self.check()
                    await self.fingerprints.of_seeds()
                    await self._search()
                except asyncio.CancelledError:
                    if not self._signals:
                        raise
                finally:
                    self.fingerprints.close()
                    await asyncio.shield(self._close())
            return self._finish()
        except EvolveError as error:
            self._close_session(str(error))
            raise
        finally:
            self.writer.close()

    async def _close(self) -> None:
        await self.executor.close()
        for mutator in self.mutators.values():
            if (ends := getattr(mutator, "close", None)) is not None:
                await ends()

    def _priced(self) -> None:
        """Raises UsageError where money is limited and a model's price is not known: the limit could not be kept."""
        names = sorted({name for m in self.mutators.values() for name in getattr(m, "unpriced", tuple)()})
        if names and "money" in self.state.ledger.limits:
            raise UsageError(
                f"money is limited to {self.state.ledger.limits['money']:g} dollars and the price of {', '.join(names)} is not known: give "
                "it in models.toml (price = { input = , output = }, dollars a million tokens; 0 for a server of your own), limit --tokens "
                "instead, or install evolve-search[prices]"
            )

    async def check(self) -> None:
        """The noise floor of every task that has none on this epoch and machine."""
        for name, ground in self.opened.grounds.items():
            known = self.state.lineage.calibrations.get((name, ground.epoch))
            if known and known.calibration.machine == self.opened.sites[name].machine:
                continue
            checker = Checker(self.search, self.store, ground, self.executor, self.writer.durable)
            self.reports[name] = await checker.run(self.opened.sites[name].machine)

    async def check_only(self) -> dict[str, Report]:
        """`evolve check`: check every task anew, search nothing."""
        self._open_session()
        try:
            for name, ground in self.opened.grounds.items():
                checker = Checker(self.search, self.store, ground, self.executor, self.writer.durable)
                self.reports[name] = await checker.run(self.opened.sites[name].machine)
        finally:
            self._close_session("checked")
            await asyncio.shield(self.executor.close())
            self.writer.close()
        return self.reports

    async def _search(self) -> None:
        pipeline = Pipeline(
            self.mutators,
            self.desk,
            self.executor,
            Slots(self.opened.settings.workers, self.opened.settings.proposals),
            start=self._start,
            cancelled=self.search.cancelled,
            durable=self.writer.durable,
            stay=self.search.waiting,
            fits=self.search.limits.fits,
            closing=self.search.closing,
            finish=self.fingerprints.added if self.fingerprints.wanted() else None,
        )
        controls = self._start_controls()
        try:
            await evolve(self.search, pipeline, self._watch)
            self._control_done = True
            await asyncio.gather(*controls)
        finally:
            self._control_done = True
            for task in controls:
                task.cancel()
            await asyncio.gather(*controls, return_exceptions=True)

    def desk(self, brief: Brief) -> RunDesk:
        """What a mutator works from for one brief."""
        return RunDesk(self.search, self._books(), brief, self.writer.durable, self.fingerprints)

    def _start(self, job: Job) -> None:
        self.search.start(job)

    def _start_controls(self) -> list[asyncio.Task[None]]:
        if not self.opened.settings.control:
            return []
        # with the parser library behind their edits, which a run by models may do without
        from evolve.control import Beside, Greedy, Random

        greedy = self.opened.settings.greedy
        for name, ground in self.opened.grounds.items():
            beside = Beside(self.search, self.store, ground, self.executor, lambda: self._control_done, self.writer.durable)
            self.controls[name] = (Random(beside),) if greedy is False else (Random(beside), Greedy(beside, always=bool(greedy)))
        every = [control for controls in self.controls.values() for control in controls]
        return [asyncio.create_task(control.run(self.opened.settings.workers)) for control in every]

    # ---- what happens beside the search --------------------------------------------------------------------------

    async def _watch(self, done: Done) -> None:
        now = time.monotonic()
        if now - self._last_poll >= POLL_EVERY:
            self._last_poll = now
            self.search.adopt(self.writer.poll())
            if self.state.ledger.state == "stopping":
                self.search.stop_reason = self.search.stop_reason or "stopped"
        if isinstance(done, Measured):
            self._announce()
            if now - self._last_publish >= PUBLISH_EVERY:
                await self.publish()
        if self.progress and isinstance(done, Measured | Tick):
            self.progress(self)

    def _announce(self) -> None:
        """Run the commands of `--on champion` and `--on stalled`, each once a champion."""
        for task, commit in self.state.lineage.champions.items():
            if self._champions.get(task) != commit:
                known = task in self._champions
                self._champions[task] = commit
                if known:
                    self._hook("champion", task, commit)
            since, count = self.state.live.stalled.get(task, 0), self.state.lineage.evaluated.get(task, 0)
            if since >= max(STALLED_AFTER, count / 2) and self._stalled.get(task) != commit:
                self._stalled[task] = commit
                self._hook("stalled", task, commit)

    def _hook(self, event: str, task: str, commit: str) -> None:
        candidate = self.state.candidates.get(commit)
        facts = {
            "EVOLVE_EVENT": event,
            "EVOLVE_RUN": self.opened.run,
            "EVOLVE_TASK": task,
            "EVOLVE_COMMIT": commit,
            "EVOLVE_FITNESS": repr(candidate.fitness) if candidate else "",
        }
        for wanted, command in self.opened.settings.hooks:
            if wanted == event:  # the user's own command, with the user's rights, not waited for
                subprocess.Popen(command, shell=True, env={**os.environ, **facts}, stdin=subprocess.DEVNULL)

    async def publish(self) -> None:
        """Branches in the user's repository, where they changed."""
        self._last_publish = time.monotonic()
        if not self.opened.settings.publish or self._published == self.state.lineage.champions:
            return
        self._published = dict(self.state.lineage.champions)
        await self.writer.durable()
        await asyncio.to_thread(self.opened.archive.publish, self.state, prefix=self.opened.settings.prefix)

    # ---- signals -------------------------------------------------------------------------------------------------

    @contextmanager
    def _signal_handlers(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        taken = []
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, self._signalled, number)
                taken.append(number)
            except (ValueError, NotImplementedError, RuntimeError):  # not the main thread: the embedder's business
                continue
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)

    def _signalled(self, number: int) -> None:
        """Ctrl-C once: finish what runs; twice, or SIGTERM: now. Nothing recorded is lost either way."""
        self._signals += 1
        self.search.stop_reason = "terminated" if number == signal.SIGTERM else "interrupted"
        if (self._signals > 1 or number == signal.SIGTERM) and self._main:
            self._main.cancel()

    # ---- records -------------------------------------------------------------------------------------------------

    def evidence(self, commit: str) -> list[Evidence]:
        """All evidence of a candidate that counts for its verdict, oldest first, read back from the log."""
        return stored(self.opened.archive, self.state, self.state.candidates[commit])

    def _books(self) -> ArchiveBooks:
        return ArchiveBooks(self.opened.archive)

    def _open_session(self) -> None:
        site = next(iter(self.opened.sites.values()))
        self.search.append(
            ev.Session("open", socket.gethostname(), os.getpid(), self.opened.settings.workers, machine=site.machine)
        )
        if self.state.ledger.state == "stopping":  # `evolve stop` ended an earlier process, not this one
            self.search.append(ev.Paused("running", "started again"))

    def _close_session(self, why: str) -> None:
        self.search.append(ev.Session("closed", seconds=time.monotonic() - self.began, why=why))
        self.writer.flush()
        self.opened.archive.keep(self.state)

    def reason(self) -> str:
        return self.search.stop_reason or self.search.spent() or self.search.limits.exhausted() or "finished"

    def _finish(self) -> Result:
        reason = self.reason()
        if reason in ("evaluations", "seconds", "money", "tokens", "gpu_seconds"):
            self.search.append(ev.Closed(reason))
        self._close_session(reason)
        if self.opened.settings.publish:
            self.opened.archive.publish(self.state, prefix=self.opened.settings.prefix)
        best = {name: champion for name in self.opened.grounds if (champion := self.state.champion(name))}
        for task, champion in best.items():
            self._hook("finished", task, champion.commit)
        reached: dict[str, dict[str, tuple[int, float | None]]] = {"control": {}, "greedy": {}}
        dear = {}
        for name, controls in self.controls.items():
            for control in controls:
                if control.evaluations or control.wanted():
                    reached[control.name][name] = control.evaluations, control.best
                else:
                    dear[name] = control.mean_seconds()
        seconds = time.monotonic() - self.began
        return Result(self.opened.run, reason, best, self.state.ledger.evaluations, seconds, **reached, dear=dear)


def targets(opened: Opened) -> dict[str, float]:
    """`RunSettings.until` as fitness by task. Raises UsageError for a task that the run does not have."""
    wanted = {}
    for name, value in opened.settings.until.items():
        if name and name not in opened.grounds:
            raise UsageError(f"--until {name}={value:g}: the run has no task {name!r}; it has {', '.join(opened.grounds)}")
        for task in [name] if name else opened.grounds:
            wanted[task] = opened.grounds[task].task.objectives[0].sign * value
    return wanted


class ArchiveBooks:
    """What a desk reads of the archive (evolve.desk.Books)."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def file(self, tree: str, path: str) -> bytes | None:
        return self._archive.store.file(tree, path)

    def merge_base(self, ours: str, theirs: str) -> str | None:
        return self._archive.store.merge_base(ours, theirs)

    def merge(self, base: str, ours: str, theirs: str) -> str | None:
        return self._archive.store.merge(base, ours, theirs)

    def artifact(self, oid: str, name: str) -> bytes | None:
        return self._archive.artifact(oid, name)

    def event(self, oid: str) -> ev.Event:
        return self._archive.recorded(oid).event

    def artifacts(self, oid: str) -> tuple[str, ...]:
        return self._archive.recorded(oid).artifacts
