"""26 circles in the unit square: a small grid of centres, each circle as large as the others leave it.

Lengths are whole numbers of 1 / UNIT, a power of two, so that sums and differences of them are exact.
"""

import math

UNIT = 2.0**20

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


def whole(length):
    """The length in whole units, rounded down, within the square."""
    return min(max(math.floor(length * UNIT) / UNIT, 0.0), 1.0)


def pack():
    """A list of circles [x, y, r], disjoint and inside the unit square."""
    centres = [(whole(x), whole(y)) for x, y in CENTRES]
    circles = []
    for i, (x, y) in enumerate(centres):
        room = min(x, y, 1.0 - x, 1.0 - y)
        for u, v, taken in circles:  # a circle placed before keeps what it has
            room = min(room, math.hypot(x - u, y - v) - taken)
        for u, v in centres[i + 1 :]:  # one still to come gets half of the way
            room = min(room, math.hypot(x - u, y - v) / 2.0)
        circles.append((x, y, whole(room)))
    return circles
