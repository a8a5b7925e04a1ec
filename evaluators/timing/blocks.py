"""Alternating blocks of candidate (A) and baseline (B), and the interval of their ratio by bootstrap over blocks and calls."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median


def order(blocks: int) -> list[str]:
    """Sides in ABBA order, `blocks` of each: A B B A A B B A ..."""
    sides: list[str] = []
    for i in range(blocks):
        sides += ["A", "B"] if i % 2 == 0 else ["B", "A"]
    return sides


@dataclass(frozen=True, slots=True)
class Ratio:
    """value: median over blocks of median(A) / median(B). low, high: 95% by bootstrap. n: calls of the smaller side.

    tail: mean/median of A over that of B; amortised work makes it large.
    """

    value: float
    low: float
    high: float
    n: int
    tail: float = 1.0

    @property
    def width(self) -> float:
        """Relative half-width of the interval."""
        return (self.high - self.low) / 2 / self.value if self.value else 0.0


def ratio(
    a: Mapping[int, Sequence[float]], b: Mapping[int, Sequence[float]], resamples: int = 400, seed: int = 20260101
) -> Ratio:
    """Of times by block (block -> calls). Only blocks with both sides count.

    Raises ValueError without a common block. The seed makes judging pure; it decides nothing else.
    """
    common = sorted(set(a) & set(b))
    if not common:
        raise ValueError("a ratio needs at least one block with both sides measured")
    stream = random.Random(seed)
    point = median(median(a[k]) / median(b[k]) for k in common)
    draws = []
    for _ in range(resamples):
        chosen = [common[stream.randrange(len(common))] for _ in common]
        draws.append(median(_again(a[k], stream) / _again(b[k], stream) for k in chosen))
    draws.sort()
    low, high = draws[int(0.025 * resamples)], draws[min(int(0.975 * resamples), resamples - 1)]
    every_a = [t for k in common for t in a[k]]
    every_b = [t for k in common for t in b[k]]
    middle = median(every_a) * fmean(every_b)
    tail = fmean(every_a) * median(every_b) / middle if middle else 1.0  # a claim of no time at all is judged elsewhere
    return Ratio(point, min(low, point), max(high, point), min(len(every_a), len(every_b)), tail)


def _again(values: Sequence[float], stream: random.Random) -> float:
    return median(stream.choices(values, k=len(values)))
