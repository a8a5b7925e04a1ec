"""The table of centres as a smooth problem (docs/tasks.md, 'Polish'): the largest sum of radii near the centres given.

The seed's rule lets the earlier of two circles take at most half of the way between them. So the rows come back in the order
of their radii, the smallest first, for which that is no restriction.
"""

import numpy as np

TABLE = "program.py:CENTRES"
CIRCLES = 26
FIRST, SECOND = np.triu_indices(CIRCLES, 1)
PAIRS = len(FIRST)


def problem(numbers):
    """Minimise -sum r over x, y, r of all circles: no two meet, none leaves the square. Raises ValueError for another table."""
    if len(numbers) != 2 * CIRCLES:
        raise ValueError(f"CENTRES holds {len(numbers)} numbers, not {2 * CIRCLES}")
    x, y = np.clip(np.asarray(numbers, dtype=float).reshape(CIRCLES, 2), 0.001, 0.999).T
    apart = np.hypot(x[FIRST] - x[SECOND], y[FIRST] - y[SECOND])
    radii = np.min([x, 1 - x, y, 1 - y], axis=0)
    for first, second, distance in zip(FIRST, SECOND, apart, strict=True):
        radii[[first, second]] = np.minimum(radii[[first, second]], distance / 2)
    return {
        "start": np.concatenate([x, y, 0.8 * radii]), "objective": objective, "constraints": constraints,
        "bounds": [(0.0, 1.0)] * (3 * CIRCLES), "numbers": table,
    }  # fmt: skip


def objective(v):
    gradient = np.zeros(3 * CIRCLES)
    gradient[2 * CIRCLES :] = -1.0
    return -v[2 * CIRCLES :].sum(), gradient


def constraints(v):
    """Distances less both radii, then the room to each of four walls; and how they change."""
    x, y, r = v.reshape(3, CIRCLES)
    dx, dy = x[FIRST] - x[SECOND], y[FIRST] - y[SECOND]
    distance = np.maximum(np.hypot(dx, dy), 1e-9)
    values = np.concatenate([distance - r[FIRST] - r[SECOND], x - r, 1 - x - r, y - r, 1 - y - r])
    slope = np.zeros((PAIRS + 4 * CIRCLES, 3 * CIRCLES))
    rows, circles = np.arange(PAIRS), np.arange(CIRCLES)
    for sign, which in ((1.0, FIRST), (-1.0, SECOND)):
        slope[rows, which] = sign * dx / distance
        slope[rows, CIRCLES + which] = sign * dy / distance
        slope[rows, 2 * CIRCLES + which] = -1.0
    for wall, (part, sign) in enumerate(((0, 1.0), (0, -1.0), (CIRCLES, 1.0), (CIRCLES, -1.0))):
        slope[PAIRS + wall * CIRCLES + circles, part + circles] = sign
        slope[PAIRS + wall * CIRCLES + circles, 2 * CIRCLES + circles] = -1.0
    return values, slope


def table(v):
    x, y, r = v.reshape(3, CIRCLES)
    return np.stack([x, y], axis=1)[np.argsort(r)].ravel().tolist()
