"""The least triangle among eleven points, in exact arithmetic on the doubles that came back."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

POINTS = 11


def evaluate(trial):
    return {"score": score(trial.call("program.py:answer"), trial.Incorrect)}


def score(table, Incorrect=ValueError):
    """Least area of a triangle of three points over the area of the triangle they lie in (0..1)."""
    points = numbers(table, POINTS, 2, 0, 1, Incorrect)
    for number, (x, y) in enumerate(points):
        if x + y > 1:
            raise Incorrect(f"point {number} lies outside the triangle: x + y = {float(x + y)!r}")
    unit = max(value.denominator for row in points for value in row)  # all are powers of two
    whole = [(int(x * unit), int(y * unit)) for x, y in points]
    least = min(
        abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])) for a, b, c in combinations(whole, 3)
    )
    return float(Fraction(least, unit * unit))


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
