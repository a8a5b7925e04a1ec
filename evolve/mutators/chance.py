"""Draws that the mutators share. All from `random.Random.random()` and `gauss`, so that a seed gives the same draws on
every Python."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def pick(items: Sequence[T], rng: random.Random) -> T:
    """One of the items, each alike. Raises IndexError on none."""
    return items[int(rng.random() * len(items))]


def weighted(items: Sequence[T], weights: Sequence[float], rng: random.Random) -> T:
    """One of the items in proportion to its weight (not negative, some positive)."""
    point = rng.random() * math.fsum(weights)
    for item, weight in zip(items, weights, strict=True):
        point -= weight
        if point < 0:
            return item
    return items[-1]


def heavy_tailed(most: int, exponent: float, rng: random.Random) -> int:
    """1..most, with P(at least k) = k ** (-1 / exponent)."""
    return min(most, int(max(rng.random(), 1e-9) ** -exponent))


def some(count: int, total: int, rng: random.Random) -> list[int]:
    """`count` different ones of 0..total - 1, sorted."""
    chosen: set[int] = set()
    for last in range(total - count, total):  # Floyd's algorithm
        drawn = int(rng.random() * (last + 1))
        chosen.add(last if drawn in chosen else drawn)
    return sorted(chosen)


def log_uniform(least: float, most: float, rng: random.Random) -> float:
    return math.exp(math.log(least) + rng.random() * (math.log(most) - math.log(least)))
