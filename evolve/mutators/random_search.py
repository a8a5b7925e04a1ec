"""The control: independent draws around the seed. No selection, no memory, nothing learnt.

A search must beat it at equal evaluations, or what it found was there for the picking.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from evolve.mutators import Desk
from evolve.mutators.chance import log_uniform, pick
from evolve.mutators.syntactic import change, choose, workpieces
from evolve.mutators.workpiece import Edit, Workpiece, parses
from evolve.population.brief import Brief, Proposal

NAME = "random-search"

MOST = 16
"""Changes of the largest draw."""

TRIES = 8
"""Draws until one parses and differs from the seed."""


def draw(files: Mapping[str, bytes], rng: random.Random) -> Mapping[str, bytes | None]:
    """An independent candidate: every other time the seed with 1..MOST syntactic changes at once (how many is
    log-uniform) and steps of any size, else the seed with a random share of its literals drawn anew."""
    if rng.random() < 0.5:
        return redraw(files, rng)
    pieces = workpieces(files)
    for _ in range(TRIES if pieces else 0):
        edits: dict[str, list[Edit]] = {}
        for _ in range(int((MOST + 1) ** rng.random())):
            piece = choose(pieces, rng)
            made = change(piece, "improve", rng, log_uniform(1e-4, 3.0, rng))
            edits.setdefault(piece.path, []).extend(made.edits if made else ())
        changed: dict[str, bytes | None] = {}
        for piece in pieces:
            content = piece.splice(edits.get(piece.path, ()))
            if content != piece.content and parses(piece.path, content):
                changed[piece.path] = content
        if changed:
            return changed
    return {}


def redraw(files: Mapping[str, bytes], rng: random.Random) -> Mapping[str, bytes | None]:
    """A random share of the number literals, and of the letters of strings in few letters, drawn anew. Files whose
    result does not parse stay as they are."""
    share = rng.random()
    out: dict[str, bytes | None] = {}
    for path in sorted(files):
        piece = Workpiece.of(path, files[path])
        edits: list[Edit] = []
        for number in piece.numbers:
            if rng.random() < share:
                edits.append((number.start, number.end, number.redrawn(rng)))
        for one in piece.letters:
            text = bytes(
                pick(one.alphabet, rng) if rng.random() < share else c for c in piece.content[one.start : one.end]
            )
            edits.append((one.start, one.end, text))
        content = piece.splice(edits)
        if content != piece.content and parses(path, content):
            out[path] = content
    return out


@dataclass(frozen=True, slots=True)
class RandomSearch:
    """The control as a mutator: walks the brief's first parent back to where its lineage began and draws from there.

    Under a selector that gives the seed as parent (`best-of-n`) that is the parent itself.
    """

    name: str = NAME
    operators: tuple[str, ...] = ("improve",)
    latency: bool = False

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        seed = _origin(desk, brief.parents[0])
        rng = random.Random(brief.seed)
        files = draw(desk.files(seed), rng)
        if not files:
            return Proposal(stillborn="the draw changed nothing", operator=NAME)
        return Proposal(files, "an independent draw from the seed", NAME, parents=(seed,))


def _origin(desk: Desk, commit: str) -> str:
    while True:
        parents = desk.candidate(commit).parents
        if not parents:
            return commit
        try:
            desk.candidate(parents[0])
        except KeyError:  # the user's own history, which is no candidate's
            return commit
        commit = parents[0]
