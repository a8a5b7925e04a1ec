"""The side of the smallest regular hexagon around eleven disjoint unit hexagons.

In doubles with a margin: centres lie within 12 and vertices are off by less than 1e-14, so hexagons that are MARGIN apart are
disjoint, and the side is right to 1e-13. Touching ones count as overlapping.
"""

from __future__ import annotations

import math

HEXAGONS = 11
KNOWN = 3.9245
MARGIN = 1e-9
NORMALS = [(math.cos(math.pi * k / 3), math.sin(math.pi * k / 3)) for k in range(6)]


def evaluate(trial):
    return {"score": score(trial.call("program.py:answer"), trial.Incorrect)}


def score(table, Incorrect=ValueError):
    """KNOWN over the side of the smallest hexagon of fixed orientation that holds all."""
    rows = _rows(table, Incorrect)
    for i, a in enumerate(rows):
        for j, b in enumerate(rows[:i]):
            if _apart(a, b) < MARGIN:
                raise Incorrect(f"hexagons {j} and {i} overlap")
    points = [corner for row in rows for corner in _corners(row)]
    reach = [max(x * u + y * v for x, y in points) for u, v in NORMALS]
    # Half the widths, and the two triples of normals whose sum is 0, each bound the inner radius from below; the least
    # radius that meets all of them has a centre (the projections a, a + b, b of one point are all it must have).
    inner = max(*((reach[k] + reach[k + 3]) / 2 for k in range(3)), sum(reach[0::2]) / 3, sum(reach[1::2]) / 3)
    return KNOWN / (2 * inner / math.sqrt(3))


def _rows(table, Incorrect):
    if not isinstance(table, list) or len(table) != HEXAGONS:
        raise Incorrect(f"answer() must return a list of {HEXAGONS} rows")
    for number, row in enumerate(table):
        if not isinstance(row, list) or len(row) != 3:
            raise Incorrect(f"row {number} must be a list of 3 numbers")
        for value in row:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not -6 <= value <= 6:
                raise Incorrect(f"row {number} holds {str(value)[:40]!r}; each must be a number in -6..6")
    return table


def _corners(row):
    x, y, angle = row
    return [(x + math.cos(angle + math.pi * k / 3), y + math.sin(angle + math.pi * k / 3)) for k in range(6)]


def _apart(a, b):
    """The largest gap between the shadows of two hexagons along the normals of their sides; below 0 where they overlap."""
    distance = math.hypot(a[0] - b[0], a[1] - b[1])
    if distance > 2 + MARGIN:  # beyond both outer circles
        return distance - 2
    dx, dy = b[0] - a[0], b[1] - a[1]
    widest = -math.inf
    for angle in (a[2], b[2]):
        for k in range(6):
            along = angle + math.pi * (2 * k + 1) / 6
            u, v = math.cos(along), math.sin(along)
            nearest = min(u * (x - a[0]) + v * (y - a[1]) for x, y in _corners(b))
            furthest = max(u * (x - a[0]) + v * (y - a[1]) for x, y in _corners(a))
            if u * dx + v * dy > 0:
                widest = max(widest, nearest - furthest)
    return widest
