"""Choosing an operator or a model by what it gained for its cost (off by default: docs/search.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from evolve.population.folds.credit import Arm

HOUR = 1.0
"""US dollars that an hour of evaluation counts as, so that money and machine time make one cost."""

EXPLORE = 0.5
"""Of the bound's width; gains are 0..1."""


def pick(kind: str, names: Sequence[str], arms: Mapping[str, Arm]) -> str:
    """The name whose discounted upper bound on gains, for its mean cost, is highest; the first untried one before that.

    kind: "operator" or "model". Raises ValueError for no names.
    """
    if not names:
        raise ValueError(f"no {kind} to choose from")
    found = {name: arms.get(f"{kind}:{name}", Arm()) for name in names}
    for name, arm in found.items():
        if arm.tries < 0.5:
            return name
    total = math.fsum(arm.tries for arm in found.values())
    dear = math.fsum(_cost(arm) for arm in found.values()) / len(found)
    return max(names, key=lambda name: _bound(found[name], total) / max(_cost(found[name]) / dear if dear else 1.0, 0.01))


def _bound(arm: Arm, total: float) -> float:
    return arm.gains / arm.tries + EXPLORE * math.sqrt(2 * math.log(max(total, math.e)) / arm.tries)


def _cost(arm: Arm) -> float:
    return (arm.money + arm.seconds * HOUR / 3600) / max(arm.tries, 1e-9)
