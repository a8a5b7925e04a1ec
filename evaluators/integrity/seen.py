"""What the referee saw of one tree in one job: the material that integrity checks look at. Plain values, no processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Seen:
    """output: everything the candidate printed or returned, as text. canaries: planted fake secrets, by name.

    claimed: metrics as the candidate or the harness reported them; expected: metric -> (goal, noise floor, best so far)
    where there is a history. seconds: wall time on the referee's clock; claimed_seconds: what the candidate's own clock
    said, where it says anything. answers: values by block of the candidate; impossible: whether it "solved" a variant
    that has no solution (None: not tried). label, wanted_label: the sandbox it ran in and the one the run was opened with.
    protected: path -> id as committed by the base; judged: path -> id of what was judged.
    """

    tree: str
    output: str = ""
    canaries: Mapping[str, str] = field(default_factory=dict)
    claimed: Mapping[str, float] = field(default_factory=dict)
    expected: Mapping[str, tuple[str, float, float]] = field(default_factory=dict)
    seconds: float | None = None
    claimed_seconds: float | None = None
    answers: tuple[str, ...] = ()
    hidden_differ: bool = False
    impossible: bool | None = None
    label: str = ""
    wanted_label: str = ""
    protected: Mapping[str, str] = field(default_factory=dict)
    judged: Mapping[str, str] = field(default_factory=dict)
