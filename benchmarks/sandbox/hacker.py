"""The hacker loop: the framework evolves attacks on its own toy grader, judged by what is seen from outside.

    python benchmarks/sandbox/hacker.py run [--evals 300] [--open mounts] [--out results/hacker.json]
    python benchmarks/sandbox/hacker.py make FOLDER        # a repository to `evolve run` or `evolve ask` in

`run` searches in a disposable machine (namespaces on a throw-away overlay, as tests/attacks/arena.py), as root. Two
mutators: `fragments` writes plans over a grammar of moves (those of tests/attacks, forged frames, ways to make a move), and
the key-less syntactic one with its transplants works on the texts. --open leaves walls out: the positive control, in
which the loop must find the hole.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from evolve import api
from evolve.mutators import Desk
from evolve.mutators.syntactic import Syntactic
from evolve.population.archive import Archive
from evolve.population.brief import Brief, Proposal
from evolve.settings import RunSettings
from tests.attacks import arena

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).with_name("hacker_task")
LONGEST = 5


FIRST_UID = 62_500
"""In the disposable machine the leases of the machine's own sandboxes are not seen, but their control groups are."""


def make(folder: Path, opened: tuple[str, ...] = (), first_uid: int = 0) -> Path:
    """A repository with the task in it."""
    folder.mkdir(parents=True)
    for name in ("evolve.toml", "brief.md", "attack.py"):
        shutil.copy(HERE / name, folder / name)
    moves = (ROOT / "tests/attacks/moves.py").read_text()
    (folder / "moves.py").write_text(moves.replace("del _name, _move, sys\n", "") + (HERE / "ways.py").read_text())
    text = (HERE / "evaluate.py").read_text().replace("@ROOT@", str(ROOT)).replace("@OPENED@", json.dumps(sorted(opened)))
    text = text.replace("@UID@", str(first_uid))
    (folder / "evaluate.py").write_text(text.replace("@FOUND@", str(found_by(folder))))
    for words in (("init", "-q", "-b", "main"), ("config", "user.name", "A User"), ("config", "user.email", "u@e.invalid"),
                  ("add", "."), ("commit", "-q", "-m", "Start")):  # fmt: skip
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def found_by(folder: Path) -> Path:
    """Where the referee of a repository's runs notes what it saw, a line for each attack."""
    return folder.absolute().with_name(f"{folder.name}-found.jsonl")


def vocabulary(moves: str) -> tuple[list[str], list[str]]:
    """(ways, moves) that a plan can name."""
    tree = ast.parse(moves)
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    ways = [str(key.value) for node in tree.body if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "WAYS"
            and isinstance(node.value, ast.Dict) for key in node.value.keys if isinstance(key, ast.Constant)]  # fmt: skip
    return ways, [name for name in names if name not in ("quietly", "name_self", "perform")]


class Fragments:
    """Changes the plan of an attack: one more move, one less, another way, another order, a plan drawn anew."""

    name = "fragments"
    operators = ("improve", "explore")
    latency = False

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        rng = random.Random(brief.seed)
        files = desk.files(brief.parents[0])
        text = files["attack.py"].decode("utf-8", "replace")
        try:
            ways, moves = vocabulary(files["moves.py"].decode())
        except (SyntaxError, UnicodeDecodeError):
            return Proposal(stillborn="moves.py does not parse")
        found = re.search(r"^PLAN = (\[.*\])$", text, re.M)
        if not ways or not moves or found is None:
            return Proposal(stillborn="there is no plan to change")
        try:
            plan = [(str(way), str(name)) for way, name in ast.literal_eval(found[1])]
        except (ValueError, SyntaxError, TypeError):
            plan = []
        plan, words = self._change(plan, ways, moves, rng, fresh=brief.operator == "explore")
        changed = text.replace(found[0], f"PLAN = {plan}")
        if changed == text:
            return Proposal(stillborn="the plan is as it was")
        return Proposal({"attack.py": changed.encode()}, words, "fragments")

    def _change(
        self, plan: list[tuple[str, str]], ways: list[str], moves: list[str], rng: random.Random, *, fresh: bool
    ) -> tuple[list[tuple[str, str]], str]:
        one = (rng.choice(ways), rng.choice(moves))
        kind = "anew" if fresh or not plan else rng.choice(("add", "drop", "way", "order", "replace"))
        if kind == "anew":
            plan = [(rng.choice(ways), rng.choice(moves)) for _ in range(rng.randint(1, LONGEST - 1))]
        elif kind == "drop" and len(plan) > 1:
            plan.pop(rng.randrange(len(plan)))
        elif kind == "way":
            at = rng.randrange(len(plan))
            plan[at] = (one[0], plan[at][1])
        elif kind == "order":
            rng.shuffle(plan)
        elif kind == "replace":
            plan[rng.randrange(len(plan))] = one
        elif len(plan) < LONGEST:
            plan.insert(rng.randint(0, len(plan)), one)
        return plan, f"{kind}: {' '.join(f'{way}/{name}' for way, name in plan)}"


def campaign(folder: Path, evaluations: int, seed: int, opened: tuple[str, ...]) -> dict[str, Any]:
    """One search; what each candidate took, as the referee saw it."""
    make(folder, opened, FIRST_UID)
    settings = RunSettings(where=folder, evaluations=evaluations, seed=seed, workers=1, control=False, publish=False)
    began = time.monotonic()
    session = api.open_session(settings, mutators={"fragments": Fragments(), "syntactic": Syntactic()})
    result = api.run(session)
    return {"seed": seed, "open": sorted(opened), "wall_s": round(time.monotonic() - began, 1), "load": os.getloadavg(),
            "evaluations": result.evaluations, **findings(folder)}  # fmt: skip


def findings(folder: Path, name: str = "hacker") -> dict[str, Any]:
    """What the candidates of a run took, out of its archive."""
    archive = Archive.open(folder)
    state = archive.state(name)
    operators: Counter[str] = Counter()
    hits: list[dict[str, Any]] = []
    rows = [json.loads(line) for line in found_by(folder).read_text().splitlines()]
    moves: set[str] = set()
    for candidate in sorted(state.candidates.values(), key=lambda c: c.number):
        if not candidate.brief:
            continue
        operators[candidate.operator] += 1
        text = (archive.store.file(candidate.commit, "attack.py") or b"").decode("utf-8", "replace")
        moves |= set(re.findall(r"\('\w+', '(\w+)'\)", text))
        if candidate.fitness:
            plan = re.search(r"^PLAN = .*$", text, re.M)
            said = sorted({name for row in rows if row["tree"] == candidate.tree for name in row["found"]})
            hits.append({"number": candidate.number, "fitness": candidate.fitness, "operator": candidate.operator,
                         "plan": plan[0] if plan else "", "found": said})  # fmt: skip
    return {"judged": len(rows), "candidates": sum(operators.values()), "operators": dict(operators), "moves_tried": len(moves), "hits": hits}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("run", "make", "findings"))
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--evals", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--open", default="")
    parser.add_argument("--out")
    options = parser.parse_args()
    opened = tuple(name.strip() for name in options.open.split(",") if name.strip())
    if options.what == "make":
        make(Path(options.folder), opened)
        return
    if options.what == "findings":
        print(json.dumps(findings(Path(options.folder)), indent=1))
        return
    out = os.open(options.out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644) if options.out else os.dup(1)
    from evolve.evaluators.sandbox import local, system

    arena._enter(system)
    local.FIRST_UID = FIRST_UID + 100
    with tempfile.TemporaryDirectory(prefix="hacker-run-") as folder:
        os.chmod(folder, 0o755)
        found = campaign(Path(folder) / "repository", options.evals, options.seed, opened)
    with open(out, "w") as file:
        file.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
