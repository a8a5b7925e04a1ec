"""How often a behavioural fingerprint refuses a program that is not the same as the one it is taken for.

    python benchmarks/gates/fingerprints.py [--evals N] [--seeds N] [TASK ...]

Real key-less searches, with fingerprints off, give candidates with verdicts. Afterwards each that scored is probed, in the order
of birth; one whose fingerprint an earlier one has would have been refused. It is a false refusal where the two do not score the
same. What "the same" means is exact: the fitness where a task repeats exactly; in online_bin_packing, whose score is noisy, the
order in which each size prefers the bins, which decides every packing. Bundled tasks bring no probes; these are what an author
would write: the whole answer where it is short, else a few inputs of the rule. Writes fingerprints.json beside this file (not with
--evals below 100, the smoke form).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evolve.api import evolve
from evolve.evaluators.sandbox import Sandbox
from evolve.evaluators.sandbox.ladder import open_sandbox, strongest
from evolve.gates import Probes
from evolve.outside import task_of
from evolve.population.archive import Archive
from evolve.population.candidate import Candidate
from evolve.tasks.statistics import clopper_pearson_upper
from evolve.tasks.task import Task

ROOT = Path(__file__).resolve().parents[2]
RULE = [
    [item, free, 100] for item, free in ((5, 30), (20, 45), (35, 38), (40, 100), (50, 61), (60, 74), (71, 96), (90, 95))
]

PROBES: dict[str, dict[str, dict[str, Any]]] = {
    "circle_packing": {"whole answer": {"target": "program.py:pack", "inputs": [[]]}},
    "low_autocorrelation": {"whole answer": {"target": "sequence.py:sequence", "inputs": [[]]}},
    "online_bin_packing": {
        "3 inputs": {"target": "heuristic.py:priority", "inputs": RULE[::3]},
        "8 inputs": {"target": "heuristic.py:priority", "inputs": RULE},
        "small table": {"target": "table.py:table", "inputs": [[20]]},
    },
    "heilbronn_triangle": {"whole answer": {"target": "program.py:answer", "inputs": [[]]}},
}

Files = Mapping[str, bytes]


def folder_of(task: str) -> Path:
    bundled = ROOT / "tasks" / task
    return bundled if bundled.exists() else ROOT / "benchmarks" / "search" / "tasks" / task


def preferences(sandbox: Sandbox, definition: Task, files: Files) -> str:
    """Digest of the order in which each size prefers the bins; "" where the rule gives none."""
    spec = importlib.util.spec_from_file_location("judge", folder_of("online_bin_packing") / "evaluate.py")
    assert spec and spec.loader
    judge = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(judge)
    whole = Whole(sandbox, definition).value(files, "table.py:table", judge.CAPACITY)
    try:
        return hashlib.sha256(json.dumps(judge.preferences(whole)).encode()).hexdigest()
    except ValueError:
        return ""


class Whole:
    """A function of a program's files called once, outside the gates' time limit."""

    def __init__(self, sandbox: Sandbox, task: Task) -> None:
        self.sandbox, self.task = sandbox, task

    def value(self, files: Files, target: str, *arguments: Any) -> Any:
        from evolve.gates import _call

        return _call(self.sandbox, files, self.task, 10.0, target, arguments, {})


def searched(task: str, evaluations: int, seed: int, place: Path) -> tuple[list[tuple[Candidate, Files]], Task, float]:
    """Scored candidates in the order of birth with their files, the task, and wall seconds an evaluation took."""
    shutil.copytree(folder_of(task), place / "task")
    began = time.monotonic()
    policy = {"fingerprints": False}
    evolve(
        place / "task" / "task.toml",
        where=place,
        evaluations=evaluations,
        seed=seed,
        control=False,
        workers=2,
        name="probed",
        policy=policy,
    )
    seconds = (time.monotonic() - began) / evaluations
    (path,) = [p for p in place.iterdir() if p.name.startswith("evolve-")] or [place]
    archive = Archive.open(path)
    state = archive.state("probed")
    found = [
        (c, dict(archive.store.files(c.commit)))
        for c in sorted(state.candidates.values(), key=lambda c: c.number)
        if c.fitness is not None
    ]
    definition = task_of(state, task)
    archive.close()
    return found, definition, seconds


def counted(candidates: Sequence[tuple[str, object]]) -> dict[str, int]:
    """Of (fingerprint, what it is worth) in the order of birth: refused, and falsely. A program without a fingerprint passes."""
    first: dict[str, object] = {}
    refused = false = 0
    for fingerprint, worth in candidates:
        if not fingerprint:
            continue
        if fingerprint in first:
            refused += 1
            false += first[fingerprint] != worth
        else:
            first[fingerprint] = worth
    return {"scored": len(candidates), "refused": refused, "false": false}


def measure(task: str, evaluations: int, seed: int) -> list[dict[str, Any]]:
    """One row for each set of probes of a task."""
    with tempfile.TemporaryDirectory() as folder:
        found, definition, seconds = searched(task, evaluations, seed, Path(folder))
        sandbox = open_sandbox(Path(folder) / "gate")
        worth: Callable[[Candidate, Files], object] = lambda candidate, files: candidate.fitness  # noqa: E731
        if task == "online_bin_packing":
            worth = lambda candidate, files: preferences(sandbox, definition, files)  # noqa: E731
        worths = [worth(candidate, files) for candidate, files in found]
        rows = []
        for name, probe in PROBES[task].items():
            probes, spent, prints = Probes(probe["target"], tuple(map(tuple, probe["inputs"]))), [], []
            for _, files in found:
                began = time.monotonic()
                prints.append(probes.fingerprint(sandbox, files, definition))
                spent.append(time.monotonic() - began)
            rows.append(
                {"task": task, "probes": name, "seed": seed, **counted(list(zip(prints, worths, strict=True)))}
                | {"unanswered": prints.count(""), "probe_seconds": round(sorted(spent)[len(spent) // 2], 4), "search_seconds": round(seconds, 4)}
            )  # fmt: skip
        sandbox.close()
    return rows


def pool(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By task and probes; upper95: Clopper and Pearson's exact one-sided bound of the false ones among those that scored."""
    out = []
    for key in dict.fromkeys((row["task"], row["probes"]) for row in rows):
        mine = [row for row in rows if (row["task"], row["probes"]) == key]
        scored, refused, false = (sum(row[name] for row in mine) for name in ("scored", "refused", "false"))
        rate = {"rate": false / scored, "upper95": clopper_pearson_upper(false, scored)} if scored else {}
        out.append({"task": key[0], "probes": key[1], "scored": scored, "refused": refused, "false": false, **rate})
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(PROBES))
    parser.add_argument("--evals", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args(arguments)
    rows = [
        row for task in options.tasks for seed in range(options.seeds) for row in measure(task, options.evals, seed)
    ]
    pooled = pool(rows)
    for row in (*rows, *pooled):
        print(json.dumps(row))
    if options.evals >= 100:
        facts = {"sandbox": strongest(), "evaluations": options.evals, "rows": rows, "pooled": pooled}
        Path(__file__).with_name("fingerprints.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
