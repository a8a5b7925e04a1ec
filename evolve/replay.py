"""A search run again from its archive: no network, nothing measured, nothing written, and the same result.

The log is gone through in its order. What came from outside the search (evidence, answers, people's words, the clock) is
taken from it; everything that the search and its mutators decide is decided again from the state so far and compared:
each brief, each proposal with its tree and commit, each refusal, verdict, promotion and step of the policy. So it does not
matter how many workers there were. The first difference ends the replay.

Proposals of coding agents and of people outside are taken from the record: they cannot be had again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from evolve import mutators as mutator_registry
from evolve.desk import RunDesk
from evolve.errors import EvolveError, UsageError
from evolve.evaluators.evaluator import Job
from evolve.fingerprints import Fingerprints
from evolve.models.scripted import ReplayMiss
from evolve.mutators import Desk, Mutator, Reply
from evolve.mutators.outside import OUTSIDE, Outside
from evolve.mutators.tune import Tune
from evolve.opening import site_of
from evolve.population import embedding, selection
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.brief import Brief, Inspiration, Proposal
from evolve.population.folds import RunState
from evolve.population.policy import Policy
from evolve.search import Ground, Search
from evolve.session import ArchiveBooks
from evolve.tasks.evidence import Artifact, Evidence

PATIENCE = 120.0
"""Seconds for which a proposal may compute."""

DECIDED = (
    ev.Judged, ev.Promoted, ev.GateClosed, ev.StudyOpened, ev.StudyClosed, ev.Plateau, ev.HandedOver, ev.Lesson, ev.Suspended,
    ev.Quarantined, ev.Released,
)  # fmt: skip
"""Events that are decisions; one that no call of the replay came to is taken from the record, and counted."""


class Differs(EvolveError):
    """The replay came to something else than the record says."""


@dataclass(slots=True)
class Replayed:
    """What was decided again: briefs asked, proposals made, all events of decisions. taken: proposals and decisions that
    were taken from the record. difference: the first one, "" where all is the same."""

    run: str
    events: int = 0
    briefs: int = 0
    proposals: int = 0
    decided: int = 0
    taken: int = 0
    difference: str = ""
    champions: dict[str, str] | None = None


class Replay:
    def __init__(self, archive: Archive, run: str, mutators: Mapping[str, Mutator] | None = None) -> None:
        """mutators: those of the run where they are objects of one's own; None: by the names on record."""
        self.archive, self.books = archive, ArchiveBooks(archive)
        self.log = list(archive.events(run))
        self.report = Replayed(run, events=len(self.log))
        self.state = RunState()
        folded = archive.state(run)
        self.opened = folded.lineage.opened
        if self.opened is None:
            raise UsageError(f"run {run!r} has no beginning on record")
        if folded.lineage.rescored:
            raise UsageError(f"run {run!r} was scored anew (--rescore): a replay goes through one epoch only, and it has more")
        self.policy = Policy.known(self.opened.settings.get("policy", {}))
        self.mutators = dict(mutators) if mutators is not None else self._named()
        self.mutators.setdefault(OUTSIDE, Outside())
        self.grounds = {name: self._ground(folded, name) for name in self.opened.tasks}
        self.done: set[int] = set()
        self.at = 0
        self.date = 0.0
        self.search: Search | None = None
        self.begun = False
        self.fingerprints: Fingerprints | None = None
        self.proposals: dict[int, asyncio.Task[Proposal]] = {}
        self.briefs: dict[int, Brief] = {}
        self.jobs: dict[str, ev.Started] = {}
        self.requests = {
            (r.event.brief, r.event.call): r.event for r in self.log if isinstance(r.event, ev.Requested)
        }  # fmt: skip
        self.received: dict[tuple[int, int], str] = {}
        self.waiting: dict[int, tuple[tuple[int, int], asyncio.Future[str]]] = {}

    def _named(self) -> dict[str, Mutator]:
        assert self.opened is not None
        words = [word for word in self.opened.mutator.split(",") if word]
        plain = [word for word in words if not word.startswith("agent:")]
        found: dict[str, Mutator] = {m.name: m for m in mutator_registry.load(plain, offline=True)}
        for word in set(words) - set(plain):
            name = word.partition("=")[0]
            found[name] = _Absent(name, Outside().operators)
        if self.policy.tune > 0:
            found.setdefault("tune", Tune())
        return found

    def _ground(self, folded: RunState, name: str) -> Ground:
        assert self.opened is not None
        task, site, stages = site_of(self.archive, folded, name)
        record, epoch = self.opened.tasks[name], folded.lineage.epochs[name]
        return Ground(task, record.base, site.base, stages, epoch.epoch, epoch.task_digest, epoch.evaluator)

    # ---- going through the log -----------------------------------------------------------------------------------

    async def run(self) -> Replayed:
        """Replays the whole log. Raises what a mutator raises for reasons of its own."""
        try:
            for place, recorded in enumerate(self.log):
                self.at = place
                if place not in self.done:
                    await self._step(recorded)
        except (Differs, ReplayMiss) as error:
            self.report.difference = str(error)
        finally:
            for task in self.proposals.values():
                task.cancel()
            await asyncio.gather(*self.proposals.values(), return_exceptions=True)
            if self.fingerprints is not None:
                self.fingerprints.close()
        self.report.champions = dict(self.state.lineage.champions)
        return self.report

    async def _step(self, recorded: ev.Recorded) -> None:
        event = recorded.event
        match event:
            case ev.Asked():
                if event.brief.mutator not in self.mutators:
                    raise UsageError(
                        f"brief {event.brief.number} was for mutator {event.brief.mutator!r}, an object of the caller's own: replay "
                        "such a run from Python, with evolve.replay.Replay(archive, run, {name: mutator, ...})"
                    )
                brief = self._begun().ask(event.brief.mutator)
                self.report.briefs += 1
                self.briefs[brief.number] = brief
                mutator = self.mutators[brief.mutator]
                if brief.mutator != OUTSIDE and not isinstance(mutator, _Absent):
                    self.proposals[brief.number] = asyncio.create_task(self._propose(mutator, brief))
                    await self._go_on(brief.number)
            case ev.Born() | ev.Refused() | ev.Tactic() if event.brief in self.briefs:
                await self._accept(event)
            case ev.Measured() if self.begun and event.job in self.jobs and "/calibrate" not in event.job:
                started = self.jobs[event.job]
                trees = tuple(self.state.candidates[c].tree for c in started.candidates)
                job = Job(event.job, event.task, trees, started.stage, attempt=started.attempt)
                self._begun().tell(job, event.evidence)
            case ev.Requested() if event.call:
                await self._go_on(event.brief)
                self._adopt(recorded)
            case ev.Answered() if (event.brief, event.call + 1) not in self.requests:
                self._adopt(recorded)
                await self._go_on(event.brief)
            case _:
                self._adopt(recorded)

    def _adopt(self, recorded: ev.Recorded) -> None:
        """Take an event as it is: it came from outside the search."""
        event = recorded.event
        self.done.add(self.at)
        self.state.apply(recorded)
        self.report.taken += isinstance(event, DECIDED) and self.begun
        if isinstance(event, ev.Session) and event.state == "open":
            self.begun, self.search = False, None
        elif isinstance(event, ev.Started):
            self.jobs[event.job] = event
        elif isinstance(event, ev.Answered):
            self.received[(event.brief, event.call)] = recorded.oid

    def _begun(self) -> Search:
        """The search of the session that the log is in, past its checks."""
        if self.search is None:
            assert self.opened is not None
            self.search = Search(
                self, self.archive.store, self.state, self.grounds, selection.load(self.opened.selector, self.policy),
                {name: tuple(m.operators) for name, m in self.mutators.items()},
                evidence=self._evidence, dates=lambda: self.date, timer=lambda: 0.0,
                immediate=[name for name, m in self.mutators.items() if not m.latency],
                readers=[name for name, m in self.mutators.items() if m.latency],
                embedder=embedding.load(str(self.opened.settings.get("embedder", ""))),
                models={name: tuple(getattr(m, "models", ())) for name, m in self.mutators.items()},
            )  # fmt: skip
            self.fingerprints = self.fingerprints or Fingerprints(self.search)
            self.fingerprints.search = self.search
        if not self.begun:
            self.begun = True
            self.search.unfinished()
        return self.search

    async def _go_on(self, brief: int) -> None:
        """Give a proposal the answer it waits for, and let it get to its next request or its end. Where the record has a
        further request, that is done at its place in the log: there its mutator found what it asks about. Else at the
        answer's: what is known only grows, so it finds nothing then that was not found before."""
        task, waits = self.proposals.get(brief), self.waiting.pop(brief, None)
        if task is None:
            return
        if waits is not None and waits[0] in self.received:
            waits[1].set_result(self.received[waits[0]])
        until = asyncio.get_running_loop().time() + PATIENCE
        while not task.done() and brief not in self.waiting and asyncio.get_running_loop().time() < until:
            await asyncio.wait([task], timeout=0.002)

    # ---- the record: what is appended is compared ------------------------------------------------------------------

    def append(self, event: ev.Event, artifacts: Sequence[Artifact] = ()) -> ev.Recorded:
        """`evolve.search.Record`: the event must be the next of this log that no outside cause explains."""
        log = self.log[self.at].log
        place = next((n for n in range(self.at, len(self.log)) if n not in self.done and self.log[n].log == log), None)
        if place is None:
            raise Differs(f"the replay goes on with {_words(event)}, where the record ends")
        recorded = self.log[place]
        if recorded.event != event:
            raise Differs(f"event {recorded.position} of {log}: the record has {_words(recorded.event)}, the replay {_words(event)}")
        self.done.add(place)
        self.report.decided += 1
        return recorded

    def _evidence(self, commit: str) -> list[Evidence]:
        events = (self.archive.recorded(oid).event for oid in self.state.lineage.measured.get(commit, ()))
        return [event.evidence for event in events if isinstance(event, ev.Measured)]

    # ---- proposals -------------------------------------------------------------------------------------------------

    async def _propose(self, mutator: Mutator, brief: Brief) -> Proposal:
        assert self.search is not None and self.fingerprints is not None
        desk = _ReplayDesk(self, self.search, brief)
        proposal = await mutator.propose(brief, desk)
        return await self.fingerprints.added(brief, proposal) if self.fingerprints.wanted() else proposal

    async def _accept(self, event: ev.Born | ev.Refused | ev.Tactic) -> None:
        search, brief = self._begun(), self.briefs[event.brief]
        if isinstance(event, ev.Born):
            self.date = float(self.archive.store.commit_of(event.candidate).time)
        await self._go_on(brief.number)
        task = self.proposals.pop(brief.number, None)
        if task is not None:
            if not task.done():
                task.cancel()
                raise Differs(f"brief {brief.number}: the record has {_words(event)}, the replay's mutator waits for more")
            proposal = task.result()
            self.report.proposals += 1
        elif isinstance(event, ev.Born):
            proposal = self._recorded(event, brief)
            self.report.taken += 1
        else:  # why an outside answer was refused is on record, what it was is not
            self._adopt(self.log[self.at])
            self.report.taken += 1
            return
        del self.briefs[brief.number]
        search.accept(brief, proposal)

    def _recorded(self, event: ev.Born, brief: Brief) -> Proposal:
        """The proposal that a candidate was, from its tree."""
        store = self.archive.store
        before = {e.path: e.oid for e in store.entries(self.state.candidates[event.parents[0]].tree)}
        after = {e.path: e.oid for e in store.entries(event.tree)}
        files: dict[str, bytes | None] = dict.fromkeys(before.keys() - after.keys())
        files.update({path: store.read(oid) for path, oid in after.items() if before.get(path) != oid})
        drawn = event.inspired_by[len(brief.inspirations) :]
        proposal = Proposal(files, event.idea, event.operator, event.model, event.parents)
        return replace(proposal, inspirations=tuple(Inspiration(commit, "on record") for commit in drawn))


@dataclass(frozen=True, slots=True)
class _Absent:
    """Stands for a coding agent, which cannot be had again."""

    name: str
    operators: tuple[str, ...]
    latency: bool = True

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        raise ReplayMiss(f"{self.name} is not run in a replay")


class _ReplayDesk(RunDesk):
    """The desk of one brief, whose line to the outside is the record."""

    def __init__(self, replay: Replay, search: Search, brief: Brief) -> None:
        super().__init__(search, replay.books, brief, _nothing, replay.fingerprints)
        self.replay = replay

    async def call(
        self, request: bytes, send: Callable[[bytes], Awaitable[Reply]], *, model: str, money: float | None = None,
        tokens: int = 0,
    ) -> Reply:  # fmt: skip
        """The answer on record, once the replay has come to it. Raises ReplayMiss for a request that is not."""
        digest = hashlib.sha256(request).hexdigest()
        while True:
            key = (self.brief.number, self._call)
            self._call += 1
            oid = await self._answer(key, digest, model)
            event, body = self.books.event(oid), self.books.artifact(oid, f"answer-{key[1]}")
            if isinstance(event, ev.Answered) and event.outcome != "lost" and body is not None:
                return Reply(body, event.outcome, event.money, event.tokens_in, event.tokens_cached, event.tokens_out)

    async def _answer(self, key: tuple[int, int], digest: str, model: str) -> str:
        wanted = self.replay.requests.get(key)
        if wanted is None or wanted.digest != digest:
            why = "is not on record" if wanted is None else "is another than the one on record"
            raise ReplayMiss(f"brief {key[0]}: request {key[1]} to {model} {why}; the code or the task has changed since")
        waits: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.replay.waiting[self.brief.number] = key, waits
        return await waits


async def _nothing() -> None:
    return None


def _words(event: ev.Event) -> str:
    """An event in a line, cut to what tells it from another."""
    return f"{event.kind} {repr(event)[:300]}"
