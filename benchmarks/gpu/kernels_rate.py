"""Screening rate from the clean parent: many small Triton candidates of one problem with a known baseline, one GPU.

    python3 kernels_rate.py              ~120 s on an H100
Goal: under 2 s a candidate, at least 1,500 an hour. Every candidate is a different program in a process of its own.
"""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median
from typing import Any

from kernels_common import ROOT, Raw, arguments, machine_facts, mine, open_referee, table

from evolve.evaluators.kernels import pack
from evolve.evaluators.kernels.judge import judge_kernel
from evolve.evaluators.kernels.plan import Plan
from evolve.evaluators.kernels.solution import from_files


def candidate(k: int) -> str:
    text = (ROOT / "benchmarks/kernels/triton/rmsnorm.py").read_text()
    return (
        text.replace("num_warps=8 if block >= 4096 else 4", f"num_warps={(4, 8, 16)[k % 3]}") + f"\n\nVARIANT = {k}\n"
    )


def one(k: int) -> dict[str, Any]:
    problem = pack.get("rmsnorm")
    problem = replace(
        problem, workloads=problem.tiny if args.device == "cpu" else (problem.workloads[1], problem.workloads[2])
    )
    began = time.monotonic()
    evidence = referee.measure(
        problem, from_files({"k.py": candidate(k)}, "k.py::run"), Plan(blocks=2, calls=5, warm=1, keep=True)
    )
    verdict = judge_kernel(evidence)
    return {
        "wall": time.monotonic() - began,
        "status": verdict.status.value,
        "score": verdict.score,
        "reason": verdict.reason[:300],
        "load": evidence.compiler.get("load_seconds"),
        "calls": len(evidence.calls),
    }


def main() -> None:
    global args, referee
    args = arguments("screening rate", candidates=60)
    raw = Raw(args, "kernels_rate")
    raw.attempt("machine", machine_facts)
    nursery, referee = open_referee(args)
    for k in range(5 if args.quick else args.candidates):
        if mine(args, k):
            raw.attempt(f"candidate {k}", lambda i=k: one(i))
    referee.close()
    nursery.close()
    walls = sorted(r["wall"] for r in raw.rows if "wall" in r)[:]
    scored = sum(1 for r in raw.rows if r.get("status") == "scored")
    if walls:
        print(
            table(
                ["n", "scored", "median s", "p95 s", "first s", "an hour"],
                [
                    [
                        len(walls),
                        scored,
                        median(walls),
                        walls[int(0.95 * (len(walls) - 1))],
                        next(r["wall"] for r in raw.rows if "wall" in r),
                        3600 * len(walls) / sum(walls),
                    ]
                ],
            )
        )


if __name__ == "__main__":
    main()
