"""What the card's own counters say of a champion's kernels: ncu on one call, in a process of its own in the jail.

Nothing is judged by it. It is what the next mutation is told: memory or arithmetic, occupancy reached, what warps wait for.
Counters are often for administrators only (NVreg_RestrictProfilingToAdminUsers); then it says so, and nothing else changes. It
runs in the jail as all of a candidate's code does: where the jail keeps the counters out, they stay unread.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolve.evaluators.kernels import sanitizer
from evolve.evaluators.kernels.definition import Problem, Workload
from evolve.evaluators.kernels.solution import Solution
from evolve.evaluators.sandbox import Command
from evolve.tasks.errors import SandboxError

if TYPE_CHECKING:
    from evolve.evaluators.kernels.referee import Referee

NCU = "/usr/local/cuda/bin/ncu"
SECONDS = 90.0
LAUNCHES = 12
"""Kernel launches of the call that are read, from its first."""

METRICS = {
    "us": "gpu__time_duration.sum",
    "dram": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "sm": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "l2_hits": "lts__t_sector_hit_rate.pct",
    "occupancy": "sm__warps_active.avg.pct_of_peak_sustained_active",
    "registers": "launch__registers_per_thread",
}
"""Ours -> ncu's. us: nanoseconds there. dram, sm: percent of the peak that can be sustained. occupancy: percent of warps."""

WAITS = {
    "memory": "long_scoreboard",
    "shared memory": "short_scoreboard",
    "a barrier": "barrier",
    "the arithmetic units": "math_pipe_throttle",
    "the memory queue": "lg_throttle",
    "the shared memory queue": "mio_throttle",
    "instructions": "no_instruction",
    "fixed latency": "wait",
}
"""What a warp waits for -> ncu's name of the stall."""

STALL = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"


def check(referee: Referee, problem: Problem, workload: Workload, solution: Solution, tool: str = "") -> dict[str, Any]:
    """{"ran", "why"} or {"ran": True, "kernels": [{"name", "us", "dram", "sm", "l2_hits", "occupancy", "registers", "waits"}]}."""
    tool = tool or shutil.which("ncu") or NCU
    open_run = getattr(referee.nursery, "open_run", None)
    if referee.device != "cuda":
        return {"ran": False, "why": "counters of the GPU need a GPU"}
    if not os.access(tool, os.X_OK):
        return {"ran": False, "why": "ncu is not installed here"}
    if open_run is None:
        return {"ran": False, "why": "the workers are plain forks: no jail to run it in"}
    if solution.entry.partition("::")[0].endswith((".cu", ".cpp")):
        return {"ran": False, "why": "CUDA C++ sources are compiled in the worker only"}
    folder = Path(tempfile.mkdtemp(prefix="counters-", dir=referee.nursery.scratch))
    said = ""
    try:
        sanitizer.write(folder, problem, workload, solution, referee.device, again=True)
        for waits in (True, False):  # a tool that lacks one of the stalls still knows the rest
            try:
                outcome = open_run(Command(argv(tool, waits), folder, wall=SECONDS))
            except SandboxError as error:
                return {"ran": False, "why": f"the jail failed: {error}"[:300]}
            if rows := read(outcome.stdout):
                return {"ran": True, "kernels": rows}
            said = (outcome.stdout + outcome.stderr).strip()
            if "ERR_NVGPUCTRPERM" in said:
                return {"ran": False, "why": "the driver lets only administrators read the card's counters"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"ran": False, "why": f"ncu read nothing: {said[-300:]}"}


def argv(tool: str, waits: bool = True) -> tuple[str, ...]:
    """The command line inside the jail, where the folder is the working directory."""
    names = [*METRICS.values(), *(STALL.format(name) for name in WAITS.values() if waits)]
    return (
        tool, "--csv", "--print-units", "base", "--profile-from-start", "off", "--launch-count", str(LAUNCHES),
        "--metrics", ",".join(names), sys.executable, "-I", "program.py",
    )  # fmt: skip


def read(text: str) -> list[dict[str, Any]]:
    """Kernels of ncu's CSV (one row a kernel and metric), in the order of their launches; [] where it holds no table.

    waits: the three longest stalls in instructions issued, [what, ratio].
    """
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        return []
    found: dict[str, dict[str, Any]] = {}
    values: dict[str, dict[str, float]] = {}
    for row in csv.DictReader(io.StringIO("\n".join(lines[start:]))):
        number, name, metric = row.get("ID"), row.get("Kernel Name"), row.get("Metric Name")
        value = _number(row.get("Metric Value"))
        if number is None or name is None or metric is None or value is None:
            continue
        found.setdefault(number, {"name": name[:80]})
        values.setdefault(number, {})[metric] = value
    for number, kernel in found.items():
        seen = values[number]
        kernel |= {ours: round(seen[theirs], 2) for ours, theirs in METRICS.items() if theirs in seen}
        if "us" in kernel:
            kernel["us"] = round(seen[METRICS["us"]] / 1e3, 2)
        stalls: list[tuple[str, float]] = [(what, round(seen[STALL.format(name)], 2)) for what, name in WAITS.items() if STALL.format(name) in seen]
        kernel["waits"] = [list(stall) for stall in sorted(stalls, key=lambda stall: -stall[1])[:3]]
    return list(found.values())[:LAUNCHES]


def _number(text: str | None) -> float | None:
    try:
        return float((text or "").replace(",", ""))
    except ValueError:
        return None


def sentence(kernel: Mapping[str, Any]) -> str:
    """One line a model reads; what was not read is left out."""
    parts = []
    if "us" in kernel:
        parts.append(f"{kernel['us']} us")
    for key, said in (("dram", "{:.0f}% of the memory's peak"), ("sm", "{:.0f}% of the SMs' peak"),
                      ("occupancy", "{:.0f}% of warps resident"), ("l2_hits", "{:.0f}% of L2 accesses hit")):  # fmt: skip
        if key in kernel:
            parts.append(said.format(kernel[key]))
    if kernel.get("waits"):
        parts.append("warps wait for " + ", ".join(f"{what} ({ratio:.1f})" for what, ratio in kernel["waits"]))
    return f"counters of {kernel['name']}: " + ", ".join(parts)
