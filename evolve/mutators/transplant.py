"""One hunk of another lineage, put into the parent."""

from __future__ import annotations

import random
from collections.abc import Mapping

from evolve.mutators import Desk
from evolve.mutators.chance import pick
from evolve.mutators.merge import hunks
from evolve.mutators.workpiece import parses
from evolve.population.brief import Brief, Inspiration, Proposal

OPERATOR = "transplant"

TRIES = 6
"""Hunks tried until one makes a program that parses."""


def donor(brief: Brief) -> str | None:
    """Who gives the hunk: the brief's second parent, else its first inspiration."""
    if len(brief.parents) > 1:
        return brief.parents[1]
    return brief.inspirations[0].candidate if brief.inspirations else None


def transplant(brief: Brief, desk: Desk, rng: random.Random, name: str = OPERATOR) -> Proposal:
    """A child of the first parent only, inspired by the donor. Two programs with a single difference give none: the
    child would be the donor over again."""
    source = donor(brief)
    if source is None:
        return Proposal(stillborn="there is no other lineage to take a hunk from", operator=name)
    ours, theirs = desk.files(brief.parents[0]), desk.files(source)
    differing = _differences(ours, theirs)
    if len(differing) < 2:
        return Proposal(stillborn=f"{source[:10]} differs in less than two hunks", operator=name)
    for _ in range(TRIES):
        path, i, j, text = pick(differing, rng)
        lines = ours[path].splitlines(keepends=True)
        content = b"".join([*lines[:i], text, *lines[j:]])
        if content != ours[path] and parses(path, content):
            words = f"transplant a hunk of {source[:10]} into {path}"
            credit = (
                () if any(i.candidate == source for i in brief.inspirations) else (Inspiration(source, "gave a hunk"),)
            )
            return Proposal({path: content}, words, name, parents=(brief.parents[0],), inspirations=credit)
    return Proposal(stillborn=f"no hunk of {source[:10]} makes a program that parses", operator=name)


def _differences(ours: Mapping[str, bytes], theirs: Mapping[str, bytes]) -> list[tuple[str, int, int, bytes]]:
    """(path, first and last line that give way, what comes in their place)."""
    out: list[tuple[str, int, int, bytes]] = []
    for path in sorted(set(ours) & set(theirs)):
        a, b = ours[path].splitlines(keepends=True), theirs[path].splitlines(keepends=True)
        out += [(path, i, j, b"".join(b[k:m])) for tag, i, j, k, m in hunks(a, b) if tag != "equal"]
    return out
