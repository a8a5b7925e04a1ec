"""Two parents in one child: a three-way merge with their merge base, as git does it, and by lot where that says no."""

from __future__ import annotations

import difflib
import random
from collections.abc import Mapping

from evolve.mutators import Desk
from evolve.mutators.workpiece import parses
from evolve.population.brief import Brief, Proposal

OPERATOR = "crossover"

TRIES = 4
"""Draws of hunks by lot until one makes a new program that parses."""

Hunk = tuple[str, int, int, int, int]
"""(tag, i, j, k, m): lines i..j of ours stand where lines k..m of theirs do; see difflib's opcodes."""


def crossover(brief: Brief, desk: Desk, rng: random.Random, name: str = OPERATOR) -> Proposal:
    """A child of both parents. Where git finds a conflict, or the merge is one parent over again, each differing hunk
    comes from either side by lot. The commit is a merge commit, its diff shown against the first parent."""
    first, second = brief.parents[:2]
    ours, theirs = desk.files(first), desk.files(second)
    base = desk.merge_base(first, second)
    merged = desk.merge(base, first, second) if base else None
    how = "three-way merge"
    for _ in range(TRIES):
        if merged is not None and merged not in (ours, theirs) and all(parses(*item) for item in merged.items()):
            break
        merged, how = _by_lot(ours, theirs, rng), "hunks by lot"
    else:
        return Proposal(stillborn="the parents' parts make no new program that parses", operator=name)
    changes: dict[str, bytes | None] = {path: text for path, text in merged.items() if ours.get(path) != text}
    changes.update(dict.fromkeys(path for path in ours if path not in merged))
    return Proposal(changes, f"cross with {second[:10]} ({how})", name, parents=(first, second))


def hunks(ours: list[bytes], theirs: list[bytes]) -> list[Hunk]:
    """Differing and equal stretches; a replaced stretch with as many lines on both sides is split into single lines."""
    out: list[Hunk] = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if tag == "replace" and j - i == m - k:
            out += [(tag, i + n, i + n + 1, k + n, k + n + 1) for n in range(j - i)]
        else:
            out.append((tag, i, j, k, m))
    return out


def _by_lot(ours: Mapping[str, bytes], theirs: Mapping[str, bytes], rng: random.Random) -> dict[str, bytes]:
    out = dict(ours)
    for path in sorted(set(ours) & set(theirs)):
        if ours[path] == theirs[path]:
            continue
        a, b = ours[path].splitlines(keepends=True), theirs[path].splitlines(keepends=True)
        lines: list[bytes] = []
        for tag, i, j, k, m in hunks(a, b):
            lines += a[i:j] if tag == "equal" or rng.random() < 0.5 else b[k:m]
        out[path] = b"".join(lines)
    return out
