"""The live controls: random search and greedy beside the run, at its number of evaluations and outside its record of candidates."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from evolve import api
from evolve.control import DEAREST, Beside, Greedy
from evolve.evaluators.evaluator import Job
from evolve.evaluators.executors import InProcessExecutor
from evolve.mutators import load
from evolve.population import events as ev
from evolve.session import Result, Session
from evolve.settings import RunSettings
from evolve.tasks.evidence import Cost, Evidence
from tests.search.scene import Numbers, events_of, make_repository


class Slow(Numbers):
    """Says that an evaluation took so many seconds."""

    seconds = 0.0

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        return dataclasses.replace(super().measure(job, progress), cost=Cost(wall=self.seconds))


def run(place: Path, evaluations: int, seconds: float = 0.0, **settings: object) -> tuple[Session, Result]:
    wanted = RunSettings(where=place, evaluations=evaluations, publish=False, workers=1, seed=1, **settings)  # type: ignore[arg-type]
    (syntactic,) = load(["syntactic"])

    def executor(opened: object) -> InProcessExecutor:
        numbers = Slow(opened)  # type: ignore[arg-type]
        numbers.seconds = seconds
        return InProcessExecutor({"toy": numbers}, 2)

    session = api.open_session(wanted, mutators={"syntactic": syntactic}, executor=executor)  # type: ignore[arg-type]
    return session, asyncio.run(session.run())


def value(session: Session, tree: str) -> float:
    text = (session.store.file(tree, "program.py") or b"").decode()
    lines = dict(line.split(" = ") for line in text.splitlines() if line[:4] in ("X = ", "Y = "))
    return float(lines["X"].strip("()")) + float(lines["Y"].strip("()"))


def test_both_controls_keep_up_and_greedy_climbs(tmp_path: Path) -> None:
    """Kills: a control that lags, one that counts as candidates, and a greedy one that draws from the seed each time."""
    place = make_repository(tmp_path / "r")
    session, result = run(place, 60)
    assert result.control["toy"][0] == result.greedy["toy"][0] == session.state.lineage.evaluated["toy"] == 60
    assert len(session.state.lineage.verdict_order) == 60 and not result.dear
    found = [e for e in events_of(place) if isinstance(e, ev.GreedyControl)]
    bests = [e.best for e in found if e.best is not None]
    assert bests == sorted(bests) and bests[-1] == result.greedy["toy"][1]
    assert value(session, found[-1].tree) == pytest.approx(bests[-1])
    # sums of steps: no single draw of random search comes near 60 evaluations of climbing on an unbounded sum
    assert bests[-1] > 2 * (result.control["toy"][1] or 0.0) > 0


def test_greedy_goes_on_from_its_best_after_a_resume(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session, first = run(place, 30)
    stopped = session.state.lineage.greedy["toy"]
    again, second = run(place, 31)
    beside = Beside(again.search, again.store, again.opened.grounds["toy"], again.executor, lambda: True, again.writer.durable)
    assert Greedy(beside).tree == again.state.lineage.greedy["toy"].tree
    assert second.greedy["toy"][0] == 31 and (second.greedy["toy"][1] or 0.0) >= (stopped.best or 0.0)
    assert first.greedy["toy"] == (stopped.evaluations, stopped.best)


def test_greedy_is_left_out_where_an_evaluation_is_dear_unless_asked_for(tmp_path: Path) -> None:
    """Random search stays: it is what every run is held to."""
    _, dear = run(make_repository(tmp_path / "a"), 6, seconds=2 * DEAREST)
    assert dear.dear["toy"] > DEAREST and "toy" not in dear.greedy and dear.control["toy"][0] == 6
    _, asked = run(make_repository(tmp_path / "b"), 6, seconds=2 * DEAREST, greedy=True)
    assert asked.greedy["toy"][0] == 6 and not asked.dear
    _, never = run(make_repository(tmp_path / "c"), 6, greedy=False)
    assert not never.greedy and not never.dear and never.control["toy"][0] == 6
