"""The key-less search on the bundled tasks, against their seeds and against random search at equal evaluations.

    python benchmarks/tasks/keyless.py [--seeds 10] [--tasks NAME,...] [--out benchmarks/tasks/keyless.jsonl]
    python benchmarks/tasks/keyless.py --summary                      # only what is on record
    python benchmarks/tasks/keyless.py --smoke                        # one seed, 25 evaluations, nothing kept

Runs whole searches, sandbox and archive included, with the live control inside. circle_packing gets two minutes of wall
time and two workers as a newcomer's first run does; the others a fixed number of evaluations. A row is appended for
each finished run, and a (task, seed) on record is not run again, so the script may be stopped and started.

The search's value is its champion's, measured afresh in the champion gate where the task is noisy; the control's is its
best single measurement, which flatters it. `bound` is the one-sided 95% lower bound (Student's t) of the mean advantage.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evolve import api
from evolve.settings import RunSettings
from evolve.tasks.statistics import t_quantile

HERE = Path(__file__).resolve().parent
BUDGETS: dict[str, dict[str, Any]] = {
    "circle_packing": {"seconds": 120.0},
    "online_bin_packing": {"evaluations": 800},
    "exp2_in_c": {"evaluations": 300},
    "low_autocorrelation": {"evaluations": 400},
}
MARKS = (100, 200, 400, 800, 1600, 3200)


def search(task: str, seed: int, budget: dict[str, Any], selector: str = "islands", workers: int = 2) -> dict[str, Any]:
    """One run with its control, in a folder of its own; its row."""
    curve: dict[int, float] = {}
    with tempfile.TemporaryDirectory(prefix="evolve-bench-") as place:
        settings = RunSettings(
            tasks=(task,), where=Path(place), seed=seed, workers=workers, selector=selector, publish=False, **budget
        )
        session = api.open_session(settings)

        def progress(at: Any) -> None:
            count = at.state.lineage.evaluated.get(task, 0)
            champion = at.state.champion(task)
            for mark in MARKS:
                if count >= mark and mark not in curve and champion is not None and champion.fitness is not None:
                    curve[mark] = champion.fitness

        session.progress = progress
        load, began = os.getloadavg()[0], time.monotonic()
        result = api.run(session)
        state = session.state
        metric = session.opened.grounds[task].task.objectives[0]
        best = result.best[task]
        origin = state.candidates[state.lineage.seeds[task]]
        assert best.verdict is not None and origin.verdict is not None
        evaluations, control = result.control[task]
        greedy_evaluations, greedy = result.greedy.get(task, (0, None))
        return {
            "task": task, "seed": seed, "budget": budget, "selector": selector, "workers": workers,
            "metric": metric.name, "goal": metric.goal, "evaluations": result.evaluations,
            "seconds": round(time.monotonic() - began, 1), "reason": result.reason,
            "best": best.verdict.fitness, "low": best.verdict.low, "origin": origin.verdict.fitness,
            "control": control, "control_evaluations": evaluations, "greedy": greedy,
            "greedy_evaluations": greedy_evaluations, "curve": curve,
            "refused": dict(state.lineage.refused), "failures": dict(state.lineage.failures),
            "load": [round(load, 2), round(os.getloadavg()[0], 2)],
            "machine": f"{os.cpu_count()} x {platform.machine()}, Python {platform.python_version()}",
        }  # fmt: skip


def lower_bound(values: Sequence[float]) -> float:
    """One-sided 95% lower confidence bound of the mean."""
    if len(values) < 2:
        return float("-inf")
    spread = statistics.stdev(values) / len(values) ** 0.5
    return statistics.mean(values) - t_quantile(0.95, len(values) - 1) * spread


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a task: what the search reached and by how much it beat its seed and the control."""
    out = []
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        best = [row["best"] for row in mine]
        over_seed = [row["best"] - row["origin"] for row in mine]
        over_control = [row["best"] - row["control"] for row in mine if row["control"] is not None]
        over_greedy = [row["best"] - row["greedy"] for row in mine if row.get("greedy") is not None]
        out.append(
            {
                "task": task, "runs": len(mine), "metric": mine[0]["metric"], "goal": mine[0]["goal"],
                "evaluations": statistics.median(row["evaluations"] for row in mine),
                "seconds": statistics.median(row["seconds"] for row in mine),
                "best_min": min(best), "best_median": statistics.median(best), "best_max": max(best),
                "control_max": max((row["control"] for row in mine if row["control"] is not None), default=None),
                "wins_over_control": sum(gain > 0 for gain in over_control),
                "bound_over_seed": lower_bound(over_seed), "bound_over_control": lower_bound(over_control),
                "with_greedy": len(over_greedy), "wins_over_greedy": sum(gain > 0 for gain in over_greedy),
                "bound_over_greedy": lower_bound(over_greedy) if over_greedy else None,
                "load": max(max(row["load"]) for row in mine),
            }
        )  # fmt: skip
    return out


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(BUDGETS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--selector", default="islands")
    parser.add_argument("--most", type=float, default=float("inf"), help="start no further run after so many seconds")
    parser.add_argument("--out", type=Path, default=HERE / "keyless.jsonl")
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    rows = [] if options.smoke else read(options.out)
    done = {(row["task"], row["seed"]) for row in rows}
    for seed in range(1 if options.smoke else options.seeds):
        for task in options.tasks.split(","):
            if options.summary or (task, seed) in done or time.monotonic() - began > options.most:
                continue
            budget = {"evaluations": 25} if options.smoke else BUDGETS[task]
            rows.append(search(task, seed, budget, options.selector))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            if not options.smoke:
                with options.out.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    for line in summary(rows):
        print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
