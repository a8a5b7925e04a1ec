"""A sequence of 64 signs."""

SIGNS = "+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-"


def sequence():
    return SIGNS
