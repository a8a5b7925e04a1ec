"""What one output looked like, and the rule on it. Needs no torch: evidence is judged, and judged again, where none is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evolve.evaluators.kernels.definition import Tolerance


@dataclass(frozen=True, slots=True)
class OutputFacts:
    """What one output of one call looked like beside the golden answer. All JSON-plain.

    matched: share of elements within tolerance; slice: the smallest such share over any index of any axis;
    worst: largest |x - golden| in units of its tolerance; error: ||x - golden|| / ||golden||.
    fault: "" or the first structural fault ("shape", "dtype", "nan", "inf").
    """

    name: str
    matched: float = 0.0
    slice: float = 0.0
    worst: float = math.inf
    error: float = math.inf
    largest: float = math.inf
    fault: str = ""
    detail: str = ""


def passes(facts: OutputFacts, tolerance: Tolerance) -> bool:
    """The rule on one output: structure, overall share, slice share, cap."""
    if facts.fault or facts.matched < tolerance.ratio or facts.slice < tolerance.slices:
        return False
    return tolerance.cap is None or facts.largest <= tolerance.cap


def why(facts: OutputFacts, tolerance: Tolerance) -> str:
    """One sentence on a failing output, "" for one that passes."""
    if facts.fault:
        return f"output {facts.name!r}: {facts.fault}: {facts.detail}"
    if facts.matched < tolerance.ratio:
        return f"output {facts.name!r}: {1 - facts.matched:.3%} of elements are off, the worst by {facts.worst:.3g} tolerances"
    if facts.slice < tolerance.slices:
        return f"output {facts.name!r}: a whole slice is off ({1 - facts.slice:.1%} of its elements), though most others match"
    if tolerance.cap is not None and facts.largest > tolerance.cap:
        return f"output {facts.name!r}: largest error {facts.largest:.3g} is over the cap {tolerance.cap:g}"
    return ""
