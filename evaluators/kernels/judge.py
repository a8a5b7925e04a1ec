"""Evidence in, verdict out: `judge_kernel` is pure, so stored evidence can be judged again under other rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from evolve.evaluators.kernels import checks, drift, score
from evolve.evaluators.kernels.checks import Finding, Rules, Says
from evolve.evaluators.kernels.evidence import Call, KernelEvidence, WorkloadFacts
from evolve.evaluators.timing.blocks import Ratio, ratio
from evolve.tasks.errors import UsageError
from evolve.tasks.verdict import Status


@dataclass(frozen=True, slots=True)
class WorkloadScore:
    """Seconds. time = ratio x anchor, with its 95% interval. baseline: T_b, the best known variant. note: edges met."""

    uuid: str
    time: float
    low: float
    high: float
    baseline: float
    bound: float
    score: float | None
    headroom: float
    ratio: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class KernelVerdict:
    """score 0..1 only when SCORED. speedup: geometric mean of T_b / T. label names the device and the caveat."""

    status: Status
    score: float | None
    reason: str = ""
    kind: str = ""
    stage: str = ""
    workloads: tuple[WorkloadScore, ...] = ()
    findings: tuple[Finding, ...] = ()
    label: str = ""
    speedup: float = 0.0
    headroom: float = 0.0

    @property
    def upstream(self) -> str:
        return score.upstream_status(self.status, self.kind)


def judge_kernel(evidence: KernelEvidence, rules: Rules | None = None) -> KernelVerdict:
    """Precedence: a fault, a shown cheat, INVALID, AUDIT, a check that could not run (AUDIT), a score under its bound (AUDIT)."""
    rules = rules or Rules()
    label = score.label(evidence.device) + (" (simulated clock)" if evidence.clock == "work" else "")
    if evidence.fault is not None:
        fault = evidence.fault
        return KernelVerdict(Status.INVALID, None, fault.message or fault.kind, fault.kind, fault.stage, label=label)
    findings = tuple(checks.run(evidence, rules))
    for says, status in (
        (Says.CHEAT, Status.CHEAT),
        (Says.INVALID, Status.INVALID),
        (Says.AUDIT, Status.AUDIT),
        (Says.UNABLE, Status.AUDIT),
    ):
        for finding in findings:
            if finding.says is says:
                return KernelVerdict(
                    status,
                    None,
                    f"{finding.check}: {finding.detail}",
                    finding.kind or finding.check,
                    "measure",
                    findings=findings,
                    label=label,
                )
    try:
        rows = tuple(_workload(evidence, index, facts, rules) for index, facts in enumerate(evidence.workloads))
    except UsageError as error:
        return KernelVerdict(Status.AUDIT, None, str(error), "bound", "score", findings=findings, label=label)
    low = [row for row in rows if row.score is None]
    common = {"workloads": rows, "findings": findings, "label": label}
    if low and "D6" not in rules.off:
        return KernelVerdict(Status.AUDIT, None, f"D6: {low[0].note}", "D6", "score", **common)  # type: ignore[arg-type]
    value = fmean(row.score if row.score is not None else 1.0 for row in rows)
    return KernelVerdict(
        Status.SCORED,
        value,
        speedup=score.geomean([row.baseline / row.time for row in rows]),
        headroom=score.geomean([row.headroom for row in rows]),
        **common,  # type: ignore[arg-type]
    )


def times(calls: Sequence[Call], slack: float, span: float = math.inf) -> dict[int, list[float]]:
    """Block -> seconds a call: the claim plus what still ran when the call was over.

    That is seen in two ways, in microseconds: the seal's blocks start apart by more than `slack` (work on some SMs), or its
    last block starts later after the gate than the claim and `span` explain (work on every SM, which delays all alike).
    """
    out: dict[int, list[float]] = {}
    for call in calls:
        outside = call.span_us - call.us - span if call.span_us else 0.0
        out.setdefault(call.block, []).append((call.us + max(0.0, call.late_us - slack, outside)) * 1e-6)
    return out


def allowed(theirs: Sequence[Call], rules: Rules) -> tuple[float, float]:
    """(slack, span) of `times`: what the baseline, which leaves nothing running, shows itself, and rules.late on top."""
    if "N5" in rules.off or not theirs:
        return (math.inf, math.inf) if "N5" in rules.off else (rules.late, math.inf)
    spans = [c.span_us - c.us for c in theirs if c.span_us]
    return rules.late + median(c.late_us for c in theirs), rules.late + median(spans) if spans else math.inf


def _workload(evidence: KernelEvidence, index: int, facts: WorkloadFacts, rules: Rules) -> WorkloadScore:
    ours, theirs = evidence.of("A", index), evidence.of("B", index)
    a, b = times(ours, *allowed(theirs, rules)), times(theirs, math.inf)
    found: Ratio
    unsteady = ""
    if theirs:
        kept_a, kept_b, unsteady = (a, b, "") if "drift" in rules.off else drift.steady(evidence.clocks, a, b)
        found = ratio(kept_a, kept_b)
        anchor = facts.anchor or median(t for block in b.values() for t in block)
    else:
        if not facts.baseline:
            raise UsageError(f"workload {facts.uuid}: neither a baseline beside it nor a stored one")
        every = sorted(t for block in a.values() for t in block)
        found = Ratio(
            median(every) / facts.baseline,
            every[0] / facts.baseline,
            every[-1] / facts.baseline,
            len(every),
            fmean(every) / median(every),
        )
        anchor = facts.baseline
    tail = (
        found.tail
        if found.tail > rules.tail and "D9" not in rules.off and found.n >= 8 and evidence.clock != "real"
        else 1.0
    )
    time = found.value * anchor * tail
    baseline = facts.baseline or anchor
    result = score.sol(time, baseline, facts.bound)
    note = (
        result.note
        if tail == 1.0
        else f"mean/median is {tail:.2f} times the baseline's: the mean counts (D9). {result.note}".strip()
    )
    note = "; ".join(text for text in (note, unsteady) if text)
    return WorkloadScore(
        facts.uuid,
        time,
        found.low * anchor * tail,
        found.high * anchor * tail,
        baseline,
        facts.bound,
        result.value,
        result.headroom,
        found.value * tail,
        note,
    )
