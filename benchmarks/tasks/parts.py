"""What the key-less parts of the default policy are worth on the bundled tasks, each arm at equal evaluations.

    python benchmarks/tasks/parts.py [--seeds 5] [--tasks NAME,...] [--arms NAME,...]      # appends to parts.jsonl
    python benchmarks/tasks/parts.py --summary                                             # only what is on record
    python benchmarks/tasks/parts.py --smoke                                               # one seed, 30 evaluations, not kept

An arm is a policy (population/policy.py) that differs from `base` in the parts named. Whole searches, sandbox and
archive included, without the live control. A row is appended for each finished run, and one on record is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evolve import api
from evolve.settings import RunSettings

HERE = Path(__file__).resolve().parent
BUDGETS = {"circle_packing": 800, "exp2_in_c": 300, "low_autocorrelation": 300, "online_bin_packing": 200}
BASE = {"tune": 0.0, "ladder": False}
ARMS: dict[str, dict[str, Any]] = {
    "base": {},
    "tune": {"tune": 0.15},
    "ladder": {"ladder": True},
    "both": {"tune": 0.15, "ladder": True},
}


def search(task: str, arm: str, seed: int, evaluations: int, workers: int = 2) -> dict[str, Any]:
    """One run in a folder of its own; its row. `best` is the champion's fitness: more is better."""
    with tempfile.TemporaryDirectory(prefix="evolve-parts-") as place:
        settings = RunSettings(
            tasks=(task,), where=Path(place), seed=seed, workers=workers, evaluations=evaluations, publish=False, control=False,
            policy={**BASE, **ARMS[arm]},
        )  # fmt: skip
        session = api.open_session(settings)
        load, began = os.getloadavg()[0], time.monotonic()
        result = api.run(session)
        state = session.state
        reigns = state.lineage.reigns.get(task, [])
        return {
            "task": task, "arm": arm, "seed": seed, "evaluations": result.evaluations, "best": result.best[task].fitness,
            "by_tuning": sum(state.candidates[r.candidate].operator.startswith("tune/") for r in reigns),
            "promotions": len(reigns), "tuned": state.studies.evaluations.get(task, 0), "steps": state.plateaus.count.get(task, 0),
            "seconds": round(time.monotonic() - began, 1), "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        }  # fmt: skip


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a task and arm; `over_base`: wins, losses of the same seeds against the arm `base`."""
    out = []
    for task in dict.fromkeys(row["task"] for row in rows):
        base = {row["seed"]: row["best"] for row in rows if row["task"] == task and row["arm"] == "base"}
        for arm in ARMS:
            mine = {row["seed"]: row["best"] for row in rows if row["task"] == task and row["arm"] == arm}
            if not mine:
                continue
            pairs = [(mine[seed], base[seed]) for seed in mine if seed in base]
            out.append({
                "task": task, "arm": arm, "runs": len(mine), "min": min(mine.values()),
                "median": statistics.median(mine.values()), "max": max(mine.values()),
                "over_base": [sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)],
            })  # fmt: skip
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(BUDGETS))
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "parts.jsonl")
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    if not options.smoke and options.out.exists():
        rows = [json.loads(line) for line in options.out.read_text().splitlines()]
    done = {(row["task"], row["arm"], row["seed"]) for row in rows}
    for seed in range(0 if options.summary else 1 if options.smoke else options.seeds):
        for task in options.tasks.split(","):
            for arm in options.arms.split(","):
                if (task, arm, seed) in done:
                    continue
                rows.append(search(task, arm, seed, 30 if options.smoke else BUDGETS[task]))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
                if not options.smoke:
                    with options.out.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    for line in summary(rows):
        print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
