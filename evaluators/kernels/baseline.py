"""T_b: the best of eager PyTorch, torch.compile and (matrix products) max-autotune, stored per machine fingerprint.

A stored baseline is only an anchor: at use the fastest variant is measured again in blocks that alternate with the
candidate's, in a process of its own (a candidate cannot slow it down by patching torch), and
T_k = (T_candidate / T_anchor) x the anchor's stored seconds. T_b is the workload's fastest stored variant.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evolve.evaluators.kernels.definition import Problem
from evolve.evaluators.kernels.solution import Solution
from evolve.tasks.errors import UsageError
from evolve.tasks.records import from_json, to_json

VARIANTS = ("eager", "compile", "max-autotune")
FAMILIES = frozenset({"gemm"})
"""Families of the pack for which max-autotune is tried: it pays where torch has products to choose among."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """One workload's. seconds: variant -> median; spread: relative half-width of its 95% interval; when: seconds since 1970."""

    problem: str
    definition: str
    workload: str
    machine: str
    device: str
    seconds: Mapping[str, float]
    spread: float = 0.0
    calls: int = 0
    libraries: Mapping[str, str] = field(default_factory=dict)
    when: float = 0.0
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def best(self) -> tuple[str, float]:
        """(variant, seconds) of the fastest. Raises UsageError where no variant ran."""
        if not self.seconds:
            raise UsageError(
                f"{self.problem}/{self.workload}: no baseline variant ran on {self.device}: {dict(self.failed)}"
            )
        return min(self.seconds.items(), key=lambda item: item[1])


class Baselines:
    """A JSON-lines file a machine; the newest line of a key wins. Appends are one write, so that processes may share it."""

    def __init__(self, folder: Path, machine: str) -> None:
        self.machine = machine
        self.path = folder / f"baselines-{machine}.jsonl"
        self._known: dict[tuple[str, str], Baseline] = {}
        self._read = 0

    def get(self, definition: str, workload: str) -> Baseline | None:
        """The stored baseline of (definition digest, workload key) on this machine, or None."""
        self._refresh()
        return self._known.get((definition, workload))

    def put(self, baseline: Baseline) -> None:
        if baseline.machine != self.machine:
            raise UsageError(
                f"a baseline of machine {baseline.machine} cannot serve machine {self.machine}; measure it here"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(to_json(baseline), sort_keys=True, allow_nan=False) + "\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
        self._known[baseline.definition, baseline.workload] = baseline

    def _refresh(self) -> None:
        if not self.path.exists() or self.path.stat().st_size == self._read:
            return
        text = self.path.read_text(encoding="utf-8")
        self._read = len(text.encode())
        for line in text.splitlines():
            if line.strip():
                item = from_json(Baseline, json.loads(line))
                self._known[item.definition, item.workload] = item


def now() -> float:
    return time.time()


def variant(problem: Problem, name: str) -> Solution:
    """The solution that a variant is. torch.compile may not fall back to eager in silence (docs/kernels.md)."""
    text = problem.definition.reference
    if name != "eager":
        option = "" if name == "compile" else ", mode='max-autotune-no-cudagraphs'"
        # a scalar is a new value at every call: with dynamic=False each would be compiled anew
        scalars = any(spec.shape is None for spec in problem.definition.inputs.values())
        text = text.replace("def run(", "def eager(", 1) + (
            "\n\nimport torch._dynamo\ntorch._dynamo.reset()\ntorch._dynamo.config.fail_on_recompile_limit_hit = True\n"
            f"run = torch.compile(eager, dynamic={None if scalars else False}{option})\n"
        )
    return Solution({"reference.py": text}, "reference.py::run", "pytorch")


def variants(problem: Problem) -> tuple[str, ...]:
    """Those worth a try on a problem."""
    return VARIANTS if problem.family in FAMILIES else VARIANTS[:2]


def anchor(problem: Problem, stored: Mapping[str, Baseline]) -> str:
    """The variant that the baseline's worker runs: the fastest over all stored workloads, by geometric mean; "eager" where
    nothing is stored. A variant that some workload lacks is none."""
    common = [v for v in VARIANTS if stored and all(v in b.seconds for b in stored.values())]
    if not common:
        return "eager"
    return min(common, key=lambda v: sum(math.log(b.seconds[v]) for b in stored.values()))
