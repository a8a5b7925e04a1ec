"""The trust-region tuner: few points for a smooth score, a function of the record, and what counts as a knob of it."""

from __future__ import annotations

import asyncio

import numpy as np
import numpy.typing as npt
import pytest

from evolve.mutators import trust
from evolve.mutators.tune import ROOM, Tune, near
from evolve.population.brief import Brief
from evolve.population.candidate import Candidate
from tests.models.desk import FakeDesk
from tests.mutators.scene import P, verdict

SCALE = np.array([1.0, 2.0, 0.5, 1.5])
PEAK = np.array([0.52, 0.49, 0.5, 0.515])


def score(point: npt.NDArray[np.float64]) -> float:
    return float(-np.log10(1e-12 + (SCALE * (point - PEAK) ** 2).sum()))


def climb(trials: int, spoilt: int = -1) -> list[float]:
    start, values, points = np.full(4, 0.5), dict[int, float | None](), []
    for number in range(trials):
        point = trust.next_point(start, score(start), values, number, 0.01)
        assert point is not None and ((point >= 0) & (point <= 1)).all()
        points.append(point)
        values[number] = None if number == spoilt else score(point)
    return [value for value in values.values() if value is not None]


def test_a_smooth_score_is_climbed_in_some_tens_of_trials() -> None:
    assert max(climb(50)) > score(np.full(4, 0.5)) + 2, "two orders of magnitude nearer"


def test_a_trial_without_a_value_does_not_end_it() -> None:
    assert max(climb(50, spoilt=3)) > score(np.full(4, 0.5)) + 2


def test_a_point_is_a_function_of_the_record() -> None:
    values = {0: 1.0, 1: 2.0, 2: 0.5, 3: 1.0, 4: 2.5, 5: None, 6: 1.0, 7: 1.0, 8: 1.1}
    one, two = (trust.next_point([0.5] * 4, 1.0, values, 9, 0.02) for _ in range(2))
    assert one is not None and two is not None and (one == two).all()
    less = trust.next_point([0.5] * 4, 1.0, values | {8: 5.0}, 9, 0.02)
    assert less is not None and (less != one).any()
    later = trust.next_point([0.5] * 4, 1.0, values | {9: 7.0, 10: 8.0}, 9, 0.02)
    assert later is not None and (later == one).all(), "what came after does not count"


def test_separate_real_numbers_are_knobs_and_share_a_step_where_they_are_of_like_size() -> None:
    text = (
        b"A = 1.0\nB = 0.25\nN = 40\nROWS = [(0.1, 0.2), (0.3, 0.4)]\n\ndef f(x):\n    return A + x * (B - 0.5 * x)\n"
    )
    knobs = near({"p.py": text})
    assert [knob["value"] for knob in knobs] == [1.0, 0.25, 0.5]
    assert {round(float(k["high"]) - float(k["value"]), 9) for k in knobs} == {ROOM * 0.5}, "the median size"  # type: ignore[arg-type]
    apart = near({"p.py": b"A = 1.0\nB = 1e-6\n"})
    assert [float(k["high"]) - float(k["value"]) for k in apart] == pytest.approx([ROOM, ROOM * 1e-6])  # type: ignore[arg-type]


def test_a_near_study_through_the_mutator() -> None:
    """Its points are spelled into files and read back; the bowl's bottom is found."""
    program = b"A = 1.0\nB = 0.25\n\ndef f(x):\n    return A + B * x\n"

    def bowl(content: bytes) -> float:
        a, b = (float(line.split(b"=")[1].strip(b" ()")) for line in content.splitlines()[:2])
        return -((a - 1.6) ** 2) - 3 * (b + 0.4) ** 2

    desk, knobs = (
        FakeDesk({P: {"program.py": program}}, {P: made(P, P, 0, "", bowl(program))}),
        near({"program.py": program}),
    )
    for number in range(30):
        hint = {"study": "s1", "trial": number, "radius": 0.3 / (2 * ROOM), "knobs": knobs, "opening": 0}
        proposal = asyncio.run(Tune().propose(Brief(number + 1, "t", "tune", (P,), 5, hint=hint), desk))
        assert not proposal.stillborn and proposal.operator == f"tune/s1#{number}"
        content, commit = proposal.files["program.py"], f"{number + 1:040x}"
        assert content is not None
        desk.trees[commit] = {"program.py": content}  # type: ignore[index]
        desk.candidates[commit] = made(commit, P, number + 1, proposal.operator, bowl(content))  # type: ignore[index]
    assert max(c.fitness or -9.0 for c in desk.candidates.values()) > -1e-6


def made(commit: str, parent: str, number: int, operator: str, fitness: float) -> Candidate:
    parents = () if commit == parent else (parent,)
    return Candidate(commit, commit, parents, "t", number, operator=operator, verdict=verdict(fitness))
