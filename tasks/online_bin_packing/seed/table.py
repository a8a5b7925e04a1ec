"""The rule as a table, so that whoever packs with it needs to know nothing about it."""

import math

from heuristic import priority

LOWEST = -1e300


def table(capacity):
    """table[item][free]: the priorities of every size 1..capacity for every space item..capacity (0 elsewhere). A
    priority that is no finite number is the lowest."""
    return [
        [_value(item, free, capacity) if item <= free else 0.0 for free in range(capacity + 1)]
        for item in range(capacity + 1)
    ]


def _value(item, free, capacity):
    if item == 0:
        return 0.0
    try:
        value = float(priority(item, free, capacity))
    except (ArithmeticError, ValueError):
        return LOWEST
    return min(max(value, LOWEST), -LOWEST) if math.isfinite(value) else LOWEST
