"""Integrity checks over evidence (D1..D15): a registry of pure functions. A check that cannot run says UNABLE, never passed.

Rules say which are on. A finding is PASSED, INVALID (with a kind), AUDIT, CHEAT or UNABLE; judge.py orders them.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from evolve.evaluators.kernels import clocks
from evolve.evaluators.kernels.definition import Tolerance
from evolve.evaluators.kernels.evidence import Call, KernelEvidence
from evolve.evaluators.kernels.outputs import OutputFacts, passes, why


class Says(enum.Enum):
    PASSED = "passed"
    INVALID = "invalid"
    AUDIT = "audit"
    CHEAT = "cheat"
    UNABLE = "unable"


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    says: Says
    detail: str = ""
    kind: str = ""
    workload: int = -1


@dataclass(frozen=True, slots=True)
class Rules:
    """Thresholds. off: names of checks switched off (mutation tests only; evidence judged so is never shown as a score).

    families: value families that must have been drawn. clock_share: unexplained wall time as a share of the claimed;
    clock_floor: and in microseconds (a CPU's scheduler is given 20 ms instead); clock_z: standard errors of the difference
    allowed on top (clocks.py states the rate). profile_share, profile_floor: share of the claim and microseconds by which a
    profile may be longer (an event pair reads 1 to 3 us more than its kernels). late: microseconds the seal's blocks may
    start apart, or later, beyond the baseline's own (an H100's honest calls: 0.1 to 0.2 us sd, 0.25 between workers).
    error_ratio: None for the problem's own. tail: mean/median over the baseline's at which the mean counts.
    """

    off: frozenset[str] = frozenset()
    families: int = 2
    hidden: bool = False
    clock_share: float = 0.03
    clock_floor: float = 3.0
    clock_z: float = 4.5
    profile_share: float = 0.03
    profile_floor: float = 0.5
    late: float = 0.5
    error_ratio: float | None = None
    tail: float = 1.05
    calls: int = 3
    version: int = 3


CheckFunction = Callable[[KernelEvidence, Rules], Finding]
REGISTRY: dict[str, CheckFunction] = {}


def check(name: str) -> Callable[[CheckFunction], CheckFunction]:
    def register(function: CheckFunction) -> CheckFunction:
        REGISTRY[name] = function
        return function

    return register


def run(evidence: KernelEvidence, rules: Rules) -> list[Finding]:
    """Every check that is on, in order of the registry."""
    return [function(evidence, rules) for name, function in REGISTRY.items() if name not in rules.off]


def _passed(name: str, detail: str = "") -> Finding:
    return Finding(name, Says.PASSED, detail)


def _candidate(evidence: KernelEvidence) -> list[Call]:
    return evidence.of("A", timed=False)


@check("commitment")
def commitment(evidence: KernelEvidence, rules: Rules) -> Finding:
    """The secret revealed is the one committed to before the measurement."""
    if not evidence.secret:
        return Finding("commitment", Says.UNABLE, "the secret was not revealed")
    found = hashlib.sha256(bytes.fromhex(evidence.secret)).hexdigest()
    if found != evidence.commitment:
        return Finding(
            "commitment", Says.UNABLE, "the revealed secret is not the committed one: this record was altered"
        )
    return _passed("commitment")


@check("D1")
def structure(evidence: KernelEvidence, rules: Rules) -> Finding:
    """Plain outputs of the right count, shape, dtype and device at every call."""
    for call in _candidate(evidence):
        if call.structure:
            kind, _, detail = call.structure.partition(": ")
            return Finding(
                "D1",
                Says.INVALID,
                f"call {call.n}: {detail}",
                kind if kind in ("count", "shape", "dtype") else "structure",
                call.workload,
            )
    return _passed("D1")


@check("D2")
def right(evidence: KernelEvidence, rules: Rules) -> Finding:
    """Every output of every call within tolerance of the golden answer, overall and slice by slice."""
    calls = _candidate(evidence)
    if not calls:
        return Finding("D2", Says.UNABLE, "no call was validated")
    for call in calls:
        if call.structure:
            continue
        wanted = evidence.workloads[call.workload].tolerance
        if len(call.outputs) != len(wanted):
            return Finding("D2", Says.UNABLE, f"call {call.n} lacks a comparison")
        for facts in call.outputs:
            tolerance = Tolerance(**wanted[facts.name])
            if not passes(facts, tolerance):
                text = (
                    f"workload {evidence.workloads[call.workload].uuid}, {call.family} values: {why(facts, tolerance)}"
                )
                return Finding("D2", Says.INVALID, text, "value", call.workload)
    return _passed("D2", f"{len(calls)} calls validated")


@check("D3")
def coverage(evidence: KernelEvidence, rules: Rules) -> Finding:
    """Several value families were drawn, and hidden workloads where the rules ask for them."""
    seen = {call.family for call in _candidate(evidence)}
    if len(seen) < rules.families:
        return Finding("D3", Says.UNABLE, f"only {len(seen)} value families were drawn ({', '.join(sorted(seen))})")
    if rules.hidden and not any(w.hidden for w in evidence.workloads):
        return Finding("D3", Says.UNABLE, "no hidden workload was measured")
    return _passed("D3", f"{len(seen)} families")


@check("D4")
def inputs_kept(evidence: KernelEvidence, rules: Rules) -> Finding:
    """Inputs unchanged, guard bands intact (the worker's word: the referee keeps inputs of its own, so a lie gains nothing)."""
    for call in _candidate(evidence):
        if call.notes:
            return Finding("D4", Says.INVALID, f"call {call.n}: {call.notes[0]}", "contract", call.workload)
    return _passed("D4")


@check("D7")
def clock_support(evidence: KernelEvidence, rules: Rules) -> Finding:
    """The referee's clocks support the worker's claim: beyond the baseline's own overhead nothing is unexplained (clocks.py)."""
    if evidence.clock == "work":
        return _passed("D7", "simulated clock: not applicable")
    said = []
    for index in range(len(evidence.workloads)):
        found = support(evidence, index, rules)
        if not found:
            return Finding(
                "D7", Says.UNABLE, f"workload {index}: too few calls of candidate and baseline to compare clocks"
            )
        for one in found:
            if one.disputed:
                text = (
                    f"the referee's clock ({one.clock}) shows {one.excess:.1f} us a call that events do not "
                    f"(allowed {one.allowance:.1f} us): timing disputed"
                )
                return Finding("D7", Says.INVALID, text, "timing", index)
            said.append(one)
    tight = min(said, key=lambda one: one.allowance - one.excess, default=None)
    return _passed("D7", f"{tight.clock}: {tight.excess:.1f} of {tight.allowance:.1f} us" if tight else "")


def support(evidence: KernelEvidence, index: int, rules: Rules) -> list[clocks.Support]:
    """What the referee's clocks say of one workload. On a CPU the scheduler is given 20 ms."""
    floor = rules.clock_floor if evidence.clock != "real" else 20_000.0
    return clocks.supports(
        evidence.of("A", index), evidence.of("B", index), evidence.overhead, rules.clock_z, floor, rules.clock_share,
        rules.calls,
    )  # fmt: skip


@check("D8")
def quiet(evidence: KernelEvidence, rules: Rules) -> Finding:
    """While the gate held the GPU nothing of the candidate sat on it."""
    if evidence.clock not in ("gate", "gate-local"):
        return _passed("D8", "no GPU: not applicable")
    calls = _candidate(evidence)
    if any(not c.opened for c in calls):
        return Finding("D8", Says.UNABLE, "a gate gave up before the key came")
    short = [c for c in calls if c.held < evidence.sms]
    if len(short) > max(1, len(calls) // 20):
        return Finding(
            "D8",
            Says.AUDIT,
            f"in {len(short)} of {len(calls)} calls another kernel sat on {evidence.sms - short[0].held} or more SMs",
        )
    return _passed("D8")


@check("D10")
def precision(evidence: KernelEvidence, rules: Rules) -> Finding:
    """Error against the float64 golden, over the reference's own error: a contract is a precision class."""
    if not evidence.exact_golden:
        return _passed("D10", "no float64 golden for this problem: tolerances only")
    cap = rules.error_ratio if rules.error_ratio is not None else evidence.ratio_cap
    worst, where = 0.0, -1
    for index in range(len(evidence.workloads)):
        calls = [c for c in _candidate(evidence) if c.workload == index and not c.structure]
        for position in range(max((len(c.outputs) for c in calls), default=0)):
            share = _error_share(calls, position)
            if share > worst:
                worst, where = share, index
    if worst > cap:
        return Finding(
            "D10",
            Says.INVALID,
            f"error is {worst:.1f} times the reference's (allowed {cap:g}): a lower precision than asked",
            "precision",
            where,
        )
    return _passed("D10", f"{worst:.2f} of {cap:g}")


def _error_share(calls: Sequence[Call], position: int) -> float:
    """Median over calls of err / max(reference's err, rounding of the output)."""
    shares = []
    for call in calls:
        facts: OutputFacts = call.outputs[position]
        own = call.reference_error[position]
        if math.isfinite(facts.error):
            shares.append(facts.error / max(own, 3e-8))
    return median(shares) if shares else 0.0


@check("D12")
def census(evidence: KernelEvidence, rules: Rules) -> Finding:
    """Processes of the candidate's session, counted from outside: none may be left beside it after the calls."""
    end = evidence.census.get("end") or {}
    if "processes" not in end:
        return _passed("D12", "ended early") if evidence.fault else Finding("D12", Says.UNABLE, "no census was taken")
    before = (evidence.census.get("load") or {}).get("processes", 1)
    if end["processes"] > max(1, before) and evidence.language == "pytorch":
        names = "; ".join(str(name) for name in end.get("others", ()))
        text = f"{end['processes'] - 1} further processes live in the candidate's session" + (f": {names}" if names else "")
        return Finding("D12", Says.AUDIT, text[:400])
    return _passed("D12", f"{end['processes']} process, {end.get('threads')} threads")


@check("D5")
def repeatable(evidence: KernelEvidence, rules: Rules) -> Finding:
    """Champions: the same inputs give the same answer within the tolerance, and compute-sanitizer finds nothing."""
    repeat, tool = evidence.extras.get("repeat", {}), evidence.extras.get("sanitizer", {})
    if repeat.get("fault"):
        return Finding("D5", Says.INVALID, f"a repeated call failed: {repeat['fault']}"[:300], "crash")
    if repeat.get("beyond"):
        return Finding(
            "D5", Says.INVALID, f"the same inputs gave other answers on {', '.join(repeat['beyond'])[:200]}", "value"
        )
    if tool.get("found"):
        which, text = next(iter(tool["found"].items()))
        return Finding("D5", Says.INVALID, f"compute-sanitizer {which}: {text[-300:]}", "crash")
    share = max(repeat.get("differ", ()), default=0.0)
    said = f"{share:.2%} of elements differ when repeated" if repeat.get("ran") else "not asked"
    return _passed("D5", said + (f"; sanitizer: {tool['why']}" if tool.get("why") else ""))


@check("D13")
def ghost(evidence: KernelEvidence, rules: Rules) -> Finding:
    """Champions: with its own Triton launches left out the answer is wrong. One that launches kernels and does not need them
    has decoys; one that launches none has nothing to leave out."""
    found = evidence.extras.get("ghost", {})
    if found.get("launches") and found.get("right"):
        return Finding(
            "D13", Says.AUDIT, f"right without its {found['launches']} launches: its kernels do not make the answer"
        )
    return _passed("D13", str(found.get("why", "")) or f"{found.get('launches', 0)} launches left out")


@check("third clock")
def profiler(evidence: KernelEvidence, rules: Rules) -> Finding:
    """Champions: the profiler's span of the kernels supports the claim. The claim may be longer by an event pair's own time."""
    for row in evidence.extras.get("profiler", {}).get("workloads", ()):
        if row["profile_us"] - row["us"] > max(rules.profile_floor, rules.profile_share * row["us"]):
            text = f"the profiler sees {row['profile_us']:.1f} us of kernels where {row['us']:.1f} us are claimed: timing disputed"
            return Finding("third clock", Says.INVALID, text, "timing")
    return _passed("third clock", str(evidence.extras.get("profiler", {}).get("why", "")))


@check("D15")
def harness(evidence: KernelEvidence, rules: Rules) -> Finding:
    """The harness' own functions are what they were (the worker's word; second layer behind D7 and the referee's memory)."""
    if "changed" not in evidence.integrity:
        return Finding("D15", Says.UNABLE, "the worker did not report on the harness")
    if evidence.integrity["changed"]:
        return Finding("D15", Says.CHEAT, f"functions of the harness were replaced: {evidence.integrity['changed']}")
    return _passed("D15")


@dataclass(frozen=True, slots=True)
class Findings:
    """All findings, and the first that decides."""

    all: tuple[Finding, ...] = field(default_factory=tuple)

    def first(self, says: Says) -> Finding | None:
        return next((f for f in self.all if f.says is says), None)
