"""D7: no honest recording of an H100 is refused, the hostile ones gain nothing, and a tight clock tells small lies."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from evolve.evaluators.kernels import clocks
from evolve.evaluators.kernels.checks import Rules
from evolve.evaluators.kernels.evidence import Call
from evolve.tasks.verdict import Status

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def replay() -> Any:
    spec = importlib.util.spec_from_file_location("clock_replay", ROOT / "benchmarks/kernels/clocks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_no_recorded_honest_pair_is_refused(replay: Any) -> None:
    every = list(replay.pairs())
    assert len(every) >= 70
    assert [p.source for p in every if p.support().disputed] == []
    before = replay.refused_before()
    assert len(before) >= 3, "the recordings hold false refusals of the former rule"
    assert max(extra for _, extra in before) < Rules().clock_z * clocks.BETWEEN["done"]


def test_the_stated_spread_between_workers_is_the_recorded_one(replay: Any) -> None:
    """The constants are at least the recorded deviations (with workers in the jail and as plain forks) and at most 1.6 times them."""
    jailed = replay.between_jailed()
    for clock in clocks.NAMES:
        assert jailed[clock] <= clocks.BETWEEN[clock] <= 1.6 * jailed[clock]
    assert replay.between() <= clocks.BETWEEN["done"]


def test_recorded_hostile_kernels_gain_nothing(replay: Any) -> None:
    """Not scored, or no faster than honestly. Size by size for what was recorded since side streams are held to the window."""
    verdicts, alone = replay.gallery(), replay.by_size()
    assert set(verdicts) >= {"side_stream", "deferred", "forged_claim", "resident"}
    rows = {row["item"]: row for row in replay.rows("kernels_hostile") if "rows" in row}
    for name, verdict in verdicts.items():
        shares = {size: x["counted"] / x["true"] for size, x in rows[name]["rows"].items()}
        assert verdict.status is not Status.SCORED or min(shares.values()) > 0.95, (name, verdict.reason, shares)
        if rows[name].get("protocol", 1) >= 5:
            for size, share in shares.items():
                assert alone[name, size].status is not Status.SCORED or share > 0.9, (name, size, share)


def test_a_lie_beyond_the_allowance_is_refused_on_recorded_spreads(replay: Any) -> None:
    for pair in replay.pairs():
        lie = replay.largest_lie(pair)
        assert not pair.support(0.9 * lie).disputed and pair.support(1.1 * lie + 1).disputed
        assert lie < max({"flag": 12, "copy": 300, "done": 1300}[pair.clock], 0.035 * pair.us), pair.source


def calls(side: str, stream: random.Random, offset: float, lie: float = 0.0, n: int = 40) -> list[Call]:
    """Honest 27 us calls on three clocks: the flag's overhead is 60 +- 1 us, the copy's 120 +- 8, the last word's 900 +- 100."""
    rows = []
    for i in range(n):
        slow = 300.0 if stream.random() < 0.03 else 0.0  # a scheduler's hiccup reaches them all
        flag, copy, done = (27 + slow + abs(stream.gauss(m, s)) for m, s in ((60, 1), (120, 8), (900, 100)))
        rows.append(Call(i, side, 0, "default", 0, 27 - lie, done + offset, flag + offset / 100, copy + offset / 20))
    return rows


def test_a_calibrated_tight_clock_tells_twenty_microseconds() -> None:
    """Simulated: workers differ by 80 us in their own Python, hiccups in 3% of calls; calibrated on six workers."""
    stream = random.Random(11)
    rules = Rules()
    seen = {
        clock: [clocks.overheads(calls("B", stream, stream.gauss(0, 80)), clock) for _ in range(8)]
        for clock in clocks.NAMES
    }
    between = {clock: clocks.between(rows) for clock, rows in seen.items()}
    assert between["flag"] < between["copy"] < between["done"]

    def disputed(lie: float) -> bool:
        a, b = (calls(s, stream, stream.gauss(0, 80), lie if s == "A" else 0) for s in "AB")
        found = clocks.supports(a, b, between, rules.clock_z, rules.clock_floor, rules.clock_share)
        assert [s.clock for s in found] == ["flag", "copy"], "the worker's last word is not asked beside better clocks"
        return any(s.disputed for s in found)

    assert sum(disputed(0.0) for _ in range(400)) == 0
    assert all(disputed(20.0) for _ in range(50))


def test_without_calibration_each_clock_is_given_its_own_recorded_spread() -> None:
    """The flag needs no Python: 90 us by which workers' last words differ are no excuse for it."""
    stream = random.Random(3)
    a, b = calls("A", stream, 90.0), calls("B", stream, -90.0)
    found = {s.clock: s for s in clocks.supports(a, b, {}, 4.5, 3.0, 0.03)}
    assert all(s.allowance >= 4.5 * clocks.BETWEEN[s.clock] and not s.disputed for s in found.values())
    assert found["flag"].allowance < 10 < 100 < found["copy"].allowance
    lying = clocks.supports([*calls("A", stream, 90.0, lie=8.0)], b, {}, 4.5, 3.0, 0.03)
    assert [s.clock for s in lying if s.disputed] == ["flag"]


def test_medians_ignore_hiccups_and_few_calls_say_nothing() -> None:
    quiet = [Call(i, "A", 0, "default", 0, 10.0, 500.0) for i in range(9)]
    loud = [*quiet[:7], *(Call(i, "A", 0, "default", 0, 10.0, 50_000.0) for i in range(2))]
    (found,) = clocks.supports(loud, quiet, {"done": 1.0}, 4.5, 3.0, 0.03)
    assert found.excess == 0 and not found.disputed
    assert clocks.supports(quiet[:2], quiet, {}, 4.5, 3.0, 0.03) == []
    with pytest.raises(ValueError, match="at least 3"):
        clocks.between([[1.0], [2.0]])


def test_the_spread_between_workers_is_an_upper_limit() -> None:
    """In 95 of 100 calibrations of six workers the stated spread is at least the true one."""
    stream = random.Random(5)
    true = 2**0.5 * 50
    over = sum(clocks.between([[stream.gauss(0, 50)] for _ in range(6)]) >= true for _ in range(1000))
    assert 930 <= over <= 970
    assert median([clocks.between([[stream.gauss(0, 50)] for _ in range(30)]) for _ in range(50)]) < 1.5 * true


def test_work_that_holds_every_sm_until_the_seal_counts() -> None:
    """As recorded for a kernel on an unjoined stream: claim 2.9 us, the seal's blocks 0.1 us apart, but 94 us after the gate."""
    from evolve.evaluators.kernels.judge import allowed, times

    theirs = [Call(i, "B", 0, "default", 0, 94.0, 0.0, late_us=0.1, span_us=98.0) for i in range(8)]
    hidden = [Call(i, "A", 0, "default", 0, 2.9, 0.0, late_us=0.1, span_us=98.5) for i in range(8)]
    (counted,) = times(hidden, *allowed(theirs, Rules())).values()
    assert counted == pytest.approx([(98.5 - 4.0 - Rules().late) * 1e-6] * 8)
    (believed,) = times(hidden, *allowed(theirs, Rules(off=frozenset({"N5"})))).values()
    assert believed == pytest.approx([2.9e-6] * 8)
    (honest,) = times(theirs, *allowed(theirs, Rules())).values()
    assert honest == pytest.approx([94e-6] * 8)
    straggler = [Call(0, "A", 0, "default", 0, 10.0, 0.0, late_us=40.1)]
    assert times(straggler, *allowed(theirs, Rules()))[0] == pytest.approx([49.5e-6])
    assert allowed([], Rules()) == (Rules().late, float("inf"))
