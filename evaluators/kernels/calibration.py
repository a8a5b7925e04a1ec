"""What is measured once a machine and kept: how much honest workers' clocks differ (D7), and every baseline (T_b).

Both are asked of the same referee that measures candidates, one ordinary measurement at a time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from evolve.evaluators.kernels import baseline, clocks
from evolve.evaluators.kernels.baseline import Baseline, Baselines
from evolve.evaluators.kernels.definition import Problem, Workload
from evolve.evaluators.kernels.judge import judge_kernel, times
from evolve.evaluators.kernels.plan import Plan
from evolve.evaluators.kernels.referee import Referee
from evolve.evaluators.timing.blocks import ratio
from evolve.tasks.errors import InfrastructureError, UsageError
from evolve.tasks.records import from_json, to_json
from evolve.tasks.verdict import Status

PAIRS, CALLS = 4, 10
"""Pairs of workers and calls of each that calibrate the clocks."""

BASELINE = Plan(workloads=0, blocks=3, calls=8, warm=3, seconds=120.0, load=300.0, keep=True)
"""How a baseline variant is measured against eager: the compiler gets its first calls as warm-up."""


def folder() -> Path:
    """Where this user's measured facts of machines lie."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "evolve" / "kernels"


@dataclass(frozen=True, slots=True)
class Overhead:
    """between: clock -> microseconds (clocks.between) that two honest workers differ by. workers: how many said so."""

    machine: str
    between: Mapping[str, float]
    workers: int
    when: float = 0.0


def overhead(referee: Referee, problem: Problem, machine: str, pairs: int = PAIRS, calls: int = CALLS) -> Overhead:
    """Measure it: `pairs` fresh pairs of workers that run the problem's reference. Raises InfrastructureError."""
    plan = Plan(workloads=1, blocks=2, calls=calls, stop=False)
    seen: dict[str, list[list[float]]] = {}
    for _ in range(pairs):
        evidence = referee.measure(problem, baseline.variant(problem, "eager"), plan)
        if evidence.fault is not None:
            raise InfrastructureError(f"calibrating the clocks failed: {evidence.fault.message}")
        for side in "AB":
            for clock in clocks.NAMES:
                if values := clocks.overheads(evidence.of(side, 0), clock):
                    seen.setdefault(clock, []).append(values)
    between = {clock: clocks.between(rows) for clock, rows in seen.items() if len(rows) >= 3}
    return Overhead(machine, between, 2 * pairs, baseline.now())


class Overheads:
    """One JSON file a machine; kept until the machine's fingerprint (hardware, driver, kernel, libraries) changes."""

    def __init__(self, where: Path, machine: str) -> None:
        self.machine, self.path = machine, where / f"clocks-{machine}.json"

    def get(self) -> Overhead | None:
        if not self.path.is_file():
            return None
        return from_json(Overhead, json.loads(self.path.read_text(encoding="utf-8")))

    def put(self, found: Overhead) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(to_json(found), sort_keys=True), encoding="utf-8")
        part.replace(self.path)


def baselines(
    referee: Referee, problem: Problem, workloads: Sequence[Workload], store: Baselines,
    say: Callable[[str], None] = lambda line: None, only: Sequence[str] = (),
) -> dict[str, Baseline]:  # fmt: skip
    """The stored baselines of these workloads, by uuid; what is missing is measured first and stored.

    Each variant runs against eager in alternating blocks; one that does not pass its checks is recorded as failed and is no
    baseline. Raises UsageError where not even eager runs.
    """
    digest = problem.definition.digest()
    found = {w.uuid: store.get(digest, key(w)) for w in workloads}
    missing = [w for w in workloads if found[w.uuid] is None]
    if missing:
        for made in _measured(referee, replace(problem, workloads=tuple(missing)), store.machine, say, only):
            store.put(made)
        found = {w.uuid: store.get(digest, key(w)) for w in workloads}
    return {uuid: item for uuid, item in found.items() if item is not None}


def key(workload: Workload) -> str:
    """What names a workload in the store: its sizes and scalars, whatever it is called."""
    scalars = {name: given.value for name, given in workload.inputs.items() if given.kind == "scalar"}
    return json.dumps([dict(workload.axes), scalars], sort_keys=True)


def _measured(
    referee: Referee, problem: Problem, machine: str, say: Callable[[str], None], only: Sequence[str]
) -> list[Baseline]:
    seconds: dict[str, dict[str, float]] = {w.uuid: {} for w in problem.workloads}
    spread: dict[str, float] = {}
    failed: dict[str, str] = {}
    libraries: Mapping[str, str] = {}
    for name in only or baseline.variants(problem):
        say(f"{problem.name}: baseline {name}")
        evidence = referee.measure(problem, baseline.variant(problem, name), BASELINE)
        libraries = evidence.libraries
        verdict = judge_kernel(evidence)
        bound = verdict.kind == "bound"  # a bound above the baseline is the bound's fault: the time stands
        if verdict.status is not Status.SCORED and not bound:
            failed[name] = f"{verdict.kind}: {verdict.reason}"[:300]
            continue
        for index, workload in enumerate(problem.workloads):
            ours, theirs = times(evidence.of("A", index), 1e12), times(evidence.of("B", index), 1e12)
            eager = median(t for block in theirs.values() for t in block)
            one = ratio(ours, theirs)
            seconds[workload.uuid].setdefault("eager", eager)
            if name != "eager":
                seconds[workload.uuid][name] = one.value * seconds[workload.uuid]["eager"]
            spread[workload.uuid] = max(spread.get(workload.uuid, 0.0), one.width)
    if not any(seconds.values()):
        raise UsageError(f"{problem.name}: no baseline runs on {referee.name}: {failed}")
    return [
        Baseline(
            problem.name, problem.definition.digest(), key(w), machine, referee.name, seconds[w.uuid],
            spread.get(w.uuid, 0.0), BASELINE.blocks * BASELINE.calls, dict(libraries), baseline.now(), failed,
        )
        for w in problem.workloads if seconds[w.uuid]
    ]  # fmt: skip


def machine_key(fingerprint: str, facts: Mapping[str, Any]) -> str:
    """The machine's fingerprint with the libraries that make the baselines: another torch is another T_b."""
    words = [str(facts[name]) for name in ("torch", "cuda", "triton") if facts.get(name)]
    return "-".join([fingerprint, *(word.replace("/", "_") for word in words)])
