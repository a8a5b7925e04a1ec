"""Blocks that do not count: the card's clocks moved or were held down, or the baseline itself ran at another pace.

Judged by the card's readings and by the baseline's times only, never by the candidate's: it cannot choose its blocks. Where
less than half of the blocks would be left all of them count, and the note says so (docs/kernels.md; kernels.md 3.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median, stdev
from typing import Any

from evolve.evaluators.timing.blocks import trimmed

HELD = 0x4 | 0x8 | 0x20 | 0x40 | 0x80
"""NVML's reasons that hold clocks down: power cap, hardware slowdown, thermal (software, hardware), power brake."""

CLOCK, PACE, ERRORS = 0.03, 0.02, 4.0
"""Share by which an SM clock may differ from the measurement's median; share by which the baseline's time in a block may
differ from its median over blocks, or this many standard errors of that block where these are more."""


def rejected(
    readings: Sequence[Mapping[str, Any]], theirs: Mapping[int, Sequence[float]], clock: float = CLOCK, pace: float = PACE
) -> dict[int, str]:  # fmt: skip
    """block -> why it does not count. readings: of `KernelEvidence.clocks`; theirs: the baseline's seconds by block."""
    found: dict[int, str] = {}
    usual = median([row["sm_mhz"] for row in readings if row.get("sm_mhz")] or [0.0])
    for row in readings:
        block = int(row.get("block", -1))
        if int(row.get("throttle", 0)) & HELD:
            found.setdefault(block, f"clocks held down ({int(row['throttle']) & HELD:#x})")
        elif usual and row.get("sm_mhz") and abs(row["sm_mhz"] / usual - 1) > clock:
            found.setdefault(block, f"SM clock {row['sm_mhz']:.0f} of {usual:.0f} MHz")
    times = {block: trimmed(values) for block, values in theirs.items() if len(values) >= 3}
    centre = median(times.values()) if len(times) >= 3 else 0.0
    for block, value in times.items():
        if centre and abs(value / centre - 1) > max(pace, ERRORS * _error(theirs[block]) / centre):
            found.setdefault(block, f"the baseline ran {value / centre - 1:+.1%}")
    return {block: why for block, why in sorted(found.items()) if block in theirs}


def _error(values: Sequence[float]) -> float:
    return stdev(values) / math.sqrt(len(values))


def steady(
    readings: Sequence[Mapping[str, Any]], ours: Mapping[int, Sequence[float]], theirs: Mapping[int, Sequence[float]]
) -> tuple[dict[int, Sequence[float]], dict[int, Sequence[float]], str]:  # fmt: skip
    """Both sides' times without the rejected blocks, and a note ("" where none was)."""
    bad = rejected(readings, theirs)
    both = [block for block in theirs if block in ours]
    left = [block for block in both if block not in bad]
    if not bad:
        return dict(ours), dict(theirs), ""
    why = "; ".join(f"block {block}: {text}" for block, text in list(bad.items())[:3])
    if 2 * len(left) < len(both) or not left:
        return dict(ours), dict(theirs), f"{len(bad)} of {len(both)} blocks were unsteady, so all count ({why})"
    return (
        {k: ours[k] for k in left},
        {k: theirs[k] for k in left},
        f"{len(bad)} of {len(both)} blocks rejected ({why})",
    )
