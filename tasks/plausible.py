"""Is a gain plausible? A pure function of the noise floor and of how the run came to where it is.

What it costs honest searches and what it finds is measured in benchmarks/standing: on simulated searches of four kinds
at most one question in 100 candidates, and every forged score of ten times the best.

An implausible gain is no accusation: its candidate waits, neither parent nor champion, for one independent run with new
secrets, and what that run says counts from then on (`evolve.standing`). So the rule may ask often; it must not miss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from evolve.tasks.verdict import Estimate, Verdict

NOISE = 8.0
"""Standard errors of the difference below which no gain is worth a question: the champion gate deals with those."""

FEW = 3
"""Promotions below which a run has no history; a gain may then at most double (or halve) the metric."""

DOUBLED = 0.5
"""The relative gain of twice as good."""

RECENT, TIMES = 8, 8.0
"""A gain is compared with the median of this many latest promotions, and may be this many times as large."""

LEAST, MOST = 0.01, 0.875
"""Relative gains up to LEAST are never asked about, those above MOST (eight times as good) always."""


def relative(old: float, new: float) -> float:
    """The gain from fitness `old` to `new` relative to the larger of the two: 0.5 is twice as good, 0.9 ten times, in
    whichever direction the metric counts; more than 1 only across zero. 0.0 where both are zero."""
    scale = max(abs(old), abs(new))
    return (new - old) / scale if scale > 0 else 0.0


def limit(steps: Sequence[float]) -> float:
    """The largest plausible relative gain after promotions of these relative gains, oldest first."""
    if len(steps) < FEW:
        return DOUBLED
    return min(max(LEAST, TIMES * median(steps[-RECENT:])), MOST)


def jump(verdict: Verdict, best: Verdict, steps: Sequence[float], metric: str, sigma: float) -> str:
    """Why the gain of a first verdict over the best so far is implausible, in a sentence for a person; or "".

    steps: relative gains of the task's promotions so far, oldest first. metric: the first objective. sigma: standard
    deviation of one sample of it (0.0: repeats exactly). Implausible: relative gain above `limit(steps)`, and gain above
    NOISE standard errors of the difference.
    """
    if verdict.fitness is None or best.fitness is None:
        return ""
    gain = verdict.fitness - best.fitness
    error = sigma * math.sqrt(1 / _samples(verdict.metrics.get(metric)) + 1 / _samples(best.metrics.get(metric)))
    share, most = relative(best.fitness, verdict.fitness), limit(steps)
    if gain <= NOISE * error or share <= most:
        return ""
    return f"its gain over the best so far is {share:.0%} of the larger of the two; up to {most:.0%} is plausible here"


def _samples(estimate: Estimate | None) -> int:
    return estimate.n if estimate else 1
