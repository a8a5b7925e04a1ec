"""The key-less mutator: small syntactic edits, numbers with self-adapting steps, and recombination. Knows no task.

numeric.py     which literals move, and how far (any text language)
structure.py   tokens, expressions, statements, elements, letters (Python)
merge.py       two parents: a three-way merge
transplant.py  a hunk of another lineage
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from evolve.mutators import Desk, merge, numeric, structure, transplant
from evolve.mutators.chance import heavy_tailed, weighted
from evolve.mutators.structure import Change
from evolve.mutators.workpiece import Workpiece, parses
from evolve.population.brief import Brief, Proposal

NAME = "syntactic"

TRIES = 12
"""Draws within one proposal until one parses and changes something."""

MOST_EDITS = 6
"""Simultaneous changes of one mutation; how many is heavy-tailed."""

STRUCTURE = 0.75
"""Share of changes to structure in a file that is all code. It falls with the fifth power of the code's share of the
file: a table of numbers is there to be moved, and few changes to structure survive."""

LONGEST_IDEA = 160


@dataclass(frozen=True, slots=True)
class Mutation:
    """Whole new contents of the files that changed (none: no edit was found), what it was, and in words."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    kind: str = "none"
    words: str = ""


@dataclass(frozen=True, slots=True)
class Syntactic:
    """See `evolve.mutators.Mutator`. A proposal is a function of the brief's seed and the parents' lineage."""

    name: str = NAME
    operators: tuple[str, ...] = ("improve", "explore", "simplify", "crossover", "transplant")
    latency: bool = False

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        rng = random.Random(brief.seed)
        if brief.operator == "crossover" and len(brief.parents) > 1:
            return merge.crossover(brief, desk, rng, f"{NAME}/{merge.OPERATOR}")
        if brief.operator == "transplant":
            return transplant.transplant(brief, desk, rng, f"{NAME}/{transplant.OPERATOR}")
        parent = brief.parents[0]
        step = numeric.step_size(desk, parent, rng)
        made = mutate(desk.files(parent), brief.operator, rng, step, bool(brief.hint.get("levels", True)))
        operator = f"{NAME}/{made.kind}"
        if not made.files:
            return Proposal(stillborn="no edit was found that parses and changes something", operator=operator)
        return Proposal(dict(made.files), made.words, operator, parents=(parent,))


def mutate(files: Mapping[str, bytes], operator: str, rng: random.Random, step: float, levels: bool = True) -> Mutation:
    """One mutation of one file. `step` is the size of a number's move in units of its scale. levels: a table of signs or
    classes is kept to the values it holds, nearly always."""
    pieces = workpieces(files)
    if not levels:
        pieces = [replace(piece, numbers=[replace(n, levels=()) for n in piece.numbers]) for piece in pieces]
    for _ in range(TRIES if pieces else 0):
        piece = choose(pieces, rng)
        changes = _changes(piece, operator, rng, step)
        content = piece.splice(edit for change in changes for edit in change.edits)
        if changes and content != piece.content and parses(piece.path, content):
            return Mutation({piece.path: content}, changes[0].kind, _words(piece, changes, step))
    return Mutation()


def workpieces(files: Mapping[str, bytes]) -> list[Workpiece]:
    """Those of the files that have a place to change, by path."""
    return [piece for path in sorted(files) if (piece := Workpiece.of(path, files[path])).places]


def choose(pieces: list[Workpiece], rng: random.Random) -> Workpiece:
    """A file, by the logarithm of how many places it has."""
    return weighted(pieces, [1 + math.log(piece.places) for piece in pieces], rng)


def _changes(piece: Workpiece, operator: str, rng: random.Random, step: float) -> list[Change]:
    count = heavy_tailed(MOST_EDITS, 0.5, rng) if operator != "simplify" else 1
    changes: list[Change] = []
    numbers_moved = False
    for _ in range(count):
        found = change(piece, operator, rng, step)
        if found is None or (found.kind == "constant" and numbers_moved):
            continue
        numbers_moved |= found.kind == "constant"
        changes.append(found)
    return changes


def change(piece: Workpiece, operator: str, rng: random.Random, step: float) -> Change | None:
    """One change to structure, letters or numbers: letters by their share of the literals, structure by how much of the file is code."""
    code = piece.python and bool(piece.expressions or piece.statements)
    if operator == "simplify":
        return structure.change(piece, operator, rng) if code else None
    letters = sum(one.end - one.start for one in piece.letters)
    literals = letters + len(piece.numbers)
    if code and (not literals or rng.random() < _structural(piece, operator, literals)):
        return structure.change(piece, operator, rng)
    if rng.random() * literals < letters:
        return structure.respell(piece, rng)
    if not piece.numbers:
        return None
    moved = numeric.move(piece.numbers, step if operator != "explore" else max(step, numeric.LEAST), rng)
    return Change(moved, "constant", f"move {len(moved)} number{'s' * (len(moved) > 1)}")


def _structural(piece: Workpiece, operator: str, literals: int) -> float:
    places = len(piece.swaps) + len(piece.expressions) + 2 * len(piece.statements)
    share = places / (places + literals)
    return STRUCTURE * share**5 if operator != "explore" else max(STRUCTURE * share**5, 0.5)


def _words(piece: Workpiece, changes: list[Change], step: float) -> str:
    """The idea in one line; names the step where numbers moved, so that the lineage carries it (see numeric.py)."""
    lead = f"step {step:.3g}: " if any(change.kind == "constant" for change in changes) else ""
    text = lead + "; ".join(dict.fromkeys(change.words for change in changes))
    text = text if len(text) <= LONGEST_IDEA else text[: LONGEST_IDEA - 3] + "..."
    return f"{text} in {piece.path}"
