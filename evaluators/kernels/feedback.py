"""Facts for the next mutation: where the time is against both limits, what the card achieved, what the compiler said."""

from __future__ import annotations

from typing import Any

from evolve.evaluators.kernels import counters
from evolve.evaluators.kernels.evidence import KernelEvidence
from evolve.evaluators.kernels.judge import KernelVerdict

IDLE = 0x1
"""The throttle bit of a card that has nothing to do (NVML: GpuIdle), which a reading between two calls may show."""


def facts(evidence: KernelEvidence, verdict: KernelVerdict) -> dict[str, Any]:
    """Plain JSON: per workload times in microseconds, share of bandwidth and of FLOP/s at the bound, limiter; compiler's
    registers and spills where known; the reason of a failure, trimmed."""
    rows = []
    for facts_of, row in zip(evidence.workloads, verdict.workloads, strict=False):
        rows.append(
            {
                "workload": facts_of.uuid,
                "axes": dict(facts_of.axes),
                "us": round(row.time * 1e6, 3),
                "interval_us": [round(row.low * 1e6, 3), round(row.high * 1e6, 3)],
                "baseline_us": round(row.baseline * 1e6, 3),
                "speed_of_light_us": round(row.bound * 1e6, 3),
                "share_of_speed_of_light": round(row.bound / row.time, 4),
                "gb_per_s": round(facts_of.bytes / row.time / 1e9, 1),
                "tflop_per_s": round(facts_of.flops / row.time / 1e12, 2),
                "score": row.score,
                "note": row.note,
            }
        )
    return {
        "status": verdict.status.value,
        "reason": verdict.reason[:2000],
        "workloads": rows,
        "compiler": dict(evidence.compiler),
        "label": verdict.label,
        "card": card(evidence),
        "counters": list(evidence.extras.get("counters", {}).get("kernels", ()))[:8],
        "notes": [f["what"] for f in evidence.screen if f.get("level") == "note"][:8],
    }


def card(evidence: KernelEvidence) -> dict[str, Any]:
    """Clocks and throttle reasons over all turns of the measurement; empty where none were read."""
    clocks = [row["sm_mhz"] for row in evidence.clocks if "sm_mhz" in row]
    if not clocks:
        return {}
    reasons = 0
    for row in evidence.clocks:
        reasons |= int(row.get("throttle", 0))
    return {
        "sm_mhz": [min(clocks), max(clocks)],
        "throttle": reasons & ~IDLE,
        "temperature_c": max((row.get("temperature_c", 0.0) for row in evidence.clocks), default=0.0),
    }


WARPS, REGISTERS, SHARED, BLOCKS = 64, 65_536, 228 << 10, 32
"""An SM of compute capability 9.0 and 10.0: resident warps, registers, shared memory in bytes, resident blocks."""


def occupancy(registers: int, shared: int, warps: int) -> tuple[float, str]:
    """Share of an SM's warps that can be resident, and what limits it.

    Rules of CUDA's occupancy calculator for 9.0: a warp takes its threads' registers in steps of 256, a block 1 KiB of shared
    memory beside its own, in steps of 128 bytes.
    """
    a_warp = -(-max(registers, 1) * 32 // 256) * 256
    a_block = -(-(shared + 1024) // 128) * 128
    fits = {
        "warps": WARPS // warps,
        "registers": REGISTERS // a_warp // warps,
        "shared memory": SHARED // a_block,
        "blocks": BLOCKS,
    }
    limit = min(fits, key=lambda name: fits[name])
    return min(fits.values()) * warps / WARPS, limit


def _occupancy(kernel: dict[str, Any]) -> str:
    numbers = [kernel.get(name) for name in ("registers", "shared", "warps")]
    if not all(isinstance(x, int) and x >= 0 for x in numbers) or not numbers[2]:
        return ""
    share, limit = occupancy(*(int(x or 0) for x in numbers))
    return f", occupancy {share:.0%} (limited by {limit})"


def sentence(found: dict[str, Any]) -> str:
    """The same in a few lines a model reads."""
    if not found["workloads"]:
        return f"{found['status']}: {found['reason']}"
    lines = [f"{found['status']} ({found['label']})" + (f": {found['reason']}" if found["reason"] else "")]
    for row in found["workloads"]:
        lines.append(
            f"{row['axes']}: {row['us']} us against {row['baseline_us']} us baseline and "
            f"{row['speed_of_light_us']} us speed of light "
            f"({row['gb_per_s']} GB/s, {row['tflop_per_s']} TFLOP/s)" + (f"; {row['note']}" if row["note"] else "")
        )
    for kernel in found["compiler"].get("kernels", []):
        lines.append(
            f"kernel {kernel['name']}: {kernel['registers']} registers, {kernel['spills']} spilled, "
            f"{kernel['shared']} bytes of shared memory" + _occupancy(kernel)
        )
    lines += [counters.sentence(kernel) for kernel in found.get("counters", ())]
    if found.get("card", {}).get("throttle"):
        lines.append(
            f"the card held its clocks down meanwhile (reasons {found['card']['throttle']:#x}): compare with care"
        )
    return "\n".join(lines)
