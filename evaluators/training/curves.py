"""Early stopping against the parent's training curve at equal share of the budget.

The rule looks at a few fixed shares of the budget. It ends a run whose smoothed training loss there is above the
parent's by more than a margin that was fixed on other curves (benchmarks/training/early_stopping.py; docs/training.md
has the error rate found on held-out ones). A curve is what the trainer reports: a false one can only keep a run alive.
"""

from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Rule:
    """looks: shares of the budget at which the loss is compared -> allowed excess over the parent's (nats a token).
    window: share of the budget before a look over which losses are averaged."""

    looks: Mapping[float, float]
    window: float = 0.1

    def stops(self, curve: Curve, parent: Curve) -> float | None:
        """The first look (share) at which the run would be ended, None where it runs to the end."""
        for share, margin in sorted(self.looks.items()):
            if not curve or curve[-1][0] < share:
                return None
            ours, theirs = smoothed(curve, share, self.window), smoothed(parent, share, self.window)
            if ours is None or theirs is None:
                continue
            if not math.isfinite(ours) or ours > theirs + margin:
                return share
        return None


RULE = Rule({0.4: 0.30, 0.6: 0.20, 0.8: 0.12})
"""A first guess, off by default; benchmarks/training/early_stopping.py is to fix it on other curves than it is tested on."""


def smoothed(curve: Curve, share: float, window: float) -> float | None:
    """Mean loss of the points within `window` up to `share`; the last point before it where there is none within."""
    near = [loss for at, loss in curve if share - window <= at <= share + 1e-9]
    if near:
        return math.fsum(near) / len(near)
    before = [loss for at, loss in curve if at <= share]
    return before[-1] if before else None


def fit(pairs: Sequence[tuple[Curve, Curve, bool]], looks: Sequence[float], window: float, slack: float) -> Rule:
    """Margins from training pairs (curve, parent's curve, ended better): at each look the largest excess that a
    better-ending run showed, times 1 + slack, and at least a hundredth of a nat."""
    out = {}
    for share in looks:
        excess = [0.0]
        for curve, parent, better in pairs:
            ours, theirs = smoothed(curve, share, window), smoothed(parent, share, window)
            if better and ours is not None and theirs is not None:
                excess.append(ours - theirs)
        out[share] = max(max(excess) * (1 + slack), 0.01)
    return Rule(out, window)


def stopper(parent: Curve, rule: Rule = RULE) -> Callable[[list[tuple[float, float]]], bool]:
    """What the supervisor asks after each batch."""
    return lambda curve: rule.stops(curve, parent) is not None


# ---- curves of finished runs -----------------------------------------------------------------------------------------


def remember(path: Path, tree: str, curve: Curve, value: float) -> None:
    """Keep a finished run's curve by tree (the latest), with its objective (lower is better)."""
    if not curve:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = json.loads(path.read_text()) if path.is_file() else {}
        known.pop(tree, None)
        known[tree] = {"value": value, "curve": [list(point) for point in curve[:2000]]}
        if len(known) > 200:
            known.pop(next(iter(known)))
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(known))
        partial.rename(path)


def recall(path: Path, tree: str = "") -> Curve:
    """The curve of a tree, or of the best one known where that is not; empty where nothing is known."""
    if not path.is_file():
        return []
    known = json.loads(path.read_text())
    if not known:
        return []
    found = known.get(tree) or min(known.values(), key=lambda entry: entry["value"])
    return [(share, loss) for share, loss in found["curve"]]
