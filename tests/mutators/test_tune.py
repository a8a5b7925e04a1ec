"""Tuning: what is tuned, that the optimiser's state is the lineage, and that it finds optima."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from evolve.mutators import Mutator
from evolve.mutators.tune import (
    OPENING,
    Knob,
    Tune,
    finished,
    halton,
    knobs_of,
    next_point,
    patience,
    plan,
    structure,
    trials_of,
)
from evolve.population.brief import Brief
from evolve.population.candidate import Candidate
from evolve.tasks.verdict import Estimate, Status, Verdict
from tests.models.desk import FakeDesk

PROGRAM = b"""import math

RATE = 0.5
STEPS = 40
BIAS = -0.25  # negative literals keep their sign outside


def f(x, slope=3.0):
    table = [0.1, 0.4, 0.9]
    return slope * x + table[2] + 17.5 * math.pi
"""

P = "1" * 40


def verdict(fitness: float | None) -> Verdict:
    if fitness is None:
        return Verdict(Status.INVALID, reason="crash")
    return Verdict(
        Status.SCORED, fitness, fitness, fitness, (fitness,), {"score": Estimate(fitness, fitness, fitness, 1)}
    )


def study(
    program: bytes,
    score: Callable[[bytes], float | None],
    trials: int,
    lag: int = 0,
    knobs: list[dict[str, object]] | None = None,
) -> FakeDesk:
    """Run a study for `trials` trials; results are seen `lag` trials late."""
    trees = {P: {"program.py": program}}
    candidates = {P: Candidate(P, P, (), "t", 0, verdict=verdict(score(program)))}
    desk = FakeDesk(trees, candidates)
    for number in range(trials):
        if number > lag:
            late = f"{number - lag:040x}"
            if late in trees:
                candidates[late].verdict = verdict(score(trees[late]["program.py"]))
        hint: dict[str, object] = {"study": "s1", "trial": number} | ({"knobs": knobs} if knobs else {})
        made = asyncio.run(Tune().propose(Brief(number + 1, "t", "tune", (P,), 5, hint=hint), desk))
        if made.stillborn:
            continue
        commit = f"{number + 1:040x}"
        content = made.files["program.py"]
        assert content is not None
        ast.parse(content)
        trees[commit] = {"program.py": content}
        candidates[commit] = Candidate(commit, commit, (P,), "t", number + 1, operator=made.operator, idea=made.idea)
    for commit, candidate in candidates.items():
        candidate.verdict = verdict(score(trees[commit]["program.py"]))
    return desk


def best(desk: FakeDesk) -> float:
    return max(c.fitness for c in desk.candidates.values() if c.fitness is not None)


def namespace(program: bytes) -> dict[str, float]:
    out: dict[str, float] = {}
    exec(program.decode(), out)
    return out


def test_named_constants_come_first_and_structure_is_left_alone() -> None:
    files = {"program.py": PROGRAM}
    knobs = [Knob(**k) for k in plan(files)]  # type: ignore[arg-type]
    texts = [PROGRAM[k.start : k.end] for k in knobs]
    assert texts == [b"0.5", b"40", b"-0.25", b"3.0", b"0.1", b"0.4", b"0.9", b"17.5"]
    first = [PROGRAM[k["start"] : k["end"]] for k in plan(files, most=3)]  # type: ignore[misc]
    assert first == [b"0.5", b"40", b"-0.25"]
    assert b"2" not in texts and not plan({"x.py": b"a = 1\nb = c[5]\n"})


def test_a_hint_that_names_no_literal_is_an_error() -> None:
    knob = plan({"p.py": b"LIMIT = 10.0\n"})
    with pytest.raises(ValueError, match="no number of the parent"):
        knobs_of(knob, {"p.py": b"BOUND = max(10.0)\n"})


@pytest.mark.parametrize("lag", [0, 3], ids=["serial", "parallel"])
def test_a_study_finds_the_optimum_of_a_bowl(lag: int) -> None:
    """Two knobs, off by factors of 2 and 3: 24 trials come near, 60 nearer."""
    program = b"A = 1.0\nB = 30.0\n"

    def score(content: bytes) -> float:
        values = namespace(content)
        return -((np.log(values["A"] / 2.0)) ** 2) - (np.log(values["B"] / 10.0)) ** 2

    start = score(program)
    assert best(study(program, score, 24, lag)) > start / 10
    assert best(study(program, score, 64, lag)) > start / 100


def test_many_knobs_and_invalid_trials() -> None:
    program = b"W = [" + b", ".join(b"%.1f" % (0.5 + i / 10) for i in range(20)) + b"]\n"
    target = [0.7] * 20

    def score(content: bytes) -> float | None:
        w = namespace(content)["W"]
        return None if min(w) < -0.5 else -float(sum((a - b) ** 2 for a, b in zip(w, target, strict=True)))  # type: ignore[call-overload, arg-type]

    desk = study(program, score, 200, knobs=plan({"program.py": program}, most=20))
    assert any(c.fitness is None for c in desk.candidates.values())
    start = score(program)
    assert start is not None and best(desk) > start / 3


def test_the_state_is_the_lineage() -> None:
    """The same lineage gives the same next trial, whatever happened before in this process."""

    def score(content: bytes) -> float:
        return -abs(namespace(content)["RATE"] - 0.9)

    one, other = study(PROGRAM, score, 20), study(PROGRAM, score, 20)
    assert {c.idea for c in one.candidates.values()} == {c.idea for c in other.candidates.values()}
    brief = Brief(99, "t", "tune", (P,), 5, hint={"study": "s1", "trial": 20})
    assert asyncio.run(Tune().propose(brief, one)) == asyncio.run(Tune().propose(brief, other))
    assert isinstance(Tune(), Mutator)


def test_values_are_read_back_from_the_candidates() -> None:
    desk = study(PROGRAM, lambda content: namespace(content)["RATE"], 12)
    knobs = [Knob(**k) for k in plan({"program.py": PROGRAM})]  # type: ignore[arg-type]
    trials = trials_of("s1", knobs, P, desk)
    assert [t.number for t in trials] == list(range(12))
    for trial in trials[:OPENING]:
        wanted = halton(trial.number, len(knobs), 0)
        assert trial.point.shape == wanted.shape and ((trial.point >= 0) & (trial.point <= 1)).all()
        assert trial.fitness == pytest.approx(knobs[0].at(trial.point[0]))
    assert trials_of("another", knobs, P, desk) == []


def test_integers_stay_whole_and_points_differ() -> None:
    knob = Knob("p.py", 0, 2, 40, 10, 160, integer=True, log=True)
    assert {knob.text(knob.at(u)) for u in (0.0, 0.5, 1.0)} == {b"10", b"40", b"160"}
    points = [tuple(halton(n, 3, 7)) for n in range(64)]
    assert len(set(points)) == 64 and abs(np.mean(points) - 0.5) < 0.05


def test_when_a_study_is_over() -> None:
    assert not finished([0.0] * 15, base=1.0)
    assert finished([0.0] * 16, base=1.0)
    assert not finished([*[0.0] * 15, 2.0], base=1.0)
    assert finished([float(n) for n in range(24)], base=-1.0)
    assert not finished([None] * 15, base=-1.0) and finished([None] * 16, base=-1.0)
    assert finished([None] * 9, base=-1.0, opening=0) and patience(2) == 12 and patience(52) == 30


def test_a_later_study_takes_other_numbers_and_stays_near_where_they_are_nearly_right() -> None:
    files = {"program.py": b"W = [" + b", ".join(b"%.1f" % (i + 0.5) for i in range(20)) + b"]\n"}
    starts = [{k["start"] for k in plan(files, first=n * 8)} for n in range(3)]
    assert all(len(s) == 8 for s in starts) and len(starts[0] | starts[1] | starts[2]) == 20
    near, wide = plan(files, reach=0.01)[0], plan(files)[0]
    assert near["low"] < near["value"] < near["high"]  # type: ignore[operator]
    assert near["high"] - near["low"] < 0.02 * (wide["high"] - wide["low"])  # type: ignore[operator]


def test_structure_is_the_program_without_its_numbers() -> None:
    one = structure({"p.py": b"A = 1.5\nB = -3\n"})
    assert one == structure({"p.py": b"A = 27.25\nB = 4\n"}) != structure({"p.py": b"A = 1.5\nC = -3\n"})


def test_only_the_trials_named_in_the_brief_are_learnt_from() -> None:
    """So that a replay, which knows the future, orders the same point."""
    desk = study(PROGRAM, lambda content: -abs(namespace(content)["RATE"] - 0.9), 20)
    hint = {"study": "s1", "trial": 19}
    few = asyncio.run(Tune().propose(Brief(99, "t", "tune", (P,), 5, hint={**hint, "done": list(range(9))}), desk))
    assert few != asyncio.run(Tune().propose(Brief(99, "t", "tune", (P,), 5, hint=hint), desk))
    for commit in list(desk.candidates)[11:]:
        del desk.candidates[commit], desk.trees[commit]  # type: ignore[attr-defined]
    again = asyncio.run(Tune().propose(Brief(99, "t", "tune", (P,), 5, hint={**hint, "done": list(range(9))}), desk))
    assert few == again


def test_a_program_without_numbers_is_stillborn() -> None:
    desk = FakeDesk({P: {"a.py": b"x = y\n"}}, {P: Candidate(P, P, (), "t", 0)})
    made = asyncio.run(Tune().propose(Brief(1, "t", "tune", (P,), 5), desk))
    assert made.stillborn == "the program has no number to tune"


def test_one_knob() -> None:
    point = next_point([Knob("p", 0, 1, 1.0, 0.5, 2.0, log=True)], [], OPENING + 9, 3, 1.0)
    assert point.shape == (1,) and 0 <= point[0] <= 1
