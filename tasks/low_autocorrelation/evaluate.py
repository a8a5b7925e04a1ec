"""The merit factor of a binary sequence, in whole numbers."""

from __future__ import annotations

LENGTH = 64


def evaluate(trial):
    return {"merit": merit(trial.call("sequence.py:sequence"), trial.Incorrect)}


def merit(signs, Incorrect=ValueError):
    """LENGTH**2 / (2 E), E the sum over shifts k = 1.. of the squared aperiodic autocorrelations (Golay 1972)."""
    if not isinstance(signs, str) or len(signs) != LENGTH or not set(signs) <= {"+", "-"}:
        raise Incorrect(f"sequence() must return a string of {LENGTH} signs, + or -, not {str(signs)[:80]!r}")
    values = [1 if sign == "+" else -1 for sign in signs]
    energy = 0
    for shift in range(1, LENGTH):
        energy += sum(a * b for a, b in zip(values, values[shift:], strict=False)) ** 2
    return LENGTH**2 / (2 * energy)
