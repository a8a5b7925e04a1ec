"""Is a planted regression of 3% (3% more rows) told from none? 50 + 50 trials on kernels of ~20 and ~300 us.

    python3 kernels_power.py             ~3 s a line of 5 trials on an H100, 40 lines
A trial is 4 ABBA blocks of fresh calls (CALLS of them a side and block) and says "slower" where the 95% interval of the ratio
lies above 1 and the ratio above 1.01. Five trials share a pair of workers, as blocks of one measurement do; ten pairs of
workers for each kind. Shown with exact (Clopper-Pearson) one-sided bounds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kernels_common import ROOT, Raw, arguments, machine_facts, mine, open_referee, table

from evolve.evaluators.kernels import pack
from evolve.evaluators.kernels.judge import times
from evolve.evaluators.kernels.plan import Plan
from evolve.evaluators.kernels.solution import from_files
from evolve.evaluators.timing.blocks import ratio
from evolve.tasks.statistics import clopper_pearson_upper

SIZES = {"~20 us": 2500, "~300 us": 50000}
CALLS = {"~20 us": 25, "~300 us": 5}
"""A block and side: 100 calls of the short one a trial, as Plan.short gives; 48 found 8 of 10 planted on an H100."""
TEXT = (ROOT / "benchmarks/kernels/triton/rmsnorm.py").read_text()
PLANTED = (
    TEXT.replace("kernel[(rows,)]", "kernel[(rows + rows * 3 // 100,)]")
    .replace("row = tl.program_id(0).to(tl.int64)", "row = (tl.program_id(0) % rows).to(tl.int64)")
    .replace("def kernel(x, w, y, hidden,", "def kernel(x, w, y, rows, hidden,")
    .replace("(x, weight, y, hidden,", "(x, weight, y, rows, hidden,")
)


def process(name: str, rows: int, planted: bool, trials: int) -> dict[str, Any]:
    problem = pack.get("rmsnorm")
    hidden = 64 if args.quick else 4096
    workload = replace(problem.workloads[0], uuid=name, axes={"rows": rows, "hidden": hidden})
    problem = replace(problem, workloads=(workload,))
    a = from_files({"k.py": PLANTED if planted else TEXT}, "k.py::run")
    b = from_files({"k.py": TEXT}, "k.py::run")
    plan = Plan(
        workloads=0, blocks=4 * trials, calls=2 if args.quick else CALLS[name], families=("default",), seconds=60
    )
    evidence = referee.measure(problem, a, plan, anchor=b)
    if evidence.fault:
        raise RuntimeError(evidence.fault.message)
    ours, theirs = times(evidence.of("A"), 1e12), times(evidence.of("B"), 1e12)
    found = []
    for trial in range(trials):
        blocks = range(4 * trial, 4 * trial + 4)
        r = ratio({k: ours[k] for k in blocks if k in ours}, {k: theirs[k] for k in blocks if k in theirs})
        found.append([r.value, r.low, r.high])
    return {"ratios": found, "us": sorted(t * 1e6 for k in theirs.values() for t in k)[len(theirs) // 2]}


def main() -> None:
    global args, referee
    args = arguments("power of a planted regression", trials=5, processes=10)
    raw = Raw(args, "kernels_power")
    raw.attempt("machine", machine_facts)
    nursery, referee = open_referee(args)
    for k in range(1 if args.quick else args.processes):
        if not mine(args, k):
            continue
        for name, rows in SIZES.items():
            for planted in (False, True):
                trials = 2 if args.quick else args.trials
                raw.attempt(
                    f"{name} {'planted' if planted else 'null'} {k}",
                    lambda n=name, r=rows, p=planted, t=trials: process(n, 100 if args.quick else r, p, t),
                )
    referee.close()
    nursery.close()
    lines = []
    for name in SIZES:
        for kind in ("null", "planted"):
            found = [
                r
                for row in raw.rows
                if row["item"].startswith(f"{name} {kind}") and "ratios" in row
                for r in row["ratios"]
            ]
            if found:
                said = sum(1 for value, low, _ in found if low > 1.0 and value > 1.01)
                wrong = said if kind == "null" else len(found) - said
                lines.append(
                    [
                        name,
                        kind,
                        len(found),
                        said,
                        wrong,
                        clopper_pearson_upper(wrong, len(found)),
                        sorted(r[0] for r in found)[len(found) // 2],
                    ]
                )
    print(table(["kernel", "trials of", "n", "said slower", "wrong", "wrong, 95% bound", "median ratio"], lines))


if __name__ == "__main__":
    main()
