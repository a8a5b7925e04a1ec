"""The key-less mutator: small syntactic edits, numbers with self-adapting steps, and recombination. Knows no task.

A number moves by a normal step times its scale; the step's size is inherited from the parent and varied log-normally
(self-adaptation, Schwefel 1981; Beyer and Schwefel 2002), or now and then drawn anew. It travels in the operator's
name ("constant@0.013"), so it is part of the lineage and of nothing else.
"""

from __future__ import annotations

import ast
import difflib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evolve.mutators import Desk
from evolve.mutators.workpiece import SWAPS, Edit, Number, Workpiece
from evolve.population.brief import Brief, Proposal

TAU = 0.6
"""Standard deviation of the logarithm of a step's change from parent to child."""

FRESH = 0.7
"""Chance that a step's size is drawn anew, log-uniform over LEAST..MOST. High, because one elitist parent takes small
gains first and an inherited step then shrinks far below what would pay (measured: docs/search.md)."""

LEAST, MOST = 3e-3, 3.0

FIRST = 0.1
"""Step of a parent that carries none."""

TRIES = 12
"""Draws within one proposal until one parses and changes something."""


@dataclass(frozen=True, slots=True)
class Step:
    """One mutation: whole new contents of the files it changed, what it was, and in words."""

    files: Mapping[str, bytes]
    kind: str
    words: str


@dataclass(frozen=True, slots=True)
class Syntactic:
    """`structure`: share of edits that are not to numbers, where a file has both. See `evolve.mutators.Mutator`."""

    name: str = "syntactic"
    operators: tuple[str, ...] = ("improve", "explore", "simplify", "crossover", "transplant")
    latency: bool = False
    structure: float = 0.25

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        rng = random.Random(brief.seed)
        files = desk.files(brief.parents[0])
        if brief.operator == "crossover" and len(brief.parents) > 1:
            return self._crossover(brief, desk, files, rng)
        if brief.operator == "transplant" and len(brief.parents) > 1:
            return self._transplant(brief, desk, files, rng)
        scale = inherited(desk.candidate(brief.parents[0]).operator)
        if rng.random() < FRESH:
            scale = math.exp(rng.uniform(math.log(LEAST), math.log(MOST)))
        else:
            scale = min(max(scale * math.exp(TAU * rng.gauss(0, 1)), LEAST), MOST)
        step = self.mutate(files, brief.operator, rng, scale=scale)
        if not step.files:
            return Proposal(stillborn="no edit was found that parses and changes something", operator=step.kind)
        return Proposal(dict(step.files), step.words, step.kind)

    def mutate(self, files: Mapping[str, bytes], operator: str, rng: random.Random, *, scale: float) -> Step:
        """One mutation of one of the files; an empty Step where none was found."""
        paths = sorted(path for path, content in files.items() if content)
        for _ in range(TRIES):
            if not paths:
                break
            path = paths[int(rng.random() * len(paths))]
            piece = Workpiece.of(path, files[path])
            made = self._edits(piece, operator, rng, scale)
            if made is None:
                continue
            edits, kind, words = made
            content = piece.splice(edits)
            if content != piece.content and (not piece.python or _parses(content)):
                return Step({path: content}, kind, f"{words} in {path}")
        return Step({}, "none", "")

    # ---- kinds of edit -------------------------------------------------------------------------------------------

    def _edits(
        self, piece: Workpiece, operator: str, rng: random.Random, scale: float
    ) -> tuple[list[Edit], str, str] | None:
        if operator == "simplify":
            return _delete(piece, rng)
        structural = piece.python and (piece.statements or piece.expressions)
        share = self.structure if operator != "explore" else 0.6
        if piece.numbers and (not structural or rng.random() >= share * _room(piece)):
            return _numbers(piece, rng, scale if operator != "explore" else max(scale, 0.1))
        if not structural:
            return None
        kinds = (_swap, _swap, _expression, _expression, _wrap, _delete, _copy, _move)
        return kinds[int(rng.random() * len(kinds))](piece, rng)

    # ---- two parents ---------------------------------------------------------------------------------------------

    def _crossover(self, brief: Brief, desk: Desk, ours: Mapping[str, bytes], rng: random.Random) -> Proposal:
        """A three-way merge with the merge base; where it conflicts, each differing hunk from either side by lot."""
        theirs = desk.files(brief.parents[1])
        base = desk.merge_base(*brief.parents[:2])
        merged = desk.merge(base, *brief.parents[:2]) if base else None
        how = "merge"
        if merged is None or merged in (dict(ours), dict(theirs)):
            merged, how = _mix(ours, theirs, rng), "hunks by lot"
        changes = {path: text for path, text in merged.items() if ours.get(path) != text}
        if not changes or not _all_parse(changes):
            return Proposal(stillborn="the parents' parts make no new program that parses", operator="crossover")
        words = f"cross with {brief.parents[1][:10]} ({how})"
        return Proposal(changes, words, "crossover", parents=tuple(brief.parents[:2]))

    def _transplant(self, brief: Brief, desk: Desk, ours: Mapping[str, bytes], rng: random.Random) -> Proposal:
        """One hunk by which another lineage differs, put into the parent."""
        theirs = desk.files(brief.parents[1])
        for _ in range(TRIES):
            path = sorted(ours)[int(rng.random() * len(ours))]
            changed = _one_hunk(ours[path], theirs.get(path, b""), rng)
            if changed is not None and _all_parse({path: changed}):
                words = f"transplant a hunk of {brief.parents[1][:10]} in {path}"
                return Proposal({path: changed}, words, "transplant", parents=(brief.parents[0],))
        return Proposal(stillborn="no hunk of the other lineage fits", operator="transplant")


def inherited(operator: str) -> float:
    """The step size a parent carries in its operator's name."""
    _, at, text = operator.partition("@")
    try:
        return float(text) if at else FIRST
    except ValueError:
        return FIRST


def _room(piece: Workpiece) -> float:
    """How much of the file is structure rather than a table of numbers, 0..1."""
    places = len(piece.swaps) + len(piece.statements) * 2
    return places / (places + len(piece.numbers)) if places else 0.0


def _numbers(piece: Workpiece, rng: random.Random, scale: float) -> tuple[list[Edit], str, str]:
    """Move some literals: one, a run of neighbours, or a random share; how many is heavy-tailed."""
    chosen = _choose(piece.numbers, rng)
    edits = [(n.start, n.end, n.moved(scale * rng.gauss(0, 1))) for n in chosen]
    return edits, f"constant@{scale:.3g}", f"move {len(chosen)} number{'s' * (len(chosen) > 1)} by {scale:.1g}"


def _choose(numbers: Sequence[Number], rng: random.Random) -> list[Number]:
    if rng.random() < 0.5:  # the literals of one row of a table, or one alone
        one = numbers[int(rng.random() * len(numbers))]
        return [n for n in numbers if n.row == one.row] if one.row >= 0 else [one]
    count = min(len(numbers), int(1 / max(rng.random(), 1e-9) ** 0.7))
    at = int(rng.random() * len(numbers))
    if rng.random() < 0.6:  # neighbours in the text often belong together
        start = max(0, min(at - int(rng.random() * count), len(numbers) - count))
        return list(numbers[start : start + count])
    return [numbers[i] for i in sorted(rng.sample(range(len(numbers)), count))]


def _swap(piece: Workpiece, rng: random.Random) -> tuple[list[Edit], str, str] | None:
    if not piece.swaps:
        return None
    start, end = piece.swaps[int(rng.random() * len(piece.swaps))]
    old = piece.content[start:end]
    new = SWAPS[old][int(rng.random() * len(SWAPS[old]))]
    return [(start, end, new)], "swap", f"{old.decode()} becomes {new.decode()}"


def _expression(piece: Workpiece, rng: random.Random) -> tuple[list[Edit], str, str] | None:
    """An expression becomes a name of the file, another of its expressions, or a small number."""
    if not piece.expressions:
        return None
    start, end = piece.expressions[int(rng.random() * len(piece.expressions))]
    draw = rng.random()
    if draw < 0.4 and piece.names:
        new = piece.names[int(rng.random() * len(piece.names))]
    elif draw < 0.85:
        a, b = piece.expressions[int(rng.random() * len(piece.expressions))]
        new = piece.content[a:b]
        new = new if new.isalnum() else b"(" + new + b")"
    else:
        new = (b"0", b"1", b"2", b"0.5")[int(rng.random() * 4)]
    return [(start, end, new)], "expression", f"{_short(piece.content[start:end])} becomes {_short(new)}"


def _wrap(piece: Workpiece, rng: random.Random) -> tuple[list[Edit], str, str] | None:
    """An expression is combined with another one, or with a number."""
    if not piece.expressions:
        return None
    start, end = piece.expressions[int(rng.random() * len(piece.expressions))]
    old = piece.content[start:end]
    operator = (b"+", b"-", b"*", b"/")[int(rng.random() * 4)]
    if rng.random() < 0.5:
        a, b = piece.expressions[int(rng.random() * len(piece.expressions))]
        other = b"(" + piece.content[a:b] + b")"
    else:
        other = (b"2", b"0.5", b"1", b"0.1")[int(rng.random() * 4)]
    new = b"(" + old + b" " + operator + b" " + other + b")"
    return [(start, end, new)], "wrap", f"{_short(old)} becomes {_short(new)}"


def _delete(piece: Workpiece, rng: random.Random) -> tuple[list[Edit], str, str] | None:
    if not piece.statements:
        return None
    one = piece.statements[int(rng.random() * len(piece.statements))]
    new = b" " * one.indent + b"pass\n" if one.alone else b""
    return [(one.start, one.end, new)], "delete", f"delete {_short(piece.content[one.start : one.end])}"


def _copy(piece: Workpiece, rng: random.Random) -> tuple[list[Edit], str, str] | None:
    """A statement is repeated before another one, at that one's indent."""
    if not piece.statements:
        return None
    one = piece.statements[int(rng.random() * len(piece.statements))]
    where = piece.statements[int(rng.random() * len(piece.statements))]
    text = _indented(piece.content[one.start : one.end], one.indent, where.indent)
    return [(where.start, where.start, text)], "copy", f"copy {_short(text)}"


def _move(piece: Workpiece, rng: random.Random) -> tuple[list[Edit], str, str] | None:
    """A statement goes before another one of its block."""
    if len(piece.statements) < 2:
        return None
    one = piece.statements[int(rng.random() * len(piece.statements))]
    block = [s for s in piece.statements if s.block == one.block and s is not one]
    if not block:
        return None
    where = block[int(rng.random() * len(block))]
    text = piece.content[one.start : one.end]
    text = text if text.endswith(b"\n") else text + b"\n"
    return [(one.start, one.end, b""), (where.start, where.start, text)], "move", f"move {_short(text)}"


def _indented(text: bytes, old: int, new: int) -> bytes:
    lines = (text if text.endswith(b"\n") else text + b"\n").splitlines(keepends=True)
    return b"".join(
        b" " * new + line[min(old, len(line) - len(line.lstrip())) :] if line.strip() else line for line in lines
    )


def _short(text: bytes) -> str:
    line = " ".join(text.decode("utf-8", "replace").split())
    return line if len(line) <= 40 else line[:37] + "..."


# ---- recombination ---------------------------------------------------------------------------------------------------


def _mix(ours: Mapping[str, bytes], theirs: Mapping[str, bytes], rng: random.Random) -> dict[str, bytes]:
    out = dict(ours)
    for path in sorted(set(ours) & set(theirs)):
        a, b = ours[path].splitlines(keepends=True), theirs[path].splitlines(keepends=True)
        lines: list[bytes] = []
        for tag, i, j, k, m in _hunks(a, b):
            lines += a[i:j] if tag == "equal" or rng.random() < 0.5 else b[k:m]
        out[path] = b"".join(lines)
    return out


def _one_hunk(ours: bytes, theirs: bytes, rng: random.Random) -> bytes | None:
    a, b = ours.splitlines(keepends=True), theirs.splitlines(keepends=True)
    hunks = [hunk for hunk in _hunks(a, b) if hunk[0] != "equal"]
    if len(hunks) < 2:  # one hunk is the whole difference: that would be the other candidate itself
        return None
    _, i, j, k, m = hunks[int(rng.random() * len(hunks))]
    return b"".join([*a[:i], *b[k:m], *a[j:]])


def _hunks(a: list[bytes], b: list[bytes]) -> list[tuple[str, int, int, int, int]]:
    """Differing hunks; a replaced run of as many lines on both sides is split into single lines."""
    out: list[tuple[str, int, int, int, int]] = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "replace" and j - i == m - k:
            out += [(tag, i + n, i + n + 1, k + n, k + n + 1) for n in range(j - i)]
        else:
            out.append((tag, i, j, k, m))
    return out


def _parses(content: bytes) -> bool:
    try:
        ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _all_parse(files: Mapping[str, bytes]) -> bool:
    return all(not path.endswith(".py") or _parses(content) for path, content in files.items())


__all__ = ["Step", "Syntactic", "Workpiece", "inherited"]
