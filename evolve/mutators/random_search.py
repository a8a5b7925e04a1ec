"""The control: independent draws around the seed. No selection, no memory, nothing learnt.

A search must beat it at equal evaluations, or what it found was there for the picking.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from evolve.mutators import Desk
from evolve.mutators.chance import log_uniform, pick
from evolve.mutators.syntactic import mutate
from evolve.mutators.workpiece import Edit, Workpiece, parses
from evolve.population.brief import Brief, Proposal

NAME = "random-search"

LONGEST = 16
"""Mutations of the longest random walk from the seed."""


def draw(files: Mapping[str, bytes], rng: random.Random) -> Mapping[str, bytes | None]:
    """An independent candidate: every other time a random walk of 1..LONGEST syntactic mutations (its length
    log-uniform) with steps of any size, else the seed with a random share of its literals drawn anew."""
    if rng.random() < 0.5:
        return redraw(files, rng)
    current = dict(files)
    for _ in range(int((LONGEST + 1) ** rng.random())):
        current.update(mutate(current, "improve", rng, log_uniform(1e-4, 3.0, rng)).files)
    return {path: content for path, content in current.items() if content != files[path]}


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
