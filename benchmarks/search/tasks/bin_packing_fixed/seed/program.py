"""How good it is to leave a gap of 0..4, 5..9, ... of 100; best fit: the smaller, the better."""

# EVOLVE-BLOCK-START
TABLE = [
    [1.0000, 0.9500, 0.9000, 0.8500],
    [0.8000, 0.7500, 0.7000, 0.6500],
    [0.6000, 0.5500, 0.5000, 0.4500],
    [0.4000, 0.3500, 0.3000, 0.2500],
    [0.2000, 0.1500, 0.1000, 0.0500],
]
# EVOLVE-BLOCK-END


def answer():
    return TABLE
