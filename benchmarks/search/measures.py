"""Measures of search (docs/search.md, 'Proof'): expected running time, areas under curves, bootstrap, Holm.

Pure functions of numbers; the tables are made of nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np

ROUNDS = 4000


def at(curve: Sequence[Sequence[float]], *, calls: float = math.inf, evaluations: float = math.inf) -> float | None:
    """Best score of a curve of [calls, evaluations, best] within both budgets; None before the first score."""
    inside = [score for made, done, score in curve if made <= calls and done <= evaluations]
    return inside[-1] if inside else None


def hit(curve: Sequence[Sequence[float]], target: float, currency: int) -> float | None:
    """Cost (0: calls, 1: evaluations) at which the target was first reached; None if never."""
    return next((point[currency] for point in curve if point[2] >= target), None)


def ert(hits: Sequence[float | None], spent: Sequence[float]) -> float:
    """Expected running time: everything spent until the target or the end, over the number of successes; inf without
    one (Hansen et al., COCO)."""
    successes = sum(h is not None for h in hits)
    total = math.fsum(s if h is None else h for h, s in zip(hits, spent, strict=True))
    return total / successes if successes else math.inf


def ecdf_area(hits: Sequence[float | None], budget: float) -> float:
    """Area under the share of (run, target) pairs reached, over log cost from 1 to the budget, normalised to 0..1."""
    top = math.log(max(budget, math.e))
    return sum(0.0 if h is None or h > budget else 1 - math.log(max(h, 1.0)) / top for h in hits) / max(len(hits), 1)


def bootstrap(
    differences: Mapping[str, Sequence[float]], seed: int = 0, rounds: int = ROUNDS
) -> tuple[float, float, float, float]:
    """Hierarchical bootstrap of the mean over problems of the mean difference: problems are drawn, then runs of each.

    Returns mean, lower and upper end of the 95% percentile interval, and a two-sided p (twice the smaller tail).
    """
    rng = np.random.default_rng(seed)
    rows = [np.asarray(values, dtype=float) for values in differences.values()]
    means = np.empty((rounds, len(rows)))
    for i, values in enumerate(rows):
        means[:, i] = values[rng.integers(0, len(values), (rounds, len(values)))].mean(axis=1)
    drawn = rng.integers(0, len(rows), (rounds, len(rows)))
    totals = np.take_along_axis(means, drawn, axis=1).mean(axis=1)
    low, high = np.quantile(totals, [0.025, 0.975])
    tail = min((totals <= 0).sum(), (totals >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (rounds + 1))
    return float(np.mean([v.mean() for v in rows])), float(low), float(high), float(p)


def ratio_of_medians(
    ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]], seed: int = 0, rounds: int = ROUNDS
) -> tuple[float, float, float]:
    """Geometric mean over problems of median(ours) / median(theirs), with a percentile interval (runs drawn anew)."""
    rng = np.random.default_rng(seed)
    logs = np.zeros(rounds)
    value = 0.0
    for name in ours:
        a, b = np.asarray(ours[name], dtype=float), np.asarray(theirs[name], dtype=float)
        value += math.log(median(a) / median(b)) / len(ours)
        a, b = (np.median(x[rng.integers(0, len(x), (rounds, len(x)))], axis=1) for x in (a, b))
        logs += np.log(a / b) / len(ours)
    low, high = np.quantile(logs, [0.025, 0.975])
    return math.exp(value), math.exp(float(low)), math.exp(float(high))


def holm(ps: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment: name -> adjusted p."""
    out: dict[str, float] = {}
    worst = 0.0
    for rank, (name, p) in enumerate(sorted(ps.items(), key=lambda item: item[1])):
        worst = max(worst, min(1.0, p * (len(ps) - rank)))
        out[name] = worst
    return out


def permutation(a: Sequence[float], b: Sequence[float], seed: int = 0, rounds: int = ROUNDS) -> float:
    """Two-sided p of the difference of means under exchange of runs between the two groups."""
    rng = np.random.default_rng(seed)
    pool = np.concatenate([np.asarray(a, dtype=float), np.asarray(b, dtype=float)])
    seen = abs(pool[: len(a)].mean() - pool[len(a) :].mean())
    count = 0
    for _ in range(rounds):
        rng.shuffle(pool)
        count += abs(pool[: len(a)].mean() - pool[len(a) :].mean()) >= seen - 1e-15
    return (count + 1) / (rounds + 1)
