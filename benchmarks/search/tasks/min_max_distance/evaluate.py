"""The least over the largest distance among sixteen points, in exact arithmetic on the doubles that came back."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

POINTS = 16
KNOWN = 12.88926


def evaluate(trial):
    return {"score": score(trial.call("program.py:answer"), trial.Incorrect)}


def score(table, Incorrect=ValueError):
    """KNOWN times the squared ratio of the least to the largest distance of two points."""
    points = numbers(table, POINTS, 2, 0, 1, Incorrect)
    unit = max(value.denominator for row in points for value in row)  # all are powers of two
    whole = [(int(x * unit), int(y * unit)) for x, y in points]
    squares = [(a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 for a, b in combinations(whole, 2)]
    if not max(squares):
        raise Incorrect("all points are one")
    return KNOWN * float(Fraction(min(squares), max(squares)))


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
