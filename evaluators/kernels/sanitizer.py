"""compute-sanitizer on a candidate: one call in a process of its own in the jail, memory errors and races as it reports them.

The tool instruments every access (10 to 100 times slower), so nothing is timed here. The program it runs knows nothing of this
project: it reads the candidate's files, raw inputs and a list of shapes from its folder.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from evolve.evaluators.kernels import inputs as values
from evolve.evaluators.kernels.definition import Problem, Workload
from evolve.evaluators.kernels.solution import Solution
from evolve.evaluators.sandbox import Command
from evolve.tasks.errors import SandboxError
from evolve.tasks.evidence import FailureKind

if TYPE_CHECKING:
    from evolve.evaluators.kernels.referee import Referee

TOOLS = ("memcheck", "racecheck")
FOUND = 9
"""Exit code that compute-sanitizer is asked for where it found something."""

SECONDS = 120.0

PROGRAM = """
import importlib.util, json, os, sys
told = json.load(open("told.json"))
if not told["again"]:  # an allocation of its own for each tensor, or a read past its end lands in the allocator's block unseen
    os.environ["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1"
import torch
sys.path.insert(0, "candidate")
spec = importlib.util.spec_from_file_location("candidate_entry", "candidate/" + told["file"])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
raw = open("inputs.bin", "rb").read()
given = []
for row in told["inputs"]:
    if "value" in row:
        given.append(row["value"])
        continue
    part = bytearray(raw[row["at"] : row["at"] + row["bytes"]])
    x = torch.frombuffer(part, dtype=torch.uint8) if part else torch.empty(0, dtype=torch.uint8)
    given.append(x.view(getattr(torch, row["dtype"])).view(row["shape"]).to(told["device"]))
given += [torch.zeros(r["shape"], dtype=getattr(torch, r["dtype"]), device=told["device"]) for r in told["outputs"]]
with torch.no_grad():
    getattr(module, told["name"])(*given)
    if told["device"] == "cuda":
        torch.cuda.synchronize()
    if told["again"]:  # compiled and tuned by now: this call is the one that is read
        torch.cuda.profiler.start()
        getattr(module, told["name"])(*given)
        torch.cuda.synchronize()
        torch.cuda.profiler.stop()
"""


def check(referee: Referee, problem: Problem, workload: Workload, solution: Solution, tool: str) -> dict[str, Any]:
    """{"ran", "why"} or {"ran": True, "found": {tool: last lines of its report}}. A crash of the candidate under the tool is
    found; a tool that does not start is not run."""
    ward = referee.nursery
    open_run = getattr(ward, "open_run", None)
    if not os.access(tool, os.X_OK):
        return {"ran": False, "why": "compute-sanitizer is not installed here"}
    if open_run is None:
        return {"ran": False, "why": "the workers are plain forks: no jail to run it in"}
    if solution.entry.partition("::")[0].endswith((".cu", ".cpp")):
        return {"ran": False, "why": "CUDA C++ sources are compiled in the worker only"}
    found: dict[str, str] = {}
    folder = Path(tempfile.mkdtemp(prefix="sanitizer-", dir=ward.scratch))
    try:
        write(folder, problem, workload, solution, referee.device)
        for which in TOOLS:
            try:
                outcome = open_run(Command(argv(tool, which), folder, wall=SECONDS))
            except SandboxError as error:
                return {"ran": False, "why": f"the jail failed: {error}"[:300]}
            if outcome.code == FOUND:
                found[which] = "\n".join((outcome.stdout + outcome.stderr).strip().splitlines()[-12:])[-1500:]
            elif outcome.failure is not None and outcome.failure.kind is FailureKind.TIMEOUT:
                return {"ran": False, "why": f"{which} took more than {SECONDS:g} s"}
            elif outcome.code != 0:
                return {
                    "ran": False,
                    "why": f"{which} ended with {outcome.code}: {(outcome.stderr or outcome.stdout)[-300:]}",
                }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"ran": True, "found": found}


def argv(tool: str, which: str) -> tuple[str, ...]:
    """The command line inside the jail, where the folder is the working directory."""
    return tool, "--tool", which, "--error-exitcode", str(FOUND), sys.executable, "-I", "program.py"


def write(
    folder: Path, problem: Problem, workload: Workload, solution: Solution, device: str, *, again: bool = False
) -> None:  # fmt: skip
    """The candidate's files, inputs of this workload and the program into an empty folder. again: a second call on a GPU, between
    the profiler's start and stop."""
    given = values.make(problem, workload, int.from_bytes(os.urandom(6), "little"), "default", "cpu")
    rows: list[dict[str, Any]] = []
    with (folder / "inputs.bin").open("wb") as file:
        for x in given.values():
            if not isinstance(x, torch.Tensor):
                rows.append({"value": x})
                continue
            raw = x.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if x.numel() else b""
            name = str(x.dtype).removeprefix("torch.")
            rows.append({"at": file.tell(), "bytes": len(raw), "dtype": name, "shape": list(x.shape)})
            file.write(raw)
    outputs = []
    if solution.passing:
        sizes = problem.definition.sizes(workload.axes)
        for spec in problem.definition.outputs.values():
            dtype = str(values.dtype_of(spec.dtype)).removeprefix("torch.")
            outputs.append({"dtype": dtype, "shape": list(problem.definition.shape(spec, sizes) or [])})
    file_name, _, entry = solution.entry.partition("::")
    for name, text in solution.sources.items():
        path = folder / "candidate" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    told = {"file": file_name, "name": entry, "inputs": rows, "outputs": outputs, "device": device, "again": again}
    (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
