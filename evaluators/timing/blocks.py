"""Alternating blocks of candidate (A) and baseline (B), and the interval of their ratio by bootstrap over blocks and calls."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

TRIM = 0.2
"""Share of calls left out at either end. Chosen by resampling calls of an H100 (docs/kernels.md): at 200 calls of a 5 us
kernel 0.1 to 0.25 differ little, a plain mean is worse from 10 us up and a median of block medians at 5 us."""


def order(blocks: int) -> list[str]:
    """Sides in ABBA order, `blocks` of each: A B B A A B B A ..."""
    sides: list[str] = []
    for i in range(blocks):
        sides += ["A", "B"] if i % 2 == 0 else ["B", "A"]
    return sides


@dataclass(frozen=True, slots=True)
class Ratio:
    """value: trimmed mean of A's calls / trimmed mean of B's. low, high: 95% by bootstrap. n: calls of the smaller side.

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

    A fifth of each side's calls is left out at either end (TRIM): a short kernel's times come in steps and often in two heaps,
    between which a median jumps; hiccups reach a mean. Blocks alternate, so a slow drift meets both sides alike. D9 looks at
    what trimming leaves out (`tail`). The interval resamples blocks and the calls in them.

    Raises ValueError without a common block. The seed makes judging pure; it decides nothing else.
    """
    common = sorted(set(a) & set(b))
    if not common:
        raise ValueError("a ratio needs at least one block with both sides measured")
    stream = random.Random(seed)
    point = _quotient([t for k in common for t in a[k]], [t for k in common for t in b[k]])
    draws = []
    for _ in range(resamples):
        chosen = [common[stream.randrange(len(common))] for _ in common]
        draws.append(
            _quotient(
                [t for k in chosen for t in stream.choices(a[k], k=len(a[k]))],
                [t for k in chosen for t in stream.choices(b[k], k=len(b[k]))],
            )
        )
    draws.sort()
    low, high = draws[int(0.025 * resamples)], draws[min(int(0.975 * resamples), resamples - 1)]
    every_a = [t for k in common for t in a[k]]
    every_b = [t for k in common for t in b[k]]
    middle = median(every_a) * fmean(every_b)
    tail = fmean(every_a) * median(every_b) / middle if middle else 1.0  # a claim of no time at all is judged elsewhere
    return Ratio(point, min(low, point), max(high, point), min(len(every_a), len(every_b)), tail)


def trimmed(values: Sequence[float], share: float = TRIM) -> float:
    """Mean without the lowest and the highest `share` of the values."""
    ordered = sorted(values)
    cut = int(len(ordered) * share)
    return fmean(ordered[cut : len(ordered) - cut])


def _quotient(a: Sequence[float], b: Sequence[float]) -> float:
    below = trimmed(b)
    return trimmed(a) / below if below else 1.0
