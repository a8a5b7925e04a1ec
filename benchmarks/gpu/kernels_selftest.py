"""Does the gate work on this card? First of all scripts: ~40 s. Prints what each part found and goes on after a failure."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from kernels_common import Raw, arguments, machine_facts, open_referee

from evolve.evaluators.kernels import pack
from evolve.evaluators.kernels.judge import judge_kernel
from evolve.evaluators.kernels.plan import Plan
from evolve.evaluators.kernels.solution import from_files
from evolve.tasks.records import to_json


def gate_alone() -> dict[str, Any]:
    """The harness kernels in this process: keystream against numpy, stamps with and without a straggler."""
    import torch

    from evolve.evaluators.timing.driver import Driver
    from evolve.evaluators.timing.gate import Gate, keystream

    torch.zeros(1, device="cuda")
    driver = Driver()
    major, minor = torch.cuda.get_device_capability()
    began = time.monotonic()
    gate = Gate(driver, f"sm_{major}{minor}")
    compiled = time.monotonic() - began
    stream = torch.cuda.current_stream().cuda_stream
    key = 0x0123456789ABCDEF
    plain = torch.arange(1000, dtype=torch.int32, device="cuda")
    veiled = torch.zeros_like(plain)
    gate.veil([(plain.data_ptr(), veiled.data_ptr(), 1000, 77)], key, stream)
    torch.cuda.synchronize()
    import numpy as np

    same = bool(
        (
            (plain.cpu().numpy().astype(np.uint32) ^ keystream(key, 77, 1000)) == veiled.cpu().numpy().view(np.uint32)
        ).all()
    )
    words = torch.tensor([5, key], dtype=torch.int64, device="cuda")
    found: dict[str, Any] = {
        "compile_s": compiled,
        "keystream_same": same,
        "shared": gate.shared,
        "blocks": gate.blocks,
    }
    side = torch.cuda.Stream()
    for name, straggler in (("quiet", 0), ("straggler_50us", 50_000), ("quiet_again", 0)):
        back = torch.zeros_like(plain)
        gate.prepare()
        torch.cuda.synchronize()
        start, end = driver.event(), driver.event()
        gate.open(words.data_ptr(), 5, [(veiled.data_ptr(), back.data_ptr(), 1000, 77)], stream, 2.0)
        driver.record(start, stream)
        if straggler:
            gate.spin(straggler, side.cuda_stream)
        driver.record(end, stream)
        gate.close([], stream)
        torch.cuda.synchronize()
        stamps = gate.stamps()
        found[name] = {
            "event_us": driver.elapsed(start, end) * 1e6,
            "held": stamps.held,
            "late_us": stamps.late / 1e3,
            "span_us": stamps.span / 1e3,
            "decrypted": bool((back == plain).all()),
            "opened": stamps.opened,
        }
    return found


def protocol(args: Any, name: str) -> Any:
    def work() -> dict[str, Any]:
        problem = pack.get(name)
        problem = replace(problem, workloads=problem.tiny if args.device == "cpu" else problem.workloads[2:4])
        solution = from_files({"k.py": pack.seed_source(problem)}, "k.py::run")
        began = time.monotonic()
        evidence = referee.measure(problem, solution, Plan(calls=6, blocks=2))
        verdict = judge_kernel(evidence)
        calls = evidence.of("A")
        return {
            "status": verdict.status.value,
            "score": verdict.score,
            "reason": verdict.reason,
            "wall": time.monotonic() - began,
            "transport": evidence.transport,
            "clock": evidence.clock,
            "sandbox": evidence.sandbox,
            "ratio": [w.ratio for w in verdict.workloads],
            "us": [round(c.us, 2) for c in calls][:8],
            "wall_us": [round(c.wall_us) for c in calls][:8],
            "flag_us": [round(c.flag_us, 1) for c in calls][:8],
            "seen_us": [round(c.seen_us) for c in calls][:8],
            "late_us": [round(c.late_us, 2) for c in calls][:8],
            "held": sorted({c.held for c in calls}),
            "findings": [[f.check, f.says.value, f.detail] for f in verdict.findings],
            "evidence": to_json(evidence),
        }

    return work


args = arguments("self-test of the kernel harness")
raw = Raw(args, "kernels_selftest")
print("machine:", raw.attempt("machine", machine_facts))
if args.device == "cuda":
    print("gate:", raw.attempt("gate", gate_alone))
nursery, referee = open_referee(args)
for name in ("rmsnorm", "gemm_square", "gemm_grouped", "adamw_step"):
    found = raw.attempt(f"protocol {name}", protocol(args, name))
    if found:
        print(name, {k: v for k, v in found.items() if k not in ("evidence",)}, flush=True)
referee.close()
nursery.close()
