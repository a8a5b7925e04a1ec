"""Limits are hard: what a request or a job may cost at most must fit, and a run that cannot pay ends for that reason."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from evolve import api
from evolve.errors import UsageError
from evolve.evaluators.evaluator import Job
from evolve.evaluators.executors import InProcessExecutor
from evolve.mutators import Desk, Reply
from evolve.population import events as ev
from evolve.population.brief import Brief, Proposal
from evolve.session import Result, Session
from evolve.settings import RunSettings
from evolve.tasks.evidence import Cost, Evidence
from tests.search.scene import TOML, Climb, Numbers, events_of, make_repository, state_of


class Paying(Climb):
    """Asks its "model" before each proposal: reserves `most` dollars and 100 tokens, pays 0.004 and 40."""

    name = "paying"
    latency = True

    def __init__(self, most: float | None = 0.01, hang: bool = False) -> None:
        self.most, self.hang, self.sent = most, hang, 0

    def unpriced(self) -> tuple[str, ...]:
        return ("dear",) if self.most is None else ()

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        async def send(body: bytes) -> Reply:
            self.sent += 1
            if self.hang:
                await asyncio.sleep(3600)
            return Reply(b"{}", money=None if self.most is None else 0.004, tokens_in=30, tokens_out=10)

        await desk.call(f"request {brief.number}".encode(), send, model="dear", money=self.most, tokens=100)
        return await super().propose(brief, desk)


class Costly(Numbers):
    """Each job takes 3 GPU seconds."""

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        return dataclasses.replace(super().measure(job, progress), cost=Cost(gpu=3.0))


def open_it(place: Path, *mutators: Climb, **settings: object) -> Session:
    wanted = RunSettings(where=place, control=False, publish=False, workers=1, proposals=2, seed=1, **settings)  # type: ignore[arg-type]
    return api.open_session(
        wanted,
        mutators={m.name: m for m in mutators},  # type: ignore[misc]
        executor=lambda opened: InProcessExecutor({"toy": Costly(opened)}, 1),
    )


def run(place: Path, *mutators: Climb, **settings: object) -> tuple[Session, Result]:
    session = open_it(place, *mutators, **settings)
    return session, asyncio.run(session.run())


def short(place: Path) -> list[str]:
    return [e.why for e in events_of(place) if isinstance(e, ev.Refused) and e.why.startswith("budget:")]


@pytest.mark.parametrize(("settings", "what"), [({"money": 0.037}, "money"), ({"tokens": 370}, "tokens")])
def test_a_run_whose_rest_covers_no_request_ends_for_that(tmp_path: Path, settings: dict[str, float], what: str) -> None:
    """Kills: thousands of refusals, and 'the mutators have nothing new', where money or tokens are short."""
    place = make_repository(tmp_path / "r")
    mutator = Paying()
    session, result = run(place, mutator, **settings)
    ledger = session.state.ledger
    assert result.reason == ledger.closed == what
    assert ledger.used(what) <= settings[what] and mutator.sent >= 6
    assert 1 <= len(short(place)) <= 2 * mutator.sent


def test_what_costs_nothing_goes_on_where_money_is_short(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    mutator = Paying()
    session, result = run(place, mutator, Climb(), money=0.02, evaluations=40)
    assert result.reason == "evaluations" and result.evaluations == 40
    assert 0 < session.state.ledger.money <= 0.02 and len(short(place)) <= 2 * mutator.sent


def test_a_limit_of_money_needs_prices(tmp_path: Path) -> None:
    """Kills: a limit that calls of an unknown price pass."""
    place = make_repository(tmp_path / "r")
    mutator = Paying(None)
    with pytest.raises(UsageError, match="price of dear is not known"):
        run(place, mutator, money=1.0, evaluations=5)
    assert mutator.sent == 0
    free = make_repository(tmp_path / "free")
    session, result = run(free, Paying(None), evaluations=5)
    assert result.reason == "evaluations" and session.state.ledger.unknown > 0  # without a limit it is counted as unknown


def test_a_reservation_outlives_the_process_and_is_charged_where_no_answer_came(tmp_path: Path) -> None:
    """Kills: a ledger that forgets requests in flight when the process dies."""
    place = make_repository(tmp_path / "r")

    async def cut(session: Session) -> None:
        task = asyncio.create_task(session.run())
        while not session.state.ledger.open_requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cut(open_it(place, Paying(hang=True), money=0.1)))
    reserved = len(state_of(place).ledger.open_requests)
    assert reserved >= 1 and state_of(place).ledger.used("money") == pytest.approx(0.01 * reserved)
    session, result = run(place, Paying(), money=0.1)
    answered = [e for e in events_of(place) if isinstance(e, ev.Answered)]
    lost = [e for e in answered if e.outcome == "lost"]
    assert len(lost) == reserved and all(e.money == 0.01 for e in lost)
    assert session.state.ledger.money == pytest.approx(0.01 * reserved + 0.004 * (len(answered) - reserved)) and result.reason == "money"
    assert session.state.ledger.money <= 0.1


def test_no_job_starts_whose_gpu_seconds_do_not_fit(tmp_path: Path) -> None:
    """A job reserves 10 GPU seconds (5 s on 2 GPUs) and uses 3; the seed's check, five of them."""
    toml = TOML.replace('timeout = "5s"\n', 'timeout = "5s"\ngpus = 2\n')
    place = make_repository(tmp_path / "a", toml)
    with pytest.raises(UsageError, match="check of 'toy' may take"):
        run(place, Climb(), evaluations=6, gpu_seconds=24.0)
    again = make_repository(tmp_path / "b", toml)
    session, result = run(again, Climb(), evaluations=60, gpu_seconds=80.0)
    assert result.reason == session.state.ledger.closed == "gpu_seconds" and 10 < result.evaluations < 60
    used, reserved = 0.0, {}
    for event in events_of(again):
        if isinstance(event, ev.Started):
            reserved[event.job] = event.gpu_seconds
            assert used + sum(reserved.values()) <= 80.0
        elif isinstance(event, ev.Measured):
            reserved.pop(event.job)
            used += event.evidence.cost.gpu
    assert used > 60
