"""26 circles in the unit square: a small grid of centres, each circle as large as its nearest neighbour allows."""

import math

CENTRES = [
    (0.315, 0.352),
    (0.389, 0.352),
    (0.463, 0.352),
    (0.537, 0.352),
    (0.611, 0.352),
    (0.685, 0.352),
    (0.315, 0.426),
    (0.389, 0.426),
    (0.463, 0.426),
    (0.537, 0.426),
    (0.611, 0.426),
    (0.685, 0.426),
    (0.315, 0.500),
    (0.389, 0.500),
    (0.463, 0.500),
    (0.537, 0.500),
    (0.611, 0.500),
    (0.685, 0.500),
    (0.315, 0.574),
    (0.389, 0.574),
    (0.463, 0.574),
    (0.537, 0.574),
    (0.611, 0.574),
    (0.685, 0.574),
    (0.315, 0.648),
    (0.389, 0.648),
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
