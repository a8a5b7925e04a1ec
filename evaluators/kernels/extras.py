"""Further checks of champions, after the timed blocks and in the same worker: same inputs twice (D5), launches left out
(D13), torch's profiler as a third clock; and on runs of their own compute-sanitizer (D5) and ncu (counters.py, only told).

Each is an entry of `KernelEvidence.extras`: {"ran": bool, "why": why not, ...what it saw}. Judged in checks.py; one that could
not run here says why and counts for nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from evolve.evaluators.kernels import counters, sanitizer
from evolve.evaluators.kernels import inputs as values
from evolve.evaluators.kernels.compare import compare
from evolve.evaluators.kernels.definition import Problem, Workload
from evolve.evaluators.kernels.evidence import Fault
from evolve.evaluators.kernels.outputs import passes
from evolve.evaluators.kernels.solution import Solution

if TYPE_CHECKING:
    from evolve.evaluators.kernels.plan import Plan
    from evolve.evaluators.kernels.referee import Referee

PROFILES = 3
"""Calls a workload under the profiler."""


def run(
    referee: Referee, problem: Problem, plan: Plan, chosen: Sequence[Workload], side: Any, secret: bytes, n: int,
    solution: Solution,
) -> dict[str, Any]:  # fmt: skip
    """All of them. A candidate that fails one by a crash has that in the entry's "fault"."""
    caller = _Caller(referee, problem, plan, side, secret, n)
    return {
        "repeat": _repeat(caller, chosen),
        "ghost": _ghost(caller, chosen, solution),
        "profiler": _profiler(caller, chosen),
        "sanitizer": sanitizer.check(
            referee, problem, chosen[0], solution, shutil.which("compute-sanitizer") or SANITIZER
        ),
        "counters": counters.check(referee, problem, chosen[0], solution),
    }


SANITIZER = "/usr/local/cuda/bin/compute-sanitizer"


class _Caller:
    """Calls with numbers behind the timed ones'."""

    def __init__(self, referee: Referee, problem: Problem, plan: Plan, side: Any, secret: bytes, n: int) -> None:
        self.referee, self.problem, self.plan, self.side, self.secret, self.n = referee, problem, plan, side, secret, n

    def call(self, workload: Workload, index: int, given: Mapping[str, Any], mode: str = "") -> Any:
        self.n += 1
        return self.referee.exchange(
            self.problem, workload, self.side, self.plan, self.secret, self.n, index, given, mode
        )

    def given(self, workload: Workload, index: int, purpose: str) -> Mapping[str, Any]:
        from evolve.evaluators.kernels.referee import draw

        seed = draw(self.secret, self.n + 1, f"values of {purpose} {index}")
        return values.make(self.problem, workload, seed, "default", self.referee.device)


def _repeat(caller: _Caller, chosen: Sequence[Workload]) -> dict[str, Any]:
    """D5: the same inputs at other addresses. Per workload the share of elements that differ; `beyond` where by more than the
    tolerance."""
    shares, beyond = [], []
    for index, workload in enumerate(chosen):
        given = caller.given(workload, index, "repeat")
        first, second = (caller.call(workload, index, given) for _ in range(2))
        for found in (first, second):
            if isinstance(found, Fault):
                return {"ran": True, "fault": found.message}
        share = 0.0
        for (name, spec), x, y in zip(caller.problem.definition.outputs.items(), first[2], second[2], strict=False):
            if x.numel() and x.shape == y.shape:
                share = max(share, float((x != y).double().mean()))
            tolerance = caller.problem.tolerance(workload, name)
            if not passes(
                compare(name, x, y.double() if y.is_floating_point() else y, tolerance, spec.dtype), tolerance
            ):
                beyond.append(workload.uuid)
        shares.append(share)
    return {"ran": True, "differ": shares, "beyond": sorted(set(beyond))}


def _ghost(caller: _Caller, chosen: Sequence[Workload], solution: Solution) -> dict[str, Any]:
    """D13: the candidate's Triton launches left out. `right`: workloads whose output was right all the same."""
    if solution.language != "triton":
        return {"ran": False, "why": f"only Triton launches can be left out, not {solution.language}'s"}
    right, launches = [], 0
    for index, workload in enumerate(chosen):
        given = caller.given(workload, index, "ghost")
        wanted, _ = caller.referee.answers(caller.problem, given)
        found = caller.call(workload, index, given, "ghost")
        if isinstance(found, Fault):
            return {"ran": True, "launches": launches, "right": [], "fault": found.message}
        answer, _, got = found
        count = answer.get("launches")
        launches += count if isinstance(count, int) else 0
        same = not answer.get("structure") and all(
            passes(
                compare(name, x, y, caller.problem.tolerance(workload, name), spec.dtype),
                caller.problem.tolerance(workload, name),
            )
            for (name, spec), x, y in zip(caller.problem.definition.outputs.items(), got, wanted, strict=False)
        )
        if same:
            right.append(workload.uuid)
    return {"ran": True, "launches": launches, "right": right}


def _profiler(caller: _Caller, chosen: Sequence[Workload]) -> dict[str, Any]:
    """The third clock: per workload the median span of the candidate's kernels and the median claim, microseconds."""
    if caller.referee.device != "cuda":
        return {"ran": False, "why": "a profile of the GPU needs a GPU"}
    rows = []
    for index, workload in enumerate(chosen):
        spans, claims = [], []
        names: list[str] = []
        for _ in range(PROFILES):
            found = caller.call(workload, index, caller.given(workload, index, "profile"), "profile")
            if isinstance(found, Fault):
                return {"ran": False, "why": f"the call under the profiler failed: {found.message[:200]}"}
            span = found[0].get("profile_us")
            if not isinstance(span, int | float) or span <= 0:
                return {"ran": False, "why": "the profiler saw no kernel: CUPTI is not readable here"}
            spans.append(float(span))
            claims.append(float(found[0]["us"]))
            names = [str(x) for x in found[0].get("kernels", ())][:16]
        rows.append({"workload": workload.uuid, "profile_us": median(spans), "us": median(claims), "kernels": names})
    return {"ran": True, "workloads": rows}
