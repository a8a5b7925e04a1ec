"""A run opened for one answer: no search goes on, one brief is settled and judged in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evolve.loop import Answered, Broke, Measured, Pipeline, Slots
from evolve.mutators.outside import OUTSIDE, Outside
from evolve.population.archive import Archive
from evolve.population.brief import Brief
from evolve.population.folds import RunState
from evolve.settings import RunSettings

if TYPE_CHECKING:
    from evolve.session import Session


def settings_of(archive: Archive, state: RunState) -> RunSettings:
    """Settings that open the run again as it was opened. `where` is the folder that holds the archive's repository."""
    opened = state.lineage.opened
    assert opened is not None
    tasks = tuple(task.bundled for task in opened.tasks.values() if task.bundled)
    return RunSettings(
        tasks=tasks, where=home_of(archive), name=state.run, mutators=(), selector=opened.selector or "islands",
        workers=1, control=False,
    )  # fmt: skip


def home_of(archive: Archive) -> Path:
    """The folder in which the run was started: the repository's, or the one that holds `evolve-<task>/`."""
    home = archive.path.parent
    return home.parent.parent if home.name == "evolve" and home.parent.name == ".git" else home.parent


@contextmanager
def opened(archive: Archive, state: RunState) -> Iterator[Session]:
    """A session of the run, holding its lock. Raises RepositoryError where another process has it."""
    from evolve import api

    session = api.open_session(settings_of(archive, state), mutators={OUTSIDE: Outside(look=0.02)})
    try:
        yield session
    finally:
        session.opened.writer.close()


def settle(session: Session, brief: Brief) -> None:
    """Accept the answer on record to `brief` and measure it to its verdict, and through a champion gate if it earns one."""
    asyncio.run(_settle(session, brief))


async def _settle(session: Session, brief: Brief) -> None:
    try:
        await session.check()
        await _measured(session, brief)
    finally:
        await session.executor.close()


async def _measured(session: Session, brief: Brief) -> None:
    search = session.search
    pipeline = Pipeline(
        session.mutators,
        session.desk,
        session.executor,
        Slots(1, 1),
        start=search.start,
        cancelled=search.cancelled,
        durable=session.writer.durable,
        stay=lambda: False,
    )
    async with pipeline as work:
        work.propose(brief)
        work.drain()
        async for done in work:
            match done:
                case Answered(brief, proposal):
                    if job := search.accept(brief, proposal):
                        work.measure(job)
                case Measured(job, evidence):
                    for follow in search.tell(job, evidence):
                        work.measure(follow)
                case Broke(job, error):
                    for again in search.broke(job, error):
                        work.measure(again)
                case _:
                    pass
            work.drain()
    await session.writer.durable()
    if session.opened.settings.publish:
        await session.publish()
