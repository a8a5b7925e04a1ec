"""How far ahead of the evaluations proposals are asked for: as far as keeps the evaluators busy, and no further."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from evolve import api
from evolve.evaluators.evaluator import Job
from evolve.evaluators.executors import InProcessExecutor
from evolve.mutators import Desk
from evolve.population.brief import Brief, Proposal
from evolve.session import Session
from evolve.settings import RunSettings
from evolve.tasks.evidence import Evidence
from tests.search.scene import Climb, Numbers, make_repository


class Written(Climb):
    """Takes so many seconds to write a proposal, and notes how many candidates were under way when it was asked."""

    latency = True

    def __init__(self, seconds: float) -> None:
        self.seconds, self.noted, self.at_once, self.most_at_once = seconds, [], 0, 0
        self.session: Session | None = None

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        assert self.session is not None
        self.noted.append(len(self.session.state.pending.briefs) + len(self.session.state.pending.candidates))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.seconds)
        self.at_once -= 1
        return dataclasses.replace(await super().propose(brief, desk), idea=f"number {brief.number}")


class Taking(Numbers):
    seconds = 0.0

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        time.sleep(self.seconds)
        return super().measure(job, progress)


def run(place: Path, writes: float, measures: float, evaluations: int) -> Written:
    mutator = Written(writes)
    wanted = RunSettings(
        where=make_repository(place), evaluations=evaluations, control=False, publish=False, workers=2, proposals=6, seed=1
    )

    def executor(opened: object) -> InProcessExecutor:
        numbers = Taking(opened)  # type: ignore[arg-type]
        numbers.seconds = measures
        return InProcessExecutor({"toy": numbers}, 2)

    session = api.open_session(wanted, mutators={mutator.name: mutator}, executor=executor)  # type: ignore[arg-type, dict-item]
    mutator.session = session
    asyncio.run(session.run())
    return mutator


def test_no_more_is_written_than_the_evaluators_can_take(tmp_path: Path) -> None:
    """Kills: a line of six waiting for two evaluators, each written from a parent that six others have since replaced."""
    mutator = run(tmp_path / "r", writes=0.001, measures=0.2, evaluations=30)
    later = sorted(mutator.noted[12:])
    assert later[len(later) // 2] <= 4, mutator.noted  # itself, two that run, and what has just ended


def test_slow_writers_are_asked_all_at_once(tmp_path: Path) -> None:
    """Kills: a pace that lets evaluators stand idle where writing is what takes long."""
    assert run(tmp_path / "r", writes=0.2, measures=0.0, evaluations=20).most_at_once == 6
