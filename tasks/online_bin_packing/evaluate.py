"""Packs fresh random items with the candidate's rule and compares with what the total size demands at the least."""

from __future__ import annotations

import math

CAPACITY = 100
ITEMS = 1000
INSTANCES = 20
SHAPE, SCALE = 3.0, 45.0
"""Of the Weibull distribution of sizes (the "Weibull" instances of Castineiras, De Cauwer and O'Sullivan 2012)."""


def evaluate(trial):
    orders = preferences(trial.call("table.py:table", CAPACITY), trial.Incorrect)
    excess = [pack(orders, items(trial.random)) for _ in range(INSTANCES)]
    return {"excess": math.fsum(excess) / INSTANCES}


def items(rng):
    """ITEMS sizes, whole numbers 1..CAPACITY."""
    return [min(max(round(rng.weibullvariate(SCALE, SHAPE)), 1), CAPACITY) for _ in range(ITEMS)]


def preferences(table, Incorrect=ValueError):
    """For each size the free spaces that hold it, best first, from the candidate's table of priorities."""
    if not isinstance(table, list) or len(table) != CAPACITY + 1:
        raise Incorrect(f"the table must have {CAPACITY + 1} rows")
    orders = [[]]
    for item, row in enumerate(table[1:], 1):
        if not isinstance(row, list) or len(row) != CAPACITY + 1:
            raise Incorrect(f"row {item} of the table must have {CAPACITY + 1} numbers")
        for value in row:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise Incorrect(f"row {item} of the table holds {str(value)[:40]!r}, which is no number")
        orders.append(sorted(range(item, CAPACITY + 1), key=lambda free: (-row[free], free)))
    return orders


def pack(orders, sizes):
    """Percent of bins used beyond ceil(total size / CAPACITY), which no packing can beat."""
    bins = [0] * (CAPACITY + 1)  # how many open bins have so much space; an empty one is always at hand
    bins[CAPACITY] = 1
    used = 0
    for size in sizes:
        for free in orders[size]:
            if bins[free]:
                break
        if free == CAPACITY:
            used += 1
        else:
            bins[free] -= 1
        bins[free - size] += 1
    least = -(-sum(sizes) // CAPACITY)
    return 100.0 * (used - least) / least
