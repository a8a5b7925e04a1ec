"""Policies, the default's parts switched off, and controls on surrogate landscapes (landscapes.py, policies.py).

    python benchmarks/search/surrogate.py --calibrate [--seeds 20]     # does the family reproduce what is known?
    python benchmarks/search/surrogate.py [--seeds 40]                 # the family, resumable
    python benchmarks/search/surrogate.py --held-out [--seeds 8]       # first run after the freeze
    python benchmarks/search/surrogate.py --smoke

A row of results/surrogate.jsonl holds the progress (0 the seed, 1 the highest ceiling) after 50, 100 and 200 calls of each
seed of one (landscape, policy), and the digest of landscapes.py it was made with; rows of another digest do not count.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import landscapes as ls  # noqa: E402
import measures  # noqa: E402
import policies as po  # noqa: E402

CALLS = 200
MARKS = (50, 100, 200)
HELD_OUT = 20
"""Landscapes drawn from the held-out family."""

CONTROLS = ("time-shuffled", "static mix")
HARNESSES = (
    "greedy",
    "restarts",
    "default",
    "one island",
    "two islands",
    "five islands",
    "elite 0",
    "elite 0.9",
    "uniform",
)
"""Policies that stand for the harnesses of published comparisons, of which most tie."""


def digest() -> str:
    """Of landscapes.py, white space apart."""
    return hashlib.sha256("".join((HERE / "landscapes.py").read_text().split()).encode()).hexdigest()[:12]


def landscapes(held_out: bool) -> list[tuple[str, ls.Landscape]]:
    if held_out:
        return [(f"staircase-{i}", ls.held_out(random.Random(f"held-out/{i}"))) for i in range(HELD_OUT)]
    return [(landscape.name, landscape) for landscape in ls.FAMILY]


@cache
def pooled(name: str, landscape: ls.Landscape) -> tuple[po.Decision, ...]:
    """The default's decisions in ten runs of their own."""
    return tuple(
        decision
        for seed in range(10)
        for decision in po.run(landscape, po.DEFAULT, CALLS, f"{name}/pool/{seed}", noted=True).decisions
    )


def play(name: str, landscape: ls.Landscape, policy: str, seed: int) -> po.Played:
    """One run; the controls first let the default decide."""
    key = f"{name}/{seed}"
    if policy == "time-shuffled":
        made = po.run(landscape, po.DEFAULT, CALLS, f"{key}/first", noted=True).decisions
        random.Random(f"{key}/order").shuffle(made)
        return po.run(landscape, po.Replayed(tuple(made)), CALLS, key)
    if policy == "static mix":
        return po.run(landscape, po.StaticMix(pooled(name, landscape)), CALLS, key)
    selector, parts = po.SELECTORS[policy]
    return po.run(landscape, selector, CALLS, key, **parts)


def row(name: str, landscape: ls.Landscape, policy: str, seeds: Iterable[int]) -> dict[str, Any]:
    runs = [play(name, landscape, policy, seed) for seed in seeds]
    return {
        "landscape": name, "policy": policy, "digest": digest(), "marks": MARKS,
        "progress": [[round(run.curve[mark - 1], 4) for mark in MARKS] for run in runs],
        "evaluations": sum(r.evaluations for r in runs) / len(runs), "invalid": sum(r.invalid for r in runs) / len(runs),
        "duplicates": sum(r.duplicates for r in runs) / len(runs),
    }  # fmt: skip


def differences(rows: list[dict[str, Any]], a: str, b: str, mark: int = 2) -> dict[str, list[float]]:
    """landscape -> progress of a minus that of b, seed by seed."""
    found = {(r["landscape"], r["policy"]): [p[mark] for p in r["progress"]] for r in rows}
    names = dict.fromkeys(r["landscape"] for r in rows if r["policy"] == a)
    return {n: [x - y for x, y in zip(found[n, a], found[n, b], strict=False)] for n in names if (n, b) in found}


def calibration(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The known facts a simulator must reproduce (docs/search.md): most harnesses tie, none beats greedy after Holm;
    without calls of a new tactic the loss is the largest of the parts'; five islands are no better than two at 100 calls;
    each policy loses somewhere."""
    ties = tests = 0
    against: dict[str, float] = {}
    for i, a in enumerate(HARNESSES):
        for b in HARNESSES[:i]:
            mean, low, high, p = measures.bootstrap(differences(rows, a, b))
            tests, ties = tests + 1, ties + (low <= 0 <= high)
            if "greedy" in (a, b):
                against[a if b == "greedy" else b] = p if (mean > 0) == (b == "greedy") else 1.0
    apart = ("default", "greedy", "restarts", "best-of-n", "uniform", "explore on stall", "no explore")
    costs = {p: measures.bootstrap(differences(rows, "default", p))[0] for p in po.SELECTORS if p not in apart}
    tactic = measures.bootstrap(differences(rows, "explore on stall", "no explore"))[0]
    islands = measures.bootstrap(differences(rows, "five islands", "two islands", 1))
    loses = {}
    for policy in ("default", "greedy", "restarts", "best-of-n", "uniform"):
        others = [q for q in ("default", "greedy", "restarts", "best-of-n", "uniform") if q != policy]
        found = []
        for name in dict.fromkeys(r["landscape"] for r in rows):
            for other in others:
                gap = {name: differences(rows, other, policy)[name]}
                if measures.bootstrap(gap)[1] > 0:
                    found.append(f"{name}: {other}")
        loses[policy] = found
    return {
        "ties": ties, "pairs": tests, "beats_greedy_holm": measures.holm(against), "tactic": tactic, "parts": costs,
        "five_minus_two_islands_at_100": islands, "loses_to": loses,
    }  # fmt: skip


def read(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [r for r in found if r["digest"] == digest()]


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--policies", default=",".join((*po.SELECTORS, *CONTROLS)))
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--most", type=float, default=float("inf"), help="start no further row after so many seconds")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    out = options.out or HERE / "results" / ("held_out.jsonl" if options.held_out else "surrogate.jsonl")
    rows = [] if options.smoke or options.calibrate else read(out)
    done = {(r["landscape"], r["policy"]) for r in rows if len(r["progress"]) >= options.seeds}
    began = time.monotonic()
    for name, landscape in landscapes(options.held_out)[: 1 if options.smoke else None]:
        for policy in options.policies.split(","):
            if (name, policy) in done or time.monotonic() - began > options.most:
                continue
            made = row(name, landscape, policy, range(2 if options.smoke else options.seeds))
            rows.append(made)
            if options.smoke:
                say(json.dumps(made))
            elif not options.calibrate:
                out.parent.mkdir(exist_ok=True)
                with out.open("a") as file:
                    file.write(json.dumps(made) + "\n")
    if options.calibrate:
        say(json.dumps(calibration(rows), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
