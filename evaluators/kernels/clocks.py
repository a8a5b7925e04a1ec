"""D7's arithmetic: does the referee's clock support what the worker claims? Pure functions over calls.

For one workload and one clock, the overhead of a call is (the referee's time) - (the claim, with its late work). Compared are
*medians*, candidate against baseline, since a scheduler's hiccups are one-sided and rare:

    excess    = median overhead of A - median overhead of B
    allowance = max(floor, share x claimed time, z x sqrt(se_A^2 + se_B^2 + between^2))

se: standard error of a median, 1.2533 x 1.4826 x MAD / sqrt(n) (both factors are the normal distribution's). between: the
standard deviation of the difference between two honest *processes*, which no number of calls averages out: one worker's
Python is 100 us slower than another's for as long as both live. It was measured (benchmarks/kernels/clocks.py) or is
calibrated on the machine (calibration.py). Refused is excess > allowance: never a claim that is too long.

Rate: with z = 4.5 a normal error refuses 3.4e-6 of honest workloads. The recorded errors have longer tails; how many of the
recorded honest workloads are refused is what benchmarks/kernels/clocks.py prints, with an exact bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

from evolve.evaluators.kernels.evidence import Call

NAMES = ("flag", "copy", "done")
"""The referee's clocks, tightest first: the seal's flag, the outputs in the referee's memory, the worker's last word."""

BETWEEN = {"flag": 1.0, "copy": 25.0, "done": 140.0}
"""Microseconds between two honest workers where nothing was calibrated: as an H100 showed it with workers in the jail, all
kernels, rounded up (benchmarks/kernels/raw/kernels_clocks.jsonl). Each clock has its own: the flag needs no Python."""


@dataclass(frozen=True, slots=True)
class Support:
    """One clock's word on one workload, in microseconds."""

    clock: str
    excess: float
    allowance: float

    @property
    def disputed(self) -> bool:
        return self.excess > self.allowance


def read(call: Call, clock: str) -> float:
    """The referee's microseconds of a call; 0.0 where this clock saw nothing."""
    return {"flag": call.flag_us, "copy": call.seen_us, "done": call.wall_us}[clock]


def overheads(calls: Sequence[Call], clock: str) -> list[float]:
    """Microseconds of each call that the claim does not explain; late work is part of the claim."""
    claims = [(c, max(c.us + c.late_us, c.span_us) if c.span_us else c.us + c.late_us) for c in calls]
    return [read(c, clock) - claim for c, claim in claims if read(c, clock) > 0]


def supports(
    ours: Sequence[Call], theirs: Sequence[Call], between: Mapping[str, float], z: float, floor: float, share: float,
    least: int = 3,
) -> list[Support]:  # fmt: skip
    """What each clock says that saw at least `least` calls of both sides.

    The worker's last word counts only where no better clock was there: it adds nothing but the worker's own Python.
    """
    found: list[Support] = []
    claimed = median(c.us for c in ours) if ours else 0.0
    for clock in NAMES:
        a, b = overheads(ours, clock), overheads(theirs, clock)
        if len(a) < least or len(b) < least or (clock == "done" and found):
            continue
        spread = between.get(clock, BETWEEN[clock])
        error = math.sqrt(standard_error(a) ** 2 + standard_error(b) ** 2 + spread**2)
        found.append(Support(clock, median(a) - median(b), max(floor, share * max(claimed, 0.0), z * error)))
    return found


def standard_error(values: Sequence[float]) -> float:
    """Of the median, from the median absolute deviation."""
    middle = median(values)
    return 1.2533 * 1.4826 * median(abs(v - middle) for v in values) / math.sqrt(len(values))


def between(workers: Sequence[Sequence[float]], confidence: float = 0.95) -> float:
    """Standard deviation of the difference between two honest workers, from overheads of several (at least 3), at its upper
    confidence limit: few workers say little about their spread.

    The variance of the workers' medians has (k - 1) degrees of freedom; its chi-square quantile is Wilson and Hilferty's.
    """
    if len(workers) < 3:
        raise ValueError(f"{len(workers)} workers say nothing about the spread between workers; at least 3 are needed")
    medians = [median(w) for w in workers]
    dof = len(medians) - 1
    centre = sum(medians) / len(medians)
    variance = sum((m - centre) ** 2 for m in medians) / dof
    z = NormalDist().inv_cdf(1 - confidence)
    lower = dof * (1 - 2 / (9 * dof) + z * math.sqrt(2 / (9 * dof))) ** 3
    return math.sqrt(2 * variance * dof / lower)
