"""A few numbers polished by a trust-region method without derivatives: COBYQA (Ragonneau and Zhang 2023) of scipy.

It models the score by a quadratic on 2n + 1 points around the program and steps within a region whose radius follows what
the steps gained, so that a smooth score is climbed in some tens of evaluations. Strictly one point after the other.

Like the rest of a study it keeps no state: each point is found by letting the method run again on the values on record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

LAST = 1e-9
"""Radius, in knob ranges, at which the method ends."""

Vector = npt.NDArray[np.float64]


class _Asked(Exception):
    """The method wants the value of a point that has none yet."""

    def __init__(self, point: Vector) -> None:
        self.point = point


def next_point(
    start: Sequence[float], base: float, values: Mapping[int, float | None], number: int, radius: float
) -> Vector | None:
    """Where trial `number` (from 0) is, within 0..1 in each coordinate; None where the method ended before.

    start: the program's own point, and base its fitness. values: fitness of the trials before, None for one without, which
    counts as the worst of the others (a value beyond them would bend the model), as does a trial that is missing. radius: the first region's.
    """
    from scipy.optimize import Bounds, minimize

    at = np.asarray(start, dtype=float)
    known = [value for k, value in values.items() if k < number and value is not None]
    worst = min([base, *known])
    try:
        minimize(
            _recorded(base, values, number, worst), at, method="COBYQA", bounds=Bounds(np.zeros(len(at)), np.ones(len(at))),
            options={"initial_tr_radius": radius, "final_tr_radius": min(LAST, radius), "maxfev": number + 2},
        )  # fmt: skip
    except _Asked as asked:
        return np.clip(asked.point, 0.0, 1.0)
    return None


def _recorded(base: float, values: Mapping[int, float | None], number: int, worst: float) -> Callable[[Vector], float]:
    """The loss as the method asks for it: the program's own first, then trial by trial."""
    count = -1

    def loss(point: Vector) -> float:
        nonlocal count
        count += 1
        if count == 0:
            return -base
        if count - 1 == number:
            raise _Asked(np.array(point))
        value = values.get(count - 1)
        return -(worst if value is None else value)

    return loss
