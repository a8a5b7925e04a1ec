"""26 circles in the unit square: a small grid of centres, each circle as large as its nearest neighbour allows."""

import math

CENTRES = [
    (0.10, 0.10),
    (0.16, 0.10),
    (0.22, 0.10),
    (0.28, 0.10),
    (0.34, 0.10),
    (0.10, 0.16),
    (0.16, 0.16),
    (0.22, 0.16),
    (0.28, 0.16),
    (0.34, 0.16),
    (0.10, 0.22),
    (0.16, 0.22),
    (0.22, 0.22),
    (0.28, 0.22),
    (0.34, 0.22),
    (0.10, 0.28),
    (0.16, 0.28),
    (0.22, 0.28),
    (0.28, 0.28),
    (0.34, 0.28),
    (0.10, 0.34),
    (0.16, 0.34),
    (0.22, 0.34),
    (0.28, 0.34),
    (0.34, 0.34),
    (0.10, 0.40),
]


def pack():
    """A list of circles [x, y, r], disjoint and inside the unit square."""
    circles = []
    for i, (x, y) in enumerate(CENTRES):
        room = min(x, y, 1 - x, 1 - y)
        for j, (u, v) in enumerate(CENTRES):
            if i != j:
                room = min(room, math.hypot(x - u, y - v) / 2)
        circles.append([x, y, max(room, 0.0) * (1 - 1e-9)])
    return circles
