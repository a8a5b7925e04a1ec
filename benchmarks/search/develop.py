"""The default's parts on real problems that are none of the table's four: the selectors of real runs, the scripted model.

    python benchmarks/search/develop.py [--seeds 12] [--policies A,B] [--tasks A,B]      # resumable
    python benchmarks/search/develop.py --smoke

A run is `policies.run`: the folds and the selectors of real runs around the proposer and the exact checker, without a jail or
an archive; 200 model calls, where an invalid answer and a duplicate cost one as well. What is tuned is tuned here and on the
surrogate landscapes, so that the four tasks of the table beside the peers are met once. A row of results/develop.jsonl holds
the progress after 50, 100 and 200 calls of each seed of one (task, policy): the share of the logarithm from the seed's score
to the best known (tables.KNOWN).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import policies as po  # noqa: E402
import proposer  # noqa: E402
import tables  # noqa: E402
from landscapes import Program  # noqa: E402

TASKS = (
    "heilbronn_convex_13", "heilbronn_convex_14", "hexagons_11", "min_max_distance", "low_autocorrelation_48",
    "autocorrelation_30",
)  # fmt: skip

CALLS = 200
MARKS = (50, 100, 200)


class Scripted:
    """A task with the scripted proposer as the ground of one run (policies.Ground). A program's basin is its number."""

    noise = 0.0

    def __init__(self, task: str) -> None:
        self.task = task
        self.texts = [(proposer.TASKS / task / "seed" / "program.py").read_text()]
        self.scores = [proposer.scorer(task)(proposer.table_of(self.texts[0]))]
        self.known = {self.texts[0]: 0}

    @property
    def seed(self) -> Program:
        return self._program(0)

    def _program(self, number: int) -> Program:
        table = proposer.table_of(self.texts[number])
        return Program(number, 0.0, place=tuple(float(v) for row in table for v in row))

    def fitness(self, program: Program) -> float:
        return self.scores[program.basin]

    def progress(self, fitness: float) -> float:
        low = self.scores[0]
        return math.log(fitness / low) / math.log(tables.KNOWN[self.task] / low)

    def expandable(self, program: Program) -> bool:
        return True

    def propose(self, parent: Program, siblings: Sequence[Program], operator: str, rng: random.Random) -> Program | None:
        prompt = f'# The program\n\nprogram.py\n```\n{self.texts[parent.basin]}```\n\nAnswer in format "whole".'
        made = proposer.propose([{"role": "user", "content": prompt}], self.task, rng)
        if made is None or not made.program:
            return None
        if made.program in self.known:  # refused before it is paid for, whoever its parent was
            return siblings[0] if siblings else None
        try:
            score = proposer.scorer(self.task)(proposer.table_of(made.program))
        except ValueError:
            return None
        self.known[made.program] = len(self.texts)
        self.texts.append(made.program)
        self.scores.append(score)
        return self._program(len(self.texts) - 1)


def row(task: str, policy: str, seeds: Sequence[int]) -> dict[str, Any]:
    selector, parts = po.SELECTORS[policy]
    runs = [po.run(Scripted(task), selector, CALLS, f"{task}/{seed}", **parts) for seed in seeds]
    return {
        "landscape": task, "policy": policy, "marks": MARKS, "digest": "",
        "progress": [[round(run.curve[mark - 1], 4) for mark in MARKS] for run in runs],
        "evaluations": sum(r.evaluations for r in runs) / len(runs), "invalid": sum(r.invalid for r in runs) / len(runs),
        "duplicates": sum(r.duplicates for r in runs) / len(runs),
    }  # fmt: skip


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--policies", default=",".join(po.SELECTORS))
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--most", type=float, default=float("inf"), help="start no further row after so many seconds")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "develop.jsonl")
    options = parser.parse_args(arguments)
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    done = set() if options.smoke else {(r["landscape"], r["policy"]) for r in rows}
    began = time.monotonic()
    for policy in options.policies.split(","):
        for task in options.tasks.split(",")[: 1 if options.smoke else None]:
            if (task, policy) in done or time.monotonic() - began > options.most:
                continue
            made = row(task, policy, range(1 if options.smoke else options.seeds))
            if options.smoke:
                say(json.dumps(made))
                continue
            with options.out.open("a") as file:
                file.write(json.dumps(made) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
