"""The least triangle among 14 points over the area of their convex hull, in exact arithmetic on the doubles that came back."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise

POINTS = 14


def evaluate(trial):
    return {"score": score(trial.call("program.py:answer"), trial.Incorrect)}


def score(table, Incorrect=ValueError):
    """Least area of a triangle of three points over the area of the convex hull of all (0..1)."""
    points = numbers(table, POINTS, 2, 0, 1, Incorrect)
    unit = max(value.denominator for row in points for value in row)  # all are powers of two
    whole = [(int(x * unit), int(y * unit)) for x, y in points]
    least = min(abs(_twice(a, b, c)) for a, b, c in combinations(whole, 3))
    corners = _hull(whole)
    area = sum(_twice(corners[0], b, c) for b, c in pairwise(corners[1:]))
    if area == 0:
        raise Incorrect("all points lie on a line")
    return float(Fraction(least, area))


def _twice(a, b, c):
    return (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])


def _hull(points):
    """Corners of the convex hull, counterclockwise (Andrew 1979)."""
    ordered = sorted(set(points))
    halves = []
    for walk in (ordered, ordered[::-1]):
        half = []
        for point in walk:
            while len(half) > 1 and _twice(half[-2], half[-1], point) <= 0:
                half.pop()
            half.append(point)
        halves += half[:-1]
    return halves


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
