"""48 signs in six rows."""

# EVOLVE-BLOCK-START
TABLE = [
    [1, -1, 1, -1, 1, -1, 1, -1],
    [1, -1, 1, -1, 1, -1, 1, -1],
    [1, -1, 1, -1, 1, -1, 1, -1],
    [1, -1, 1, -1, 1, -1, 1, -1],
    [1, -1, 1, -1, 1, -1, 1, -1],
    [1, -1, 1, -1, 1, -1, 1, -1],
]
# EVOLVE-BLOCK-END


def answer():
    return TABLE
