"""A candidate measured again apart from any search, and stored evidence judged again under the present rules."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evolve import evaluators
from evolve.errors import RepositoryError
from evolve.evaluators.evaluator import Job
from evolve.evaluators.executors import LocalExecutor
from evolve.opening import site_of
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState
from evolve.population.lock import held
from evolve.tasks.evidence import Evidence
from evolve.tasks.task import Task
from evolve.tasks.verdict import VERIFY, Calibration, Status, Verdict, judge

if TYPE_CHECKING:
    from evolve.session import Session

BEYOND = 3.0
"""Standard errors by which a re-run may fall short of the score on record."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """What an independent re-run gave. verdict: from its evidence alone. standing: of the candidate afterwards."""

    verdict: Verdict
    standing: str


def stored(archive: Archive, state: RunState, candidate: Candidate) -> list[Evidence]:
    """The evidence of a candidate that counts for its verdict now, oldest first, as its evaluator reads it today."""
    counted, opened = state.lineage.counted(candidate.task), state.lineage.opened
    assert opened is not None
    task = Task.parse(opened.tasks[candidate.task].source, where=f"task {candidate.task}")
    found = []
    for oid in state.lineage.measured.get(candidate.commit, ()):
        event = archive.event(oid)
        if isinstance(event, ev.Measured) and event.epoch in counted:
            kept = _kept(archive, oid) if task.evaluate.evaluator not in ("command", "script") else {}
            found.append(evaluators.reread(task, event.evidence, kept))
    return found


def _kept(archive: Archive, oid: str) -> dict[str, str]:
    """The artifacts of an event as text."""
    texts = {name: archive.artifact(oid, name) for name in archive.recorded(oid).artifacts}
    return {name: data.decode("utf-8", "replace") for name, data in texts.items() if data is not None}


# ---- measured again --------------------------------------------------------------------------------------------------


async def rerun(archive: Archive, state: RunState, candidate: Candidate) -> Rerun:
    """A job of its own, new secrets, the strictest rules; nothing is recorded. Raises InfrastructureError."""
    task, site, stages = site_of(archive, state, candidate.task)
    executor = LocalExecutor({candidate.task: site}, 1)
    try:
        evidence = await (await executor.start(_job(candidate, max(stages[-1].blocks, 1)))).result()
    finally:
        await executor.close()
    found = judge([evidence], candidate.tree, task, state.lineage.calibration(candidate.task))
    return Rerun(found, candidate.standing.value)


def _job(candidate: Candidate, blocks: int) -> Job:
    return Job(f"again-{candidate.number}/{VERIFY}/0", candidate.task, (candidate.tree,), VERIFY, blocks)


def rerun_on_record(archive: Archive, state: RunState, candidate: Candidate) -> Rerun:
    """The same as a job of the run: its evidence counts, and it releases a candidate in doubt where it is clean.

    Raises RepositoryError where the run is being searched: the search does this by itself.
    """
    from evolve.inline import opened

    refuse_live(archive, state.run)
    with opened(archive, state) as session:
        return asyncio.run(_on_record(session, candidate.commit))


async def _on_record(session: Session, commit: str) -> Rerun:
    search = session.search
    candidate = search.state.candidates[commit]
    ground = session.opened.grounds[candidate.task]
    try:
        await session.check()
        job = search.standings.order(ground, candidate)
        search.start(job)
        await session.writer.durable()
        evidence = await (await session.executor.start(job)).result()
        search.tell(job, evidence)
        await session.writer.durable()
        if session.opened.settings.publish:
            await session.publish()
    finally:
        await session.executor.close()
    found = judge([evidence], candidate.tree, ground.task, search.state.lineage.calibration(candidate.task))
    return Rerun(found, candidate.standing.value)


def refuse_live(archive: Archive, run: str) -> None:
    """Raises RepositoryError where a process is searching the run."""
    if held(archive.home / "locks" / f"{run}.lock"):
        raise RepositoryError(f"run {run!r} is being searched; 'evolve stop' first, or leave --record out")


def borne_out(candidate: Candidate, again: Verdict, task: Task, calibration: Calibration) -> bool | None:
    """Whether a re-run bears the score on record out; None where neither has one."""
    if again.fitness is None:
        return None if candidate.fitness is None and again.status is Status.INVALID else False
    if candidate.fitness is None or candidate.verdict is None:
        return True
    metric = task.objectives[0].name
    counts = [verdict.metrics[metric].n for verdict in (again, candidate.verdict)]
    error = calibration.sigma.get(metric, 0.0) * math.sqrt(sum(1 / n for n in counts))
    return again.fitness >= candidate.fitness - BEYOND * error


# ---- judged again ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """A verdict that the present rules would not give any more."""

    candidate: Candidate
    before: Verdict
    after: Verdict


def rejudge(archive: Archive, state: RunState) -> Iterator[Change]:
    """Judge all stored evidence of a run's present epochs again; the candidates whose verdict changes, oldest first."""
    opened = state.lineage.opened
    tasks = {name: Task.parse(t.source, where=f"task {name}") for name, t in opened.tasks.items()} if opened else {}
    for candidate in state.candidates.values():
        if candidate.verdict is None or candidate.task not in tasks:
            continue
        evidence = stored(archive, state, candidate)
        calibration = state.lineage.calibration(candidate.task)
        after = judge(evidence, candidate.tree, tasks[candidate.task], calibration)
        if evidence and after != candidate.verdict:
            yield Change(candidate, candidate.verdict, after)


def rejudge_on_record(archive: Archive, state: RunState) -> list[Change]:
    """The same, with each changed verdict on record, and what it calls for (a cheat quarantines its descendants).

    Raises RepositoryError where the run is being searched.
    """
    from evolve.inline import opened

    refuse_live(archive, state.run)
    with opened(archive, state) as session:
        changes = list(rejudge(session.opened.archive, session.state))
        for change in changes:
            ground = session.opened.grounds[change.candidate.task]
            session.search.give_verdict(ground, change.candidate, session.evidence(change.candidate.commit))
        session.writer.flush()
        if session.opened.settings.publish:
            session.opened.archive.publish(session.state, prefix=session.opened.settings.prefix)
        asyncio.run(session.executor.close())
        return changes
