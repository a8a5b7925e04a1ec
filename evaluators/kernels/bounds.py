"""T_SOL: the time below which no kernel can do the work, from declared traffic and counted FLOPs, with its provenance.

    T_SOL = max(bytes / DRAM bandwidth, multiply-adds / (multiply-adds per cycle x highest clock))

A *lower bound on time* uses datasheet bandwidth and the highest clock the card can reach. Each input is read once and each
output written once (a problem that gathers declares its own bytes); only work on tensor cores is counted as compute, at
the dtype it is done in. The roofline ignores launch latency, so it is far off for tiny problems: headroom is shown beside
every score (docs/kernels.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evolve.evaluators.kernels.definition import ITEMSIZE, Problem, Workload
from evolve.tasks.errors import UsageError


@dataclass(frozen=True, slots=True)
class Machine:
    """macs: dtype -> multiply-adds per cycle of the whole card; clock in Hz (highest); dram in bytes/s; l2 in bytes."""

    name: str
    sms: int
    clock: float
    dram: float
    l2: int
    macs: Mapping[str, float]
    provenance: str


def _hopper(name: str, dram: float, l2: int) -> Machine:
    # 132 SMs x 2048 bf16 multiply-adds a cycle: 989.4 TFLOP/s at 1.83 GHz, the datasheet's figure
    macs = {
        "bfloat16": 270_336.0,
        "float16": 270_336.0,
        "tf32": 135_168.0,
        "float8_e4m3fn": 540_672.0,
        "float8_e5m2": 540_672.0,
        "int8": 540_672.0,
        "float32": 16_896.0,
    }
    return Machine(name, 132, 1.98e9, dram, l2, macs, "132 SMs x datasheet rate, 1.98 GHz max boost, datasheet DRAM")


MACHINES: Mapping[str, Machine] = {
    "H100": _hopper("H100", 3.35e12, 50 << 20),
    "H200": _hopper("H200", 4.8e12, 60 << 20),
    # SOLAR's B200.yaml @ d3524c4, the leaderboard's locked 1.5 GHz
    "B200": Machine(
        "B200",
        148,
        1.5e9,
        5111.6 * 1.5e9,
        192 << 20,
        {
            "bfloat16": 603_751.0,
            "float16": 603_751.0,
            "tf32": 301_875.0,
            "float8_e4m3fn": 1_207_501.0,
            "float8_e5m2": 1_207_501.0,
            "int8": 1_207_501.0,
            "float32": 40_251.0,
            "float4_e2m1fn_x2": 2_415_000.0,
        },
        "SOLAR B200.yaml, clock locked at 1.5 GHz",
    ),
    # a stand-in for tests: slow enough that milliseconds on a CPU are above its bound
    "CPU": Machine(
        "CPU",
        1,
        1e9,
        1e11,
        1 << 20,
        {"float32": 64.0, "bfloat16": 64.0, "tf32": 64.0, "float16": 64.0, "float8_e4m3fn": 64.0, "int8": 64.0},
        "stand-in for tests",
    ),
}


def machine(device_name: str) -> Machine:
    """The table for a device's reported name ("NVIDIA H100 80GB HBM3"). Raises UsageError where none fits."""
    for key, table in MACHINES.items():
        if key.lower() in device_name.lower() and "pcie" not in device_name.lower():
            return table
    raise UsageError(
        f"no speed-of-light table for {device_name!r} (known: {', '.join(MACHINES)}); scores need one: see docs/kernels.md"
    )


@dataclass(frozen=True, slots=True)
class Bound:
    """seconds = max(memory, compute), each in seconds; provenance says where bytes and FLOPs came from."""

    seconds: float
    memory: float
    compute: float
    bytes: float
    flops: float
    math: str
    provenance: str


def bound(problem: Problem, workload: Workload, on: Machine, flops: float | None = None) -> Bound:
    """T_SOL of one workload. flops: counted by the caller (`count_flops`) where the problem declares none."""
    sizes = problem.definition.sizes(workload.axes)
    if problem.bytes_moved is not None:
        moved, said = float(problem.bytes_moved(sizes)), "declared bytes (override)"
    else:
        specs = (*problem.definition.inputs.values(), *problem.definition.outputs.values())
        moved, said = (
            float(sum(problem.definition.nbytes(spec, sizes) for spec in specs)),
            "declared bytes (in once, out once)",
        )
    if problem.flops is not None:
        work, origin = float(problem.flops(sizes)), "reviewed FLOPs (override)"
    elif flops is not None:
        work, origin = float(flops), "FLOPs counted over the reference"
    else:
        work, origin = 0.0, "no tensor-core work"
    math = problem.math or narrowest(problem)
    # an fp32 contract that permits tensor cores may run at tf32; pricing at the faster rate keeps the bound a bound
    rate = on.macs.get("tf32" if math == "float32" else math, on.macs["bfloat16"])
    memory, compute = moved / on.dram, work / 2 / (rate * on.clock)
    return Bound(
        max(memory, compute), memory, compute, moved, work, math, f"{said}; {origin} at {math}; {on.provenance}"
    )


def narrowest(problem: Problem) -> str:
    """The narrowest floating dtype among tensor inputs (scalars ignored): the rate a kernel may use."""
    dtypes = [
        spec.dtype
        for spec in problem.definition.inputs.values()
        if spec.shape and spec.dtype.startswith(("float", "bfloat"))
    ]
    return min(dtypes, key=lambda name: ITEMSIZE[name], default="float32")


def count_flops(problem: Problem, workload: Workload) -> float | None:
    """FLOPs of the reference's matrix products on meta tensors (torch's FlopCounterMode); None where it cannot run there
    (it reads values), so that a bound says so instead of guessing."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from evolve.evaluators.kernels.compare import reference
    from evolve.evaluators.kernels.inputs import dtype_of

    sizes = problem.definition.sizes(workload.axes)
    given: list[object] = []
    for name, spec in problem.definition.inputs.items():
        shape = problem.definition.shape(spec, sizes)
        if shape is None:
            value = workload.inputs[name].value
            given.append(1.0 if value is None else value)
        else:
            given.append(torch.empty(shape, dtype=dtype_of(spec.dtype), device="meta"))
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            reference(problem)(*given)
    except (RuntimeError, NotImplementedError, AssertionError, TypeError, ValueError):
        return None
    return float(counter.get_total_flops())
