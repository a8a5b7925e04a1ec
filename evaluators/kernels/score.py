"""The SOL score, its edges, its means, and how our verdicts read in upstream's words (SOL-ExecBench `sol_score.py:1-24`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from evolve.tasks.errors import UsageError
from evolve.tasks.verdict import Status

FLOOR = 0.98
"""Share of T_SOL down to which a time is clipped to a score of 1.0; below it the result is AUDIT."""

NOT_COMPARABLE = "not comparable with the B200 leaderboard"


@dataclass(frozen=True, slots=True)
class Score:
    """value: 0..1 (None when audited). headroom: T_b / T_SOL. note: why the value is not the plain formula's."""

    value: float | None
    headroom: float
    note: str = ""
    audit: bool = False


def sol(time: float, baseline: float, bound: float) -> Score:
    """S = 1/(1 + (T - T_SOL)/(T_b - T_SOL)); 0.5 at the baseline, 1.0 at the bound. All in seconds.

    0.98 T_SOL <= T < T_SOL scores 1.0 with a note; below that AUDIT: a wrong bound, a faster clock than assumed, or a
    measurement that is not one. Raises UsageError for a bound at or above the measured baseline (it is rejected), and
    for a time that is no positive finite number.
    """
    for name, value in (("time", time), ("baseline", baseline), ("bound", bound)):
        if not math.isfinite(value) or value <= 0:
            raise UsageError(f"{name} is {value}: a score needs positive, finite seconds")
    if bound >= baseline:
        raise UsageError(
            f"T_SOL {bound:.3g} s is not below the measured baseline {baseline:.3g} s: the bound is rejected; review it"
        )
    headroom = baseline / bound
    if time < FLOOR * bound:
        return Score(None, headroom, f"{time:.3g} s is below {FLOOR} x T_SOL ({bound:.3g} s)", audit=True)
    if time < bound:
        return Score(1.0, headroom, f"at the bound ({time / bound:.1%} of T_SOL)")
    return Score(1 / (1 + (time - bound) / (baseline - bound)), headroom)


def compat(time: float, baseline: float, bound: float) -> float:
    """Upstream's formula without our edges (no clipping: above 1 below the bound; a bound over the baseline is 1 or 0)."""
    if baseline > bound:
        return 1 / (1 + (time - bound) / (baseline - bound))
    return 1.0 if time <= bound else 0.0


def problem_score(scores: Sequence[Score | None]) -> float | None:
    """Mean over workloads; 0.0 where any failed (None); None where any is audited."""
    if any(score is not None and score.audit for score in scores):
        return None
    if not scores or any(score is None for score in scores):
        return 0.0
    return fmean(score.value for score in scores if score is not None and score.value is not None)


@dataclass(frozen=True, slots=True)
class Suite:
    """mean counts AUDIT and failures as 0; geometric means are over problems that scored."""

    mean: float
    scored: int
    audited: int
    failed: int
    speedup: float
    headroom: float
    note: str


def suite(results: Mapping[str, tuple[Status, float | None, float, float]], device: str) -> Suite:
    """Of problem -> (status, score, speed-up over the baseline, headroom): the mean over problems, headroom beside it."""
    if not results:
        raise UsageError("a suite mean needs at least one problem")
    scored = [(s, up, room) for status, s, up, room in results.values() if status is Status.SCORED and s is not None]
    audited = sum(1 for status, *_ in results.values() if status is Status.AUDIT)
    mean = math.fsum(s for s, *_ in scored) / len(results)
    return Suite(
        mean,
        len(scored),
        audited,
        len(results) - len(scored) - audited,
        geomean([up for _, up, _ in scored]),
        geomean([room for *_, room in scored]),
        label(device),
    )


def geomean(values: Sequence[float]) -> float:
    """Geometric mean of positive numbers; 0.0 of none."""
    return math.exp(fmean(math.log(v) for v in values)) if values else 0.0


def label(device: str) -> str:
    """What every view of a score says."""
    return f"measured on {device}; {NOT_COMPARABLE}"


STATUSES = {
    "shape": "INCORRECT_SHAPE",
    "count": "INCORRECT_SHAPE",
    "dtype": "INCORRECT_DTYPE",
    "value": "INCORRECT_NUMERICAL",
    "precision": "INCORRECT_NUMERICAL",
    "structure": "INCORRECT_SHAPE",
    "contract": "RUNTIME_ERROR",
    "crash": "RUNTIME_ERROR",
    "memory": "RUNTIME_ERROR",
    "timing": "RUNTIME_ERROR",
    "library": "RUNTIME_ERROR",
    "hardware": "RUNTIME_ERROR",
    "parse": "COMPILE_ERROR",
    "compile": "COMPILE_ERROR",
    "flags": "COMPILE_ERROR",
    "timeout": "TIMEOUT",
    "problem": "INVALID_REFERENCE",
}
"""Our INVALID kinds -> upstream's statuses. SCORED and AUDIT -> PASSED (AUDIT keeps its flag), CHEAT -> REWARD_HACK."""


def upstream_status(status: Status, kind: str = "") -> str:
    """The status a trace carries. Raises UsageError for an INVALID kind without a mapping."""
    if status in (Status.SCORED, Status.AUDIT):
        return "PASSED"
    if status is Status.CHEAT:
        return "REWARD_HACK"
    if kind not in STATUSES:
        raise UsageError(f"no upstream status for an invalid result of kind {kind!r}; known: {', '.join(STATUSES)}")
    return STATUSES[kind]
