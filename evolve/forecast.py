"""Where a run is heading: which limit it meets first and when, and about how good its best will be then.

The best is carried on along a straight line over the logarithm of evaluations, through its values now and a quarter of
the evaluations ago. That is a rough guide and no promise: searches gain in leaps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from evolve.population.folds import RunState

FEWEST = 16
"""Evaluations of a task before which its best is not carried on."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """limit: the one met first at the pace so far, "" without any. seconds: of work until then, None without a pace.
    evaluations: of all tasks by then, None where unknown. best: task -> fitness by then, where it can be told."""

    limit: str = ""
    seconds: float | None = None
    evaluations: float | None = None
    best: dict[str, float] = field(default_factory=dict)


def forecast(state: RunState) -> Forecast:
    """From what the log says, up to now."""
    ledger = state.ledger
    seconds = ledger.used("seconds")
    found: tuple[float, str] | None = None
    for what, limit in ledger.limits.items():
        pace = ledger.used(what) / seconds if seconds > 0 else 0.0
        if pace > 0:
            found = min(found or (math.inf, ""), (max(limit - ledger.used(what), 0.0) / pace, what))
    if found is None:
        return Forecast()
    left, limit_met = found
    done = ledger.evaluations
    total = done + left * done / seconds
    best = {}
    for task in state.lineage.champions:
        value = carried_on(curve(state, task), state.lineage.evaluated.get(task, 0), total / done if done else 1.0)
        if value is not None:
            best[task] = value
    return Forecast(limit_met, left, total, best)


def curve(state: RunState, task: str) -> list[tuple[int, float]]:
    """(evaluations, fitness) of the seed and of each champion since."""
    seed = state.candidates[state.lineage.seeds[task]] if task in state.lineage.seeds else None
    points = [(1, seed.fitness)] if seed is not None and seed.fitness is not None else []
    points += [(r.evaluated, r.fitness) for r in state.lineage.reigns.get(task, ()) if r.fitness is not None]
    return points


def carried_on(points: list[tuple[int, float]], now: int, times: float) -> float | None:
    """The best once there are `times` as many evaluations as now; None where there are too few yet."""
    if now < FEWEST or not points or times < 1:
        return None
    before = [value for at, value in points if at <= now / 4]
    if not before:
        return None
    slope = max(points[-1][1] - before[-1], 0.0) / 2  # a doubling
    return points[-1][1] + slope * math.log2(times)
