"""How much one measurement of a kernel does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evolve.evaluators.kernels import inputs as values
from evolve.evaluators.kernels.evidence import Call, WorkloadFacts


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. blocks of `calls` a side and workload; the first `warm` calls of a worker on a workload are
    validated like all others and left out of the times. short: at least so many calls a side and process of a workload
    that takes SHORT or less, fewer in proportion above it, in single calls as ever (0: no more than others).
    hidden: workloads drawn from the secret. processes: workers a side.

    seconds: limit of one call; load: of loading and compiling. alone: no baseline beside (screening against a stored one).
    champion: the further checks of extras.py after the blocks. families: value families to draw from. stop: end at the
    first call that fails validation. keep: the baseline's worker serves later candidates too (screening).
    fresh: new values a call (off only to show what that check stops).
    """

    workloads: int = 2
    hidden: int = 0
    blocks: int = 2
    calls: int = 10
    warm: int = 2
    processes: int = 1
    seconds: float = 20.0
    load: float = 120.0
    alone: bool = False
    families: tuple[str, ...] = values.FAMILIES
    stop: bool = True
    fresh: bool = True
    baseline: str = ""
    keep: bool = False
    champion: bool = False
    short: int = 0


SHORT = 10e-6
"""Seconds up to which a workload is short: there the spread of single calls is percents (docs/kernels.md)."""


def per_block(plan: Plan, calls: Sequence[Call], index: int, facts: WorkloadFacts) -> int:
    """Calls a block and side of one workload: more where the baseline, in its warm-up or as stored, is short."""
    seen = [c.us * 1e-6 for c in calls if c.side == "B" and c.workload == index]
    seconds = min(seen) if seen else facts.anchor or facts.baseline
    wanted = plan.short * min(1.0, SHORT / seconds) if seconds > 0 else 0.0
    return max(plan.calls, math.ceil(wanted / plan.blocks))
