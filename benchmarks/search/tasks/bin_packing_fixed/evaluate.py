"""Packs five fixed lists with a table of gaps and compares with what the total size demands at the least."""

from __future__ import annotations

import math
import random

CAPACITY, LISTS, ITEMS = 100, 5, 500
STEPS = 20


def evaluate(trial):
    return {"score": score(trial.call("program.py:answer"), trial.Incorrect)}


def lists():
    rng = random.Random(2026)
    return [[min(max(round(rng.weibullvariate(45.0, 3.0)), 1), CAPACITY) for _ in range(ITEMS)] for _ in range(LISTS)]


def score(table, Incorrect=ValueError):
    """100 - the mean percentage of bins beyond ceil(total size / capacity)."""
    if not isinstance(table, list) or not all(isinstance(row, list) for row in table):
        raise Incorrect("answer() must return a list of rows")
    worth = [value for row in table for value in row]
    if len(worth) != STEPS or any(type(v) not in (int, float) or not -4 <= v <= 4 for v in worth):
        raise Incorrect(f"answer() must hold {STEPS} numbers in -4..4")
    order = sorted(range(CAPACITY + 1), key=lambda gap: (-worth[min(gap * STEPS // CAPACITY, STEPS - 1)], gap))
    return 100.0 - math.fsum(_excess(order, sizes) for sizes in lists()) / LISTS


def _excess(order, sizes):
    bins = [0] * (CAPACITY + 1)  # how many open bins have so much space; an empty one is always at hand
    bins[CAPACITY] = 1
    used = 0
    for size in sizes:
        gap = next(gap for gap in order if gap + size <= CAPACITY and bins[gap + size])
        if gap + size == CAPACITY:
            used += 1
        else:
            bins[gap + size] -= 1
        bins[gap] += 1
    least = -(-sum(sizes) // CAPACITY)
    return 100.0 * (used - least) / least
