"""Hand-made Triton kernels of the pack, judged in full: 2 development workloads and 1 hidden, against the eager reference.

    python3 kernels_triton.py            ~150 s on an H100
With --baselines FILE (kernels_pack.jsonl) T_b is the best of the stored variants, and the fastest runs beside the candidate.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from kernels_common import ROOT, Raw, arguments, machine_facts, mine, open_referee, table

from evolve.evaluators.kernels import baseline, pack
from evolve.evaluators.kernels.baseline import Baseline
from evolve.evaluators.kernels.judge import judge_kernel
from evolve.evaluators.kernels.plan import Plan
from evolve.evaluators.kernels.solution import from_files
from evolve.tasks.records import to_json


def baselines(name: str) -> dict[str, Baseline]:
    """Stored seconds of one problem by workload, from the lines of kernels_pack; none where no file was given."""
    if not args.baselines:
        return {}
    seconds: dict[str, dict[str, float]] = {}
    for line in Path(args.baselines).read_text().splitlines():
        row = json.loads(line)
        problem, _, variant = row["item"].partition(" ")
        if problem == name and row.get("status") == "scored":
            for uuid, times in row["times"].items():
                seconds.setdefault(uuid, {}).setdefault("eager", times["B"])
                if variant != "eager":  # by the ratio, so that both are of one clock
                    seconds[uuid][variant] = times["A"] / times["B"] * seconds[uuid]["eager"]
    return {u: Baseline(name, "", u, "", referee.name, s) for u, s in seconds.items()}


def one(name: str, text: str) -> dict[str, Any]:
    problem = pack.get(name)
    problem = replace(
        problem, workloads=problem.tiny if args.device == "cpu" else (problem.workloads[2], problem.workloads[3])
    )
    plan = Plan(
        hidden=0 if args.device == "cpu" else 1, blocks=2 if args.quick else 4, calls=2 if args.quick else 8, seconds=60
    )
    stored = baselines(name)
    chosen = baseline.anchor(problem, stored)
    plan = replace(plan, baseline=chosen)
    evidence = referee.measure(
        problem, from_files({"k.py": text}, "k.py::run"), plan, stored, baseline.variant(problem, chosen)
    )
    verdict = judge_kernel(evidence)
    return {
        "status": verdict.status.value,
        "kind": verdict.kind,
        "reason": verdict.reason[:500],
        "score": verdict.score,
        "speedup": verdict.speedup,
        "headroom": verdict.headroom,
        "workloads": [to_json(w) for w in verdict.workloads],
        "label": verdict.label,
        "anchor": chosen,
        "variants": {uuid: dict(b.seconds) for uuid, b in stored.items()},
        "axes": [dict(w.axes) for w in evidence.workloads],
        "evidence": to_json(replace(evidence, calls=evidence.calls[:12])),
    }


def main() -> None:
    global args, referee
    args = arguments("Triton kernels judged", only="", baselines="")
    raw = Raw(args, "kernels_triton")
    raw.attempt("machine", machine_facts)
    nursery, referee = open_referee(args)
    for k, path in enumerate(sorted((ROOT / "benchmarks/kernels/triton").glob("*.py"))):
        if mine(args, k) and (not args.only or path.stem in args.only.split(",")):
            raw.attempt(path.stem, lambda p=path: one(p.stem, p.read_text()))
    referee.close()
    nursery.close()
    lines = [
        [r["item"], r["status"], r["score"] or "-", r["speedup"], r["headroom"], r["seconds"], r["reason"][:60]]
        for r in raw.rows
        if "status" in r
    ]
    print(table(["problem", "verdict", "score vs eager", "speed-up", "T_b/T_SOL", "s", "reason"], lines))


if __name__ == "__main__":
    main()
