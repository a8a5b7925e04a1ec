"""The control: independent draws around the seed, no selection, no memory."""

from __future__ import annotations

import random
from collections.abc import Mapping

from evolve.mutators.syntactic import Syntactic, Workpiece

LONGEST = 64
"""Steps of the longest random walk from the seed."""


def draw(files: Mapping[str, bytes], rng: random.Random) -> Mapping[str, bytes | None]:
    """An independent candidate: a random walk of 1 to LONGEST syntactic steps from the seed (its length log-uniform),
    or, every other time, the seed with a random share of its number literals drawn anew. Nothing is learnt."""
    if rng.random() < 0.5:
        return redraw(files, rng)
    steps = int(2 ** (rng.random() * 6.001))
    current = dict(files)
    mutator = Syntactic()
    for _ in range(steps):
        step = mutator.mutate(current, "improve", rng, scale=10 ** (-4 * rng.random()))
        for path, content in step.files.items():
            current[path] = content
    return {path: content for path, content in current.items() if content != files[path]}


def redraw(files: Mapping[str, bytes], rng: random.Random) -> Mapping[str, bytes | None]:
    """A random share of the number literals replaced by fresh draws of the same magnitude."""
    out: dict[str, bytes | None] = {}
    share = rng.random()
    for path in sorted(files):
        piece = Workpiece.of(path, files[path])
        edits = []
        for number in piece.numbers:
            if rng.random() < share:
                edits.append((number.start, number.end, number.redraw(rng)))
        if edits:
            out[path] = piece.splice(edits)
    return out
