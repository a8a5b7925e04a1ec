"""Banks that grow where a policy goes, on real problems with exact checkers: no node ever runs out of children.

    python benchmarks/search/grown.py [--seeds 20] [--tasks NAME,...] [--policies NAME,...]     # resumable; results/grown.jsonl
    python benchmarks/search/grown.py --smoke

The k-th child of a program is the scripted proposer's k-th answer to it (proposer.py), drawn from (task, run's seed, the
program's numbers, k) alone. So every policy of one seed walks the same tree, meets the same luck, and may expand any node as
often as it likes, which a bank of fixed width (bank.py) cannot offer for some hundred calls. A child equal to an earlier one
of the same parent is a duplicate and costs its call, as an invalid one does.

A row holds the best score after each of MARKS calls, for each seed of one (task, policy), the seed program's, and which default
it was.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import policies as po  # noqa: E402
import proposer  # noqa: E402
from landscapes import Program  # noqa: E402

MARKS = (60, 150, 300)
"""Calls after which a run's best is noted; the last is its length."""

TASKS = (
    "heilbronn_triangle", "heilbronn_convex_13", "heilbronn_convex_14", "erdos_overlap", "autocorrelation",
    "autocorrelation_second", "autocorrelation_third", "hexagons_11", "low_autocorrelation_64", "bin_packing_fixed",
)  # fmt: skip

CONTROLS = ("time-shuffled", "static mix")
POLICIES = (
    "default", "greedy", "restarts", "best-of-n", "uniform", "one island", "five islands", "elite 0", "elite 0.9", "opening 3",
    "children off", "novelty off", *CONTROLS,
)  # fmt: skip
POOL = 3
"""Runs of the default whose decisions the static mix draws from."""


@dataclass(frozen=True)
class Node:
    """A program of the tree with its score; text: its source."""

    program: Program
    score: float
    text: str


class Tree:
    """All that was grown under one key; walks of several policies share it."""

    def __init__(self, task: str, key: str) -> None:
        self.task, self.key = task, key
        self.nodes: list[Node] = []
        self._known: dict[str, int] = {}
        self._children: dict[tuple[int, int], int | None] = {}
        text = (proposer.TASKS / task / "seed" / "program.py").read_text()
        self._place(text, proposer.table_of(text))

    def child(self, parent: int, k: int) -> int | None:
        """The node of the k-th answer to a node; None where it is invalid. Nodes of the same numbers are one node."""
        if (parent, k) not in self._children:
            text = self.nodes[parent].text
            prompt = [{"role": "user", "content": f'# The program\n\n```\n{text}```\nformat "whole"'}]
            rng = random.Random(f"{self.task}/{self.key}/{proposer.table_of(text)}/{k}")
            made = proposer.propose(prompt, self.task, rng)
            assert made is not None, "the prompt holds a program"
            self._children[parent, k] = (
                self._place(made.program, proposer.table_of(made.program)) if made.program else None
            )
        return self._children[parent, k]

    def _place(self, text: str, table: proposer.Table) -> int | None:
        known = repr(table)
        if known not in self._known:
            try:
                score = proposer.scorer(self.task)(table)
            except ValueError:
                return None
            domain = proposer.DOMAINS[self.task]
            place = tuple(value / (domain.high - domain.low) for row in table for value in row)
            self._known[known] = len(self.nodes)
            self.nodes.append(Node(Program(len(self.nodes), 0.0, place=place), score, text))
        return self._known[known]


class Walk:
    """One run on a tree (policies.Ground). A program's basin is its node; progress is the score itself."""

    noise = 0.0

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._asked: dict[int, int] = {}

    @property
    def seed(self) -> Program:
        return self.tree.nodes[0].program

    def fitness(self, program: Program) -> float:
        return self.tree.nodes[program.basin].score

    def progress(self, fitness: float) -> float:
        return fitness

    def expandable(self, program: Program) -> bool:
        return True

    def propose(
        self, parent: Program, siblings: Sequence[Program], operator: str, rng: random.Random
    ) -> Program | None:
        k = self._asked.get(parent.basin, 0)
        self._asked[parent.basin] = k + 1
        found = self.tree.child(parent.basin, k)
        return None if found is None else self.tree.nodes[found].program


def play(tree: Tree, policy: str, calls: int) -> po.Played:
    """One run; the controls first let the default decide, on trees of the pool where its decisions must not be this run's."""
    if policy == "time-shuffled":
        made = po.run(Walk(tree), po.DEFAULT, calls, f"{tree.key}/first", noted=True).decisions
        random.Random(f"{tree.key}/order").shuffle(made)
        return po.run(Walk(tree), po.Replayed(tuple(made)), calls, tree.key)
    if policy == "static mix":
        return po.run(Walk(tree), po.StaticMix(pooled(tree.task, calls)), calls, tree.key)
    selector, parts = po.SELECTORS[policy]
    return po.run(Walk(tree), selector, calls, tree.key, **parts)


_POOLED: dict[tuple[str, int], tuple[po.Decision, ...]] = {}


def pooled(task: str, calls: int) -> tuple[po.Decision, ...]:
    """The default's decisions in POOL runs on trees of their own."""
    if (task, calls) not in _POOLED:
        runs = [po.run(Walk(Tree(task, f"pool/{n}")), po.DEFAULT, calls, f"pool/{n}", noted=True) for n in range(POOL)]
        _POOLED[task, calls] = tuple(decision for run in runs for decision in run.decisions)
    return _POOLED[task, calls]


def rows(task: str, names: Sequence[str], seeds: int, marks: Sequence[int] = MARKS) -> list[dict[str, Any]]:
    """One row a policy. Policies of one seed share its tree, which is forgotten after."""
    scores: dict[str, list[list[float]]] = {name: [] for name in names}
    counts: dict[str, list[int]] = {name: [0, 0] for name in names}
    nodes = 0
    for seed in range(seeds):
        tree = Tree(task, f"tree/{seed}")
        for name in names:
            run = play(tree, name, marks[-1])
            scores[name].append([float(f"{run.curve[mark - 1]:.8g}") for mark in marks])
            counts[name][0] += run.invalid
            counts[name][1] += run.duplicates
        nodes += len(tree.nodes)
    return [
        {
            "task": task, "mutator": "scripted", "policy": name, "default": repr(po.DEFAULT), "marks": list(marks), "origin": tree.nodes[0].score,
            "nodes": round(nodes / seeds), "scores": scores[name], "invalid": round(counts[name][0] / seeds, 1),
            "duplicates": round(counts[name][1] / seeds, 1),
        }
        for name in names
    ]  # fmt: skip


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def progress(found: Sequence[dict[str, Any]], mark: int = -1) -> dict[tuple[str, str], list[float]]:
    """(task, policy) -> progress of each seed: 0 the seed program, 1 the best that any run on record reached on the task."""
    out = {}
    for task in dict.fromkeys(r["task"] for r in found):
        mine = [r for r in found if r["task"] == task]
        origin, top = mine[0]["origin"], max(max(s) for r in mine for s in r["scores"])
        for r in mine:
            out[task, r["policy"]] = [(s[mark] - origin) / (top - origin) for s in r["scores"]]
    return out


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "grown.jsonl")
    options = parser.parse_args(arguments)
    done = {(r["task"], r["policy"]) for r in read(options.out) if len(r["scores"]) >= options.seeds}
    for task in options.tasks.split(",")[: 1 if options.smoke else None]:
        wanted = [p for p in options.policies.split(",") if options.smoke or (task, p) not in done]
        if not wanted:
            continue
        began = time.monotonic()
        made = rows(task, wanted, 1, (10, 20)) if options.smoke else rows(task, wanted, options.seeds)
        if options.smoke:
            say("\n".join(json.dumps(row) for row in made))
            continue
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with options.out.open("a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in made))
        say(f"{task}: {len(made)} policies in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
