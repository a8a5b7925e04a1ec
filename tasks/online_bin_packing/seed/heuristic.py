"""Which bin an item goes into, when items come one by one and none may be moved later."""


def priority(item, free, capacity):
    """How much an item of size `item` wants a bin that has `free` space left; the bin with the highest priority gets
    it, among equals the fullest. An empty bin has free == capacity. This is best fit: the bin that will be fullest."""
    gap = free - item
    waste = gap / capacity
    return 1.0 - waste
