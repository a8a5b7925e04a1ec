"""Which bin an item goes into, when items come one by one and none may be moved later."""

# How good it is to leave a gap of 0..4, 5..9, 10..14, ... This is best fit: the smaller, the better.
WORTH = [
    1.00, 0.95, 0.90, 0.85, 0.80,
    0.75, 0.70, 0.65, 0.60, 0.55,
    0.50, 0.45, 0.40, 0.35, 0.30,
    0.25, 0.20, 0.15, 0.10, 0.05,
]  # fmt: skip


def priority(item, free, capacity):
    """How much an item of size `item` wants a bin that has `free` space left; the bin with the highest priority gets
    it, among equals the fullest. An empty bin has free == capacity."""
    gap = free - item
    step = gap * len(WORTH) // capacity
    return WORTH[step]
