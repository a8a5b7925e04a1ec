"""What one measurement of a kernel saw, JSON-plain, so that stored evidence can be judged again under other rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from evolve.evaluators.kernels.outputs import OutputFacts


@dataclass(frozen=True, slots=True)
class Call:
    """One call: timed and validated alike. Microseconds. side: "A" candidate, "B" baseline.

    us: the worker's claim. The referee's clock, from the key's release: flag_us until the seal's flag was seen (0: it was
    not), seen_us until the outputs lay in the referee's memory, wall_us until the worker's last word (its own checks included).
    late_us: how far the seal's blocks started apart (work on some SMs when the call was over). span_us: from the gate's last
    end to the seal's last start, 0 where no gate was; it also sees work that held every SM. held: SMs the gate had.
    structure: the worker's word on types and shapes. notes: changed inputs, guard bands. flags: backend flags left changed.
    outputs: per output, the referee's comparison. reference_error: per output, the reference's own error (D10).
    """

    n: int
    side: str
    workload: int
    family: str
    block: int
    us: float
    wall_us: float
    flag_us: float = 0.0
    seen_us: float = 0.0
    warm: bool = False
    opened: bool = True
    held: int = 0
    late_us: float = 0.0
    span_us: float = 0.0
    structure: str = ""
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    outputs: tuple[OutputFacts, ...] = ()
    reference_error: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """bound, baseline in seconds (0.0: not stored, the anchor's own time serves). anchor: stored seconds of the variant
    that B runs, 0.0 where not stored. hidden: drawn from the secret."""

    uuid: str
    axes: Mapping[str, int]
    bound: float
    provenance: str
    baseline: float = 0.0
    baseline_variant: str = ""
    anchor: float = 0.0
    bytes: float = 0.0
    flops: float = 0.0
    hidden: bool = False
    tolerance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """How the candidate failed: kind of score.STATUSES, the stage, one sentence."""

    kind: str
    stage: str
    message: str
    workload: int = -1


@dataclass(frozen=True, slots=True)
class KernelEvidence:
    """clock: "gate" (GPU, key held by the referee), "gate-local" (GPU, weaker), "real" or "work" (CPU).

    commitment: sha256 of the secret, published before the measurement; secret: revealed after it.
    clocks: one row a turn of a side: SM and memory clocks in MHz, throttle bits, temperature, power, as nvidia-smi reads
    them (nothing is ever set). extras: the champion's further checks ("repeat", "sanitizer", "ghost", "profiler", "counters"), each
    with "ran" and what it saw (extras.py). overhead: clock -> microseconds by which honest workers' overheads differ on this machine.
    census: threads and processes seen from outside at load and at the end. integrity: what the worker said of the harness.
    """

    problem: str
    definition: str
    language: str
    device: str
    clock: str
    commitment: str
    secret: str = ""
    workloads: tuple[WorkloadFacts, ...] = ()
    calls: tuple[Call, ...] = ()
    fault: Fault | None = None
    screen: tuple[Mapping[str, Any], ...] = ()
    census: Mapping[str, Any] = field(default_factory=dict)
    integrity: Mapping[str, Any] = field(default_factory=dict)
    transport: str = ""
    sandbox: str = ""
    sms: int = 0
    ratio_cap: float = 8.0
    exact_golden: bool = True
    processes: int = 1
    libraries: Mapping[str, str] = field(default_factory=dict)
    clocks: tuple[Mapping[str, Any], ...] = ()
    compiler: Mapping[str, Any] = field(default_factory=dict)
    anchor: str = ""
    overhead: Mapping[str, float] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)

    def of(self, side: str, workload: int | None = None, *, timed: bool = True) -> list[Call]:
        """Calls of one side (and workload), warm-up calls left out where `timed`."""
        return [c for c in self.calls if c.side == side and workload in (None, c.workload) and not (timed and c.warm)]

    def alone(self, workload: int) -> KernelEvidence:
        """The evidence on one workload only, as if the others had not been measured."""
        calls = tuple(replace(c, workload=0) for c in self.calls if c.workload == workload)
        return replace(self, workloads=(self.workloads[workload],), calls=calls)
