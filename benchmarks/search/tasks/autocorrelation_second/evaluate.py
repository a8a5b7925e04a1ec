"""The second autocorrelation ratio of a step function, in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

STEPS = 40
KNOWN = 0.96258


def evaluate(trial):
    return {"score": score(trial.call("program.py:answer"), trial.Incorrect)}


def score(table, Incorrect=ValueError):
    """|f*f|_2^2 / (|f*f|_1 |f*f|_inf) over KNOWN. f*f is linear between its nodes: the square of one from a to b has the
    integral (a^2 + a b + b^2) / 3, in units of the steps' width."""
    raw = [row[0] for row in numbers(table, STEPS, 1, 0, 8, Incorrect)]
    unit = max(value.denominator for value in raw)  # all are powers of two
    whole = [int(value * unit) for value in raw]
    if not any(whole):
        raise Incorrect("all heights are 0")
    nodes = [0, *(sum(whole[i] * whole[k - i] for i in range(max(0, k - STEPS + 1), min(STEPS, k + 1)))
                  for k in range(2 * STEPS - 1)), 0]  # fmt: skip
    squares = sum(a * a + a * b + b * b for a, b in pairwise(nodes))
    return float(Fraction(squares, 3 * sum(whole) ** 2 * max(nodes))) / KNOWN


def numbers(table, rows, width, low, high, Incorrect):
    """The table's numbers as exact rationals, row by row; raises `Incorrect` unless it has that shape and range."""
    if not isinstance(table, list) or len(table) != rows:
        raise Incorrect(f"answer() must return a list of {rows} rows")
    for number, row in enumerate(table):
        if not isinstance(row, list) or len(row) != width:
            raise Incorrect(f"row {number} must be a list of {width} numbers")
        for value in row:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise Incorrect(f"row {number} holds {str(value)[:40]!r}; each must be a number in {low}..{high}")
    return [[Fraction(value) for value in row] for row in table]
