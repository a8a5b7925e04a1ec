"""The referee's clocks on this card: how much honest workers differ, how many are refused, which lies pass.

    python3 kernels_clocks.py            ~150 s on an H100 (12 processes a side); resumes

Each item is one fresh pair of workers that run the same kernel, at four sizes. From the first half of the items `between` is
calibrated; D7 with it is then asked about the second half, as recorded and with claims made too short. The table: per clock and
size the spread within a worker, between workers, refusals of honest pairs, and the largest lie that passes.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Any

from kernels_common import ROOT, Raw, arguments, clock_rows, machine_facts, open_referee, table

from evolve.evaluators.kernels import clocks, pack
from evolve.evaluators.kernels.checks import Rules
from evolve.evaluators.kernels.evidence import Call
from evolve.evaluators.kernels.plan import Plan
from evolve.evaluators.kernels.solution import from_files
from evolve.tasks.statistics import clopper_pearson_upper

HONEST = (ROOT / "benchmarks/kernels/triton/rmsnorm.py").read_text()
ROWS = {"5 us": 64, "10 us": 1024, "27 us": 4096, "94 us": 16384}


def one() -> dict[str, Any]:
    problem = pack.get("rmsnorm")
    hidden = 64 if args.quick else 4096
    sizes = {k: 8 * (i + 1) for i, k in enumerate(ROWS)} if args.quick else ROWS
    listed = [replace(problem.workloads[0], uuid=k, axes={"rows": r, "hidden": hidden}) for k, r in sizes.items()]
    solution = from_files({"k.py": HONEST}, "k.py::run")
    plan = Plan(workloads=0, blocks=2, calls=4 if args.quick else 12, seconds=20)
    evidence = referee.measure(replace(problem, workloads=tuple(listed)), solution, plan, anchor=solution)
    if evidence.fault:
        raise RuntimeError(evidence.fault.message)
    return {
        "us": {w.uuid: median(c.us for c in evidence.of("A", i)) for i, w in enumerate(evidence.workloads)},
        "clocks": {w.uuid: clock_rows(evidence, i) for i, w in enumerate(evidence.workloads)},
    }


def support(row: dict[str, Any], size: str, clock: str, between: float, lie: float) -> bool:
    """Whether D7 would refuse this pair by this clock alone, the candidate's claims `lie` microseconds too short."""
    rules, us, found = Rules(), row["us"][size], row["clocks"][size][clock]

    def calls(side: str, cut: float) -> list[Call]:
        return [Call(i, side.upper(), 0, "default", 0, us - cut, us + over) for i, over in enumerate(found[side])]

    said = clocks.supports(
        calls("a", lie), calls("b", 0), {"done": between}, rules.clock_z, rules.clock_floor, rules.clock_share
    )
    return said[0].disputed


def lines(rows: list[dict[str, Any]]) -> list[list[Any]]:
    half, out = len(rows) // 2, []
    for clock in clocks.NAMES:
        for size in ROWS:
            seen = [r for r in rows if clock in r["clocks"][size]]
            if len(seen) < 4:
                continue
            workers = [r["clocks"][size][clock][side] for r in seen[:half] for side in "ab"]
            between = clocks.between(workers)
            tried = seen[half:]
            refused = sum(support(r, size, clock, between, 0.0) for r in tried)
            lie = next(
                (x for x in range(0, 2000, 1) if all(support(r, size, clock, between, float(x)) for r in tried)), -1
            )
            within = median(clocks.standard_error(w) * len(w) ** 0.5 / 1.2533 for w in workers)
            out.append([clock, size, len(seen), median(median(w) for w in workers), within, between, f"{refused}/{len(tried)}",
                        clopper_pearson_upper(refused, len(tried)), lie])  # fmt: skip
    return out


def main() -> None:
    global args, referee
    args = arguments("the referee's clocks", pairs=16)
    raw = Raw(args, "kernels_clocks")
    raw.attempt("machine", machine_facts)
    nursery, referee = open_referee(args)
    for k in range(6 if args.quick else args.pairs):
        raw.attempt(f"pair {k}", one)
    referee.close()
    nursery.close()
    head = [
        "clock",
        "kernel",
        "pairs",
        "overhead us",
        "within sd",
        "between sd",
        "refused",
        "95% bound",
        "lie passes below us",
    ]
    print(table(head, lines([r for r in raw.rows if "clocks" in r])))


if __name__ == "__main__":
    main()
