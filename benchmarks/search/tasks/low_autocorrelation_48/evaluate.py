"""The merit factor of a binary sequence, in whole numbers."""

from __future__ import annotations

LENGTH = 48


def evaluate(trial):
    return {"score": score(trial.call("program.py:answer"), trial.Incorrect)}


def score(table, Incorrect=ValueError):
    """LENGTH**2 / (2 E), E the sum over shifts k = 1.. of the squared aperiodic autocorrelations (Golay 1972)."""
    if not isinstance(table, list) or not all(isinstance(row, list) for row in table):
        raise Incorrect("answer() must return a list of rows")
    values = [value for row in table for value in row]
    if len(values) != LENGTH or not all(type(value) is int and abs(value) == 1 for value in values):
        raise Incorrect(f"answer() must hold {LENGTH} signs, each 1 or -1")
    energy = sum(sum(a * b for a, b in zip(values, values[shift:], strict=False)) ** 2 for shift in range(1, LENGTH))
    return LENGTH**2 / (2 * energy)
