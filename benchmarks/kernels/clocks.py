"""The clock check (D7) replayed over recorded runs of an H100: which honest workloads it refuses, which lies it lets pass.

    python benchmarks/kernels/clocks.py            a few seconds; needs no GPU

honest    every recorded pair of honest workers: A and B of kernels_timing and kernels_selftest.
before    honest kernels that the former rule refused (kernels_former, kernels_selftest): of them only the
          unexplained time that it named was recorded; shown is whether that is within today's allowance. Not a rate.
gallery   the recorded evidence of hostile kernels, judged again by the rules of today.
lies      each honest pair again, its claims made shorter by so much that the check refuses it: the largest lie that passes.

The recordings know the slowest clock only ("done": until the worker's last word, its own Python included).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from evolve.evaluators.kernels import clocks  # noqa: E402
from evolve.evaluators.kernels.checks import Rules  # noqa: E402
from evolve.evaluators.kernels.evidence import Call, KernelEvidence  # noqa: E402
from evolve.evaluators.kernels.judge import KernelVerdict, judge_kernel  # noqa: E402
from evolve.tasks.records import from_json  # noqa: E402
from evolve.tasks.statistics import clopper_pearson_upper  # noqa: E402

RAW = ROOT / "benchmarks/kernels/raw"


@dataclass(frozen=True)
class Pair:
    """Two honest workers on one workload: overheads in microseconds and the claimed time."""

    source: str
    a: list[float]
    b: list[float]
    us: float
    clock: str = "done"

    def calls(self, side: str, lie: float = 0.0) -> list[Call]:
        """As evidence, its claims `lie` microseconds too short."""
        rows = self.a if side == "A" else self.b
        cut = lie if side == "A" else 0.0
        field = {"flag": "flag_us", "copy": "seen_us", "done": "wall_us"}[self.clock]
        blank = Call(0, side, 0, "default", 0, self.us - cut, 0.0)
        return [replace(blank, n=i, **{field: self.us + over}) for i, over in enumerate(rows)]

    def support(self, lie: float = 0.0) -> clocks.Support:
        rules = Rules()
        found = clocks.supports(
            self.calls("A", lie), self.calls("B"), {}, rules.clock_z, rules.clock_floor, rules.clock_share
        )
        return found[0]


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RAW / f"{name}.jsonl").read_text().splitlines()]


def pairs() -> Iterator[Pair]:
    """All recorded pairs of honest workers with every call's overhead."""
    for row in rows("kernels_timing"):
        for name, found in row.get("rows", {}).items():
            for clock, one in found["clocks"].items():
                yield Pair(f"timing {row['item']} {name} {clock}", one["a"], one["b"], median(found["us"]), clock)
    for row in rows("kernels_selftest"):
        if "evidence" in row:
            evidence = from_json(KernelEvidence, row["evidence"])
            for index in range(len(evidence.workloads)):
                ours, theirs = evidence.of("A", index), evidence.of("B", index)
                for clock in clocks.NAMES:
                    a, b = clocks.overheads(ours, clock), clocks.overheads(theirs, clock)
                    if a and b:
                        yield Pair(f"selftest {row['item']} {index} {clock}", a, b, median(c.us for c in ours), clock)
    yield from jailed()


def jailed() -> Iterator[Pair]:
    """Of kernels_clocks: fresh pairs of workers in the jail, four sizes, every clock."""
    for row in rows("kernels_clocks"):
        for size, found in row.get("clocks", {}).items():
            for clock, one in found.items():
                yield Pair(f"clocks {row['item']} {size} {clock}", one["a"], one["b"], row["us"][size], clock)


def refused_before() -> list[tuple[str, float]]:
    """Honest kernels that the former rule refused, with the unexplained microseconds (trimmed means) it named."""
    found = []
    for name in ("kernels_former", "kernels_selftest"):
        for row in rows(name):
            said = re.match(r"D7: wall clock shows ([0-9.]+) us", row.get("reason", ""))
            if said:
                found.append((row["item"], float(said[1])))
    return found


def recordings() -> dict[str, tuple[KernelEvidence, Rules]]:
    """Recorded hostile kernels, and the rules to judge them by (no D15 where the workers did not report on the harness)."""
    found = {}
    for row in rows("kernels_hostile"):
        if "evidence" in row:
            evidence = from_json(KernelEvidence, row["evidence"])
            found[row["item"]] = evidence, Rules(off=frozenset() if "changed" in evidence.integrity else frozenset({"D15"}))
    return found


def gallery() -> dict[str, KernelVerdict]:
    """Their verdicts under today's rules."""
    return {name: judge_kernel(evidence, rules) for name, (evidence, rules) in recordings().items()}


def by_size() -> dict[tuple[str, str], KernelVerdict]:
    """(kernel, workload) -> the verdict on that workload alone: a problem may have short workloads only."""
    found = {}
    for name, (evidence, rules) in recordings().items():
        own = replace(rules, off=rules.off | {"D3"})  # one workload's calls may see one family only
        for index, facts in enumerate(evidence.workloads):
            found[name, facts.uuid] = judge_kernel(evidence.alone(index), own)
    return found


def largest_lie(pair: Pair) -> float:
    """Microseconds a call that a forged claim can leave out without being refused."""
    low, high = 0.0, 10_000.0
    while high - low > 0.1:
        middle = (low + high) / 2
        low, high = (low, middle) if pair.support(middle).disputed else (middle, high)
    return low


def between() -> float:
    """Standard deviation of the difference between two honest workers' medians, clock 'done', all recordings."""
    return stdev([median(p.a) - median(p.b) for p in pairs() if p.clock == "done"])


def between_jailed() -> dict[str, float]:
    """The same by clock, workers in the jail only."""
    found: dict[str, list[float]] = {}
    for pair in jailed():
        found.setdefault(pair.clock, []).append(median(pair.a) - median(pair.b))
    return {clock: stdev(values) for clock, values in found.items()}


def main() -> None:
    every = list(pairs())
    refused = [p.source for p in every if p.support().disputed]
    before = refused_before()
    allowed = clocks.BETWEEN["done"] * Rules().clock_z
    still = [item for item, extra in before if extra > allowed]
    print(f"honest pairs recorded in full: {len(every)}; refused now: {len(refused)} {refused}")
    most = max(abs(median(p.a) - median(p.b)) for p in every)
    print(f"false refusals: at most {clopper_pearson_upper(len(refused), len(every)):.1%} of workloads (95%, exact)")
    print(f"difference of two honest workers' medians: sd {between():.0f} us, most {most:.0f} us")
    print(f"refused by the former rule: {len(before)}; of these now: {len(still)} {still}")
    print(f"  the most unexplained was {max(x for _, x in before):.0f} of {allowed:.0f} us allowed")
    for name, verdict in gallery().items():
        print(f"  {name}: {verdict.status.value} {verdict.reason[:100]}")
    for clock in clocks.NAMES:
        lies = [largest_lie(p) for p in every if p.us < 150 and p.clock == clock]
        print(f"  largest lie at up to 150 us, clock {clock}: mean {fmean(lies):.1f}, most {max(lies):.1f} us a call")


if __name__ == "__main__":
    main()
