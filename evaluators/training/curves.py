"""Early stopping against the parent's training curve at equal share of the budget.

A point (share, loss) of a curve is the mean loss since the point before it. The rule looks at a few fixed shares: it
takes what the run reported within a window up to there, and what its parent's curve says of the same stretch, however
far apart either one's points lie. It ends a run whose loss is above the parent's by more than a margin that was fixed
on other curves (benchmarks/training/early_stopping.py; docs/results/training.md has the error rate found on held-out
ones). A curve is what the trainer reports: a false one can only keep a run alive.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Rule:
    """looks: shares of the budget at which the loss is compared -> allowed excess over the parent's (nats a token).
    window: share of the budget before a look within which points count."""

    looks: Mapping[float, float]
    window: float = 0.1

    def stops(self, curve: Curve, parent: Curve) -> float | None:
        """The first look (share) at which the run would be ended, None where it runs to the end."""
        for share, margin in sorted(self.looks.items()):
            if not curve or curve[-1][0] < share:
                return None
            over = excess(curve, parent, share, self.window)
            if over is not None and not over <= margin:  # a loss that is no number is over every margin
                return share
        return None


RULE = Rule({0.2: 0.0893, 0.4: 0.0934, 0.6: 0.1331, 0.8: 0.1275})
"""Fitted by benchmarks/training/early_stopping.py on 165 curves of the `cpu` track, tested on 315 others."""

PROVEN = frozenset({"nanochat/cpu"})
"""Tracks on whose held-out curves the rule's error rate was measured: it is on there, and off elsewhere, unless
`evaluate.settings.early_stopping` says otherwise."""


def excess(curve: Curve, parent: Curve, share: float, window: float) -> float | None:
    """How far a curve's loss lies above its parent's over the same stretch, the one of its points within `window` up to
    `share`; None where it has none there or the parent says nothing of it. NaN where a loss is no number."""
    near = [i for i, (at, _) in enumerate(curve) if share - window < at <= share + 1e-6]
    if not near:
        return None
    begin = curve[near[0] - 1][0] if near[0] else 0.0
    ours, theirs = over(curve, begin, curve[near[-1]][0]), over(parent, begin, curve[near[-1]][0])
    return None if ours is None or theirs is None else ours - theirs


def over(curve: Curve, begin: float, end: float) -> float | None:
    """Mean loss of a curve between two shares; None where it has nothing there."""
    total = length = before = 0.0
    for at, loss in curve:
        part = min(at, end) - max(before, begin)
        if part > 1e-9:
            total, length = total + loss * part, length + part
        before = at
    return total / length if length else None


def fit(pairs: Sequence[tuple[Curve, Curve, bool]], looks: Sequence[float], window: float, slack: float) -> Rule:
    """Margins from training pairs (curve, parent's curve, ended better): at each look the largest excess that a
    better-ending run showed, times 1 + slack, and at least a hundredth of a nat."""
    out = {}
    for share in looks:
        found = [excess(curve, parent, share, window) for curve, parent, better in pairs if better]
        most = max([value for value in found if value is not None], default=0.0)
        out[share] = max(most * (1 + slack), 0.01)
    return Rule(out, window)


def stopper(parent: Curve, rule: Rule = RULE) -> Callable[[list[tuple[float, float]]], bool]:
    """What the supervisor asks after each batch."""
    return lambda curve: rule.stops(curve, parent) is not None


# ---- curves of finished runs -----------------------------------------------------------------------------------------


def remember(path: Path, tree: str, curve: Curve) -> None:
    """Keep a finished run's curve by tree: the latest of it, and of the latest 200 trees."""
    if not curve:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = json.loads(path.read_text()) if path.is_file() else {}
        known.pop(tree, None)
        known[tree] = {"curve": [list(point) for point in curve[:2000]]}
        if len(known) > 200:
            known.pop(next(iter(known)))
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(known))
        partial.rename(path)


def recall(path: Path, tree: str) -> Curve:
    """The curve of a tree; empty where it is not known."""
    known = json.loads(path.read_text()) if path.is_file() else {}
    return [(share, loss) for share, loss in known[tree]["curve"]] if tree in known else []
