"""False champions in all-null runs, and how often a planted gain of 3 sigma is crowned.

    python benchmarks/champion/null_runs.py [--runs 2000] [--candidates 100] [--out results.json]

Uses the promotion rule of real runs (evolve.tasks.verdict) on simulated measurements (evolve/simulate.py). Goal: the
upper 95% bound (Clopper-Pearson, one-sided) of the false-champion rate at most 6%; a planted gain promoted in >= 90%.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

from evolve import simulate
from evolve.tasks.statistics import clopper_pearson_upper


def measure(runs: int, candidates: int, calibrations: int, confirm: int) -> dict[str, float | int]:
    false = planted = 0
    for number in range(runs):
        rng = random.Random(f"null/{number}")
        false += bool(simulate.run(rng, [0.0] * candidates, calibrations=calibrations, confirm=confirm).gains)
        place = rng.randrange(candidates)
        gains = [3.0 if i == place else 0.0 for i in range(candidates)]
        planted += 3.0 in simulate.run(rng, gains, calibrations=calibrations, confirm=confirm).gains
    return {
        "runs": runs,
        "candidates": candidates,
        "calibration_runs": calibrations,
        "confirm": confirm,
        "false_champion_rate": false / runs,
        "false_champion_upper95": clopper_pearson_upper(false, runs),
        "planted_3_sigma_promoted": planted / runs,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = [measure(args.runs, args.candidates, c, k) for c, k in ((10, 3), (10, 5), (5, 3), (3, 5))]
    for row in rows:
        print(json.dumps(row))
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
