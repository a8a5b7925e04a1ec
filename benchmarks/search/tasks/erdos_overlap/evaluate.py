"""The largest overlap of a step function with its complement, in exact arithmetic (Haugland 1996)."""

from __future__ import annotations

from fractions import Fraction

STEPS = 40
KNOWN = 0.380927


def evaluate(trial):
    return {"score": score(trial.call("program.py:answer"), trial.Incorrect)}


def score(table, Incorrect=ValueError):
    """KNOWN over max_k 2/n sum_i h_i (1 - h_(i+k)), h scaled so that sum h = n/2."""
    raw = [row[0] for row in numbers(table, STEPS, 1, 0, 1, Incorrect)]
    total = sum(raw)
    if total == 0:
        raise Incorrect("all heights are 0")
    # h_i = raw_i * n / (2 total): compare and multiply in whole numbers, h_i = top_i / low
    scaled = [value * STEPS / (2 * total) for value in raw]
    if max(scaled) > 1:
        raise Incorrect(f"scaled to integral 1 a height is {float(max(scaled))!r}, above 1")
    unit = max(value.denominator for value in raw)
    low = 2 * int(total * unit)
    tops = [int(value * unit) * STEPS for value in raw]
    worst = max(
        sum(tops[i] * (low - tops[i + k]) for i in range(max(0, -k), min(STEPS, STEPS - k)))
        for k in range(1 - STEPS, STEPS)
    )
    return KNOWN / float(Fraction(2 * worst, STEPS * low * low))


def numbers(table, rows, width, low, high, Incorrect):
    """The table's numbers as exact rationals, row by row; raises `Incorrect` unless it has that shape and range."""
    if not isinstance(table, list) or len(table) != rows:
        raise Incorrect(f"answer() must return a list of {rows} rows")
    for number, row in enumerate(table):
        if not isinstance(row, list) or len(row) != width:
            raise Incorrect(f"row {number} must be a list of {width} numbers")
        for value in row:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise Incorrect(f"row {number} holds {str(value)[:40]!r}; each must be a number in {low}..{high}")
    return [[Fraction(value) for value in row] for row in table]
