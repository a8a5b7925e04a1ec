"""Proposal banks: trees of programs with real scores, at least 8 children at every node that a policy may expand.

    python benchmarks/search/bank.py make TASK [--depth 3] [--width 8] [--seed 0]   # by the scripted proposer
    python benchmarks/search/bank.py score FILE                                     # a tree written by somebody else
    python benchmarks/search/bank.py run [--seeds 200] [--calls 60] BANK...

A policy that only picks nodes is replayed on a bank without bias: each expansion yields the node's next child in an order
that depends on the run's seed and the node alone, so that all policies meet the same luck. Once a node's children are used
up, an earlier one comes again and costs its call. Leaves count and cannot be expanded. Banks cannot try what changes a
prompt: the children were made for their parents, not for a memory or an inspiration.

Format (gzip JSON lines): a header {"bank", "task", "mutator", "depth", "width"}, then nodes in order of birth {"id", "parent"
(null for the seed), "table" or "program", "score" (null: invalid), "idea"}. `mutator` says who wrote the children.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import policies as po  # noqa: E402
import proposer  # noqa: E402
from landscapes import Program  # noqa: E402

WIDTH = 8
"""Fewest children of a node that may be expanded."""


@dataclass(frozen=True)
class Node:
    id: int
    parent: int | None
    score: float | None
    content: object
    idea: str = ""


@dataclass(frozen=True)
class Bank:
    """nodes by id, 0 the seed; children: of each expandable node, in order of birth."""

    name: str
    task: str
    mutator: str
    nodes: tuple[Node, ...]
    children: dict[int, tuple[int, ...]]


def load(path: Path) -> Bank:
    """A bank from its file. Raises ValueError naming the node that breaks the format."""
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    head, rows = lines[0], lines[1:]
    nodes = tuple(
        Node(r["id"], r["parent"], r["score"], r.get("table", r.get("program")), r.get("idea", "")) for r in rows
    )
    children: dict[int, list[int]] = {}
    for place, node in enumerate(nodes):
        if node.id != place or (node.parent is None) != (place == 0) or (node.parent or 0) >= max(place, 1):
            raise ValueError(
                f"{path.name}: node {node.id} at place {place} with parent {node.parent}; parents come first"
            )
        if node.parent is not None:
            children.setdefault(node.parent, []).append(node.id)
    for parent, found in children.items():
        if len(found) < WIDTH:
            raise ValueError(
                f"{path.name}: node {parent} has {len(found)} children; one that may be expanded needs {WIDTH}"
            )
        if nodes[parent].score is None:
            raise ValueError(f"{path.name}: node {parent} is invalid and has children")
    if nodes[0].score is None:
        raise ValueError(f"{path.name}: the seed has no score")
    return Bank(head["bank"], head["task"], head["mutator"], nodes, {p: tuple(c) for p, c in children.items()})


def save(path: Path, head: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in (head, *rows))
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


class Replay:
    """A bank as the ground of one run (policies.Ground). A program's basin is its node's id."""

    noise = 0.0

    def __init__(self, bank: Bank, seed: object) -> None:
        self.bank, self.key = bank, seed
        self._used: dict[int, int] = {}
        scores = [n.score for n in bank.nodes if n.score is not None]
        self._origin, self._top = scores[0], max(scores)

    @property
    def seed(self) -> Program:
        return self._program(0)

    def _program(self, node: int) -> Program:
        rng = random.Random(f"{self.bank.name}/{node}")
        return Program(node, 0.0, place=tuple(rng.gauss(0, 1) for _ in range(4)))

    def fitness(self, program: Program) -> float:
        score = self.bank.nodes[program.basin].score
        assert score is not None
        return score

    def progress(self, fitness: float) -> float:
        return (fitness - self._origin) / (self._top - self._origin)

    def expandable(self, program: Program) -> bool:
        return program.basin in self.bank.children

    def propose(
        self, parent: Program, siblings: Sequence[Program], operator: str, rng: random.Random
    ) -> Program | None:
        order = list(self.bank.children[parent.basin])
        random.Random(f"{self.key}/{parent.basin}").shuffle(order)
        place = self._used.get(parent.basin, 0)
        self._used[parent.basin] = place + 1
        if place >= len(order):  # used up: a valid one comes again
            order = [child for child in order if self.bank.nodes[child].score is not None] or order
        node = self.bank.nodes[order[place % len(order)]]
        return None if node.score is None else self._program(node.id)


# ---- making one ------------------------------------------------------------------------------------------------------


def make(task: str, depth: int, width: int, seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A bank by the scripted proposer: every scored node above `depth` gets `width` children, duplicates included."""
    if width < WIDTH:
        raise ValueError(f"a bank needs at least {WIDTH} children a node, not {width}")
    program = (proposer.TASKS / task / "seed" / "program.py").read_text()
    score = proposer.scorer(task)
    table = proposer.table_of(program)
    rows: list[dict[str, Any]] = [{"id": 0, "parent": None, "table": table, "score": score(table), "idea": "seed"}]
    level = [(0, program)]
    for _ in range(depth):
        following = []
        for parent, source in level:
            prompt = [{"role": "user", "content": f'# The program\n\n```\n{source}```\nformat "whole"'}]
            for child in range(width):
                made = proposer.propose(prompt, task, random.Random(f"{seed}/{parent}/{child}"))
                assert made is not None
                found = proposer.table_of(made.program) if made.program else None
                value = _score(task, found)
                rows.append({"id": len(rows), "parent": parent, "table": found, "score": value, "idea": made.kind})
                if value is not None:
                    following.append((len(rows) - 1, made.program))
        level = following
    head = {"bank": f"{task}-scripted-{seed}", "task": task, "mutator": "scripted", "depth": depth, "width": width}
    return head, rows


def _score(task: str, table: proposer.Table | None) -> float | None:
    if table is None:
        return None
    try:
        return proposer.scorer(task)(table)
    except ValueError:
        return None


def written(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A tree that somebody wrote, scored: JSON {"task", "mutator", "nodes": [{"parent", "table", "idea"}]}, the seed first."""
    tree = json.loads(path.read_text())
    rows = []
    for number, node in enumerate(tree["nodes"]):
        rows.append({"id": number, "parent": node["parent"], "table": node["table"], "idea": node["idea"]})
        rows[-1]["score"] = _score(tree["task"], node["table"])
    head = {"bank": path.stem, "task": tree["task"], "mutator": tree["mutator"], "depth": 2, "width": WIDTH}
    return head, rows


# ---- replaying policies ----------------------------------------------------------------------------------------------

POLICIES = (
    "default",
    "greedy",
    "restarts",
    "best-of-n",
    "uniform",
    "one island",
    "elite 0",
    "children off",
    "novelty off",
)


def replay(bank: Bank, policy: str, calls: int, seed: int) -> po.Played:
    selector, parts = po.SELECTORS[policy]
    key = f"{bank.name}/{seed}"
    return po.run(Replay(bank, key), selector, calls, key, **parts)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make")
    making.add_argument("task")
    making.add_argument("--depth", type=int, default=3)
    making.add_argument("--width", type=int, default=WIDTH)
    making.add_argument("--seed", type=int, default=0)
    scoring = verbs.add_parser("score")
    scoring.add_argument("file", type=Path)
    running = verbs.add_parser("run")
    running.add_argument("banks", type=Path, nargs="+")
    running.add_argument("--seeds", type=int, default=200)
    running.add_argument("--calls", type=int, default=60)
    running.add_argument("--out", type=Path, default=HERE / "results" / "banks.jsonl")
    options = parser.parse_args(arguments)
    if options.verb in ("make", "score"):
        made = (
            make(options.task, options.depth, options.width, options.seed)
            if options.verb == "make"
            else written(options.file)
        )
        path = HERE / "banks" / f"{made[0]['bank']}.jsonl.gz"
        save(path, *made)
        load(path)
        print(
            f"{path.name}: {len(made[1])} nodes, best {max(r['score'] for r in made[1] if r['score'] is not None):.6g}"
        )
        return 0
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for path in options.banks:
        bank = load(path)
        for policy in POLICIES:
            runs = [replay(bank, policy, options.calls, seed) for seed in range(options.seeds)]
            row = {
                "landscape": bank.name, "mutator": bank.mutator, "nodes": len(bank.nodes), "policy": policy,
                "calls": options.calls, "progress": [[round(run.curve[-1], 4)] for run in runs],
            }  # fmt: skip
            with options.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
