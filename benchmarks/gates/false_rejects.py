"""How often the gates refuse a program that would have scored, and how often they spare an evaluation.

    python benchmarks/gates/false_rejects.py [--evals N] [TASK ...]

A real search of each task gives candidates with verdicts; each is then put before the gates as if it were proposed now.
A refusal of a candidate that scored is a false one; a refusal of an invalid one is an evaluation spared. Writes
results.json beside this file (not with --evals below 100, which is the smoke form).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evolve.api import evolve
from evolve.evaluators.sandbox.ladder import open_sandbox, strongest
from evolve.gates import Smoke, unparsable
from evolve.outside import task_of
from evolve.population.archive import Archive
from evolve.tasks.statistics import clopper_pearson_upper

TASKS = ("circle_packing", "online_bin_packing", "low_autocorrelation")


def measure(task: str, evaluations: int, seed: int = 1) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        evolve(task, where=folder, evaluations=evaluations, seed=seed, control=False, workers=2)
        archive = Archive.open(Path(folder) / f"evolve-{task}")
        state = archive.state(task)
        definition = task_of(state, task)
        sandbox = open_sandbox(Path(folder) / "gate")
        gate, counts, seconds = Smoke(sandbox), dict.fromkeys(("scored", "invalid", "false", "spared"), 0), []
        for candidate in state.candidates.values():
            if not candidate.parents or candidate.verdict is None:
                continue
            before, after = archive.store.files(candidate.parents[0]), archive.store.files(candidate.commit)
            changed = {path: text for path, text in after.items() if before.get(path) != text}
            began = time.monotonic()
            refused = unparsable(before, changed) or gate.check(before, changed, definition)
            seconds.append(time.monotonic() - began)
            scored = candidate.fitness is not None
            counts["scored" if scored else "invalid"] += 1
            counts["false" if scored else "spared"] += refused is not None
        sandbox.close()
        archive.close()
    upper = clopper_pearson_upper(counts["false"], counts["scored"]) if counts["scored"] else 1.0
    return counts | {
        "task": task,
        "seed": seed,
        "upper95_false": upper,
        "median_seconds": sorted(seconds)[len(seconds) // 2],
    }


def pool(rows: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """All tasks together; upper95_false: Clopper-Pearson's one-sided bound."""
    false, scored = sum(row["false"] for row in rows), sum(row["scored"] for row in rows)
    return {"false": false, "scored": scored, "upper95_false": clopper_pearson_upper(false, scored)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--evals", type=int, default=600)
    options = parser.parse_args()
    rows = [measure(task, options.evals) for task in options.tasks]
    for row in rows:
        print(json.dumps(row))
    pooled = pool(rows)
    print(json.dumps(pooled))
    if options.evals >= 100:
        facts = {"sandbox": strongest(), "evaluations": options.evals, "rows": rows, "pooled": pooled}
        Path(__file__).with_name("results.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
