"""Judges a packing exactly: the doubles that came back are rationals, and rationals compare without error."""

from __future__ import annotations

import math
from fractions import Fraction

CIRCLES = 26


def evaluate(trial):
    return {"sum_radii": judge(trial.call("program.py:pack"), trial.Incorrect)}


def judge(circles, Incorrect=ValueError):
    """Sum of the radii of CIRCLES circles [x, y, r]; raises `Incorrect` unless all lie in the unit square, disjoint
    or touching. No tolerance: a comparison near its limit is decided with integers."""
    if not isinstance(circles, list) or len(circles) != CIRCLES:
        count = len(circles) if isinstance(circles, list) else type(circles).__name__
        raise Incorrect(f"pack() must return a list of {CIRCLES} circles [x, y, r], not {count}")
    rows = [_circle(number, circle, Incorrect) for number, circle in enumerate(circles)]
    for i, (x, y, r) in enumerate(rows):
        if not _inside(x, y, r):
            raise Incorrect(f"circle {i} leaves the unit square: x={x!r} y={y!r} r={r!r}")
        for j in range(i):
            if not _apart(rows[i], rows[j]):
                u, v, s = rows[j]
                overlap = r + s - math.hypot(x - u, y - v)
                raise Incorrect(f"circles {j} and {i} overlap by about {max(overlap, 0.0):.3g}")
    return math.fsum(r for _, _, r in rows)


def _circle(number, circle, Incorrect):
    if not isinstance(circle, list) or len(circle) != 3:
        raise Incorrect(f"circle {number} must be [x, y, r]")
    for value in circle:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Incorrect(f"circle {number} holds {str(value)[:40]!r}, which is no number")
        if not -2 <= value <= 2:
            raise Incorrect(
                f"circle {number} holds {float(value) if abs(value) < 1e300 else 'a huge number'}, far outside"
            )
    x, y, r = (float(value) for value in circle)
    if r <= 0:
        raise Incorrect(f"circle {number} has the radius {r!r}; each must have a size")
    return x, y, r


def _inside(x, y, r):
    """r <= x, r <= 1 - x and so on, exactly: comparing doubles is exact, 1 - x may not be."""
    if not (r <= x and r <= y):
        return False
    return all(r < 1 - c - 1e-15 or Fraction(r) + Fraction(c) <= 1 for c in (x, y))


def _apart(a, b):
    """Squared distance of the centres >= squared sum of the radii; by doubles where they are far from equal (their
    relative error here is below 1e-14), else exactly."""
    dx, dy, s = a[0] - b[0], a[1] - b[1], a[2] + b[2]
    distance, reach = dx * dx + dy * dy, s * s
    if distance > reach * (1 + 1e-12) + 1e-300:
        return True
    if distance < reach * (1 - 1e-12) - 1e-300:
        return False
    x, y, t = Fraction(a[0]) - Fraction(b[0]), Fraction(a[1]) - Fraction(b[1]), Fraction(a[2]) + Fraction(b[2])
    return x * x + y * y >= t * t
