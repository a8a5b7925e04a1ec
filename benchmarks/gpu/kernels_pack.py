"""The whole pack: every reference and torch.compile of it (max-autotune for products with --autotune 1), two workloads each.

    python3 kernels_pack.py --budget 440             resumes with --resume earlier.jsonl; ~8-15 s a problem on an H100
Writes what `Baselines` needs: seconds per variant and workload. Names in --only are taken first.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Any

from kernels_common import Raw, arguments, machine_facts, open_referee, table

from evolve.evaluators.kernels import baseline, pack
from evolve.evaluators.kernels.judge import judge_kernel
from evolve.evaluators.kernels.referee import Plan
from evolve.tasks.records import to_json


def one(name: str, variant: str) -> dict[str, Any]:
    problem = pack.get(name)
    problem = replace(
        problem, workloads=problem.tiny if args.device == "cpu" else (problem.workloads[2], problem.workloads[3])
    )
    solution = baseline.variant(problem, variant)
    plan = Plan(blocks=2, calls=2 if args.quick else 6, seconds=150, warm=2, keep=True)
    evidence = referee.measure(problem, solution, plan)
    verdict = judge_kernel(evidence)
    times = {
        w.uuid: {
            "A": median(c.us for c in evidence.of("A", i)) * 1e-6,
            "B": median(c.us for c in evidence.of("B", i)) * 1e-6,
        }
        for i, w in enumerate(evidence.workloads)
        if evidence.of("A", i) and evidence.of("B", i)
    }
    return {
        "status": verdict.status.value,
        "kind": verdict.kind,
        "reason": verdict.reason[:600],
        "score": verdict.score,
        "times": times,
        "speedup": verdict.speedup,
        "headroom": verdict.headroom,
        "definition": problem.definition.digest(),
        "device": evidence.device,
        "axes": {w.uuid: dict(w.axes) for w in evidence.workloads},
        "bound": {w.uuid: w.bound for w in evidence.workloads},
        "workloads": [to_json(w) for w in verdict.workloads],
        "libraries": dict(evidence.libraries),
    }


if __name__ == "__main__":
    args = arguments("the pack's references and torch.compile", only="", autotune=0)
    raw = Raw(args, "kernels_pack")
    raw.attempt("machine", machine_facts)
    nursery, referee = open_referee(args)
    names = list(pack.load())
    first = [n for n in args.only.split(",") if n]
    for variant in ("eager", "compile") if args.device == "cuda" else ("eager",):
        for name in [*first, *(n for n in names if n not in first)]:
            raw.attempt(f"{name} {variant}", lambda n=name, v=variant: one(n, v))
    if args.autotune:
        for name in [n for n in names if n.startswith("gemm")]:
            raw.attempt(f"{name} max-autotune", lambda n=name: one(n, "max-autotune"))
    referee.close()
    nursery.close()
    lines = [
        [r["item"], r["status"], r["speedup"], r["headroom"], r["seconds"], r["reason"][:70]]
        for r in raw.rows
        if "status" in r
    ]
    print(table(["problem variant", "verdict", "speed-up over eager", "T_b/T_SOL", "s", "reason"], lines))
    wanted = len(names) * (2 if args.device == "cuda" else 1)
    print(
        f"{sum(1 for r in raw.rows if r.get('status') == 'scored')} of {wanted} scored; not run or failed: "
        f"{[r['item'] for r in raw.rows if r.get('status') not in (None, 'scored') or 'error' in r]}"
    )
