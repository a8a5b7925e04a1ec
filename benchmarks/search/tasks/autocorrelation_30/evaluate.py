"""The peak of an autoconvolution over the squared integral, in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

STEPS = 30
KNOWN = 1.5053


def evaluate(trial):
    return {"score": score(trial.call("program.py:answer"), trial.Incorrect)}


def score(table, Incorrect=ValueError):
    """KNOWN over 2 n max_k sum_i f_i f_(k-i) / (sum f)^2 (steps of width 1/(2n))."""
    raw = [row[0] for row in numbers(table, STEPS, 1, 0, 8, Incorrect)]
    unit = max(value.denominator for value in raw)  # all are powers of two
    whole = [int(value * unit) for value in raw]
    if not any(whole):
        raise Incorrect("all heights are 0")
    peak = max(
        sum(whole[i] * whole[k - i] for i in range(max(0, k - STEPS + 1), min(STEPS, k + 1)))
        for k in range(2 * STEPS - 1)
    )
    return KNOWN / float(Fraction(2 * STEPS * peak, sum(whole) ** 2))


def numbers(table, rows, width, low, high, Incorrect):
    """The table's numbers as exact rationals, row by row; raises `Incorrect` unless it has that shape and range."""
    if not isinstance(table, list) or len(table) != rows:
        raise Incorrect(f"answer() must return a list of {rows} rows")
    for number, row in enumerate(table):
        if not isinstance(row, list) or len(row) != width:
            raise Incorrect(f"row {number} must be a list of {width} numbers")
        for value in row:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise Incorrect(f"row {number} holds {str(value)[:30]!r}; each must be a number in {low}..{high}")
    return [[Fraction(value) for value in row] for row in table]
