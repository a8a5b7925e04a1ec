"""Edits to Python's structure: tokens, expressions, statements, elements, letters. Each is a function of a workpiece and
a random stream that returns what to splice, in words, or None where the file has no place for it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evolve.mutators.chance import heavy_tailed, pick, some, weighted
from evolve.mutators.workpiece import SWAPS, Edit, Expression, Statement, Workpiece

CONSTANTS = (b"0", b"1", b"2", b"3", b"0.5", b"0.1", b"10", b"-1")
"""Numbers of the grammar of new expressions."""

DEEPEST = 2
"""Levels of a new expression."""


@dataclass(frozen=True, slots=True)
class Change:
    """Edits that belong together. kind: credited in the operator's name. words: one phrase for the commit's subject."""

    edits: Sequence[Edit]
    kind: str
    words: str


Kind = Callable[[Workpiece, random.Random], Change | None]


def short(text: bytes) -> str:
    line = " ".join(text.decode("utf-8", "replace").split())
    return line if len(line) <= 40 else line[:37] + "..."


# ---- tokens and expressions ------------------------------------------------------------------------------------------


def swap(piece: Workpiece, rng: random.Random) -> Change | None:
    """An operator, comparison, boolean, or the like becomes another one."""
    if not piece.swaps:
        return None
    start, end = pick(piece.swaps, rng)
    old = piece.content[start:end]
    new = pick(SWAPS[old], rng)
    return Change([(start, end, new)], "swap", f"{old.decode()} becomes {new.decode()}")


def replace(piece: Workpiece, rng: random.Random) -> Change | None:
    """An expression becomes another one of the file, or a new one over the names in scope."""
    if not piece.expressions:
        return None
    one = pick(piece.expressions, rng)
    other = pick(piece.expressions, rng)
    if one.truth:
        new = condition(piece, one.start, rng)
    elif rng.random() < 0.3 and _readable(piece, other, one.start):
        new = _grouped(piece.content[other.start : other.end])
    else:
        new = grow(piece, one.start, rng)
    return _become(piece, one, new, "expression")


def combine(piece: Workpiece, rng: random.Random) -> Change | None:
    """An expression is combined with a new one."""
    if not piece.expressions:
        return None
    one = pick(piece.expressions, rng)
    old = _grouped(piece.content[one.start : one.end])
    other = grow(piece, one.start, rng, level=1)
    if one.truth:
        new = b"(%s %s %s)" % (old, pick((b"and", b"or"), rng), condition(piece, one.start, rng))
    else:
        new = _combined(old, other, lambda: condition(piece, one.start, rng), rng)
    return _become(piece, one, new, "expression")


def unwrap(piece: Workpiece, rng: random.Random) -> Change | None:
    """An expression becomes one of its own operands."""
    compound = [e for e in piece.expressions if e.inner]
    if not compound:
        return None
    one = pick(compound, rng)
    start, end = pick(one.inner, rng)
    return _become(piece, one, piece.content[start:end], "unwrap")


def grow(piece: Workpiece, at: int, rng: random.Random, level: int = 0) -> bytes:
    """A new expression over the names that may be read at `at`: name | number | -E | abs(E) | E op E | min(E, E) |
    max(E, E) | (E if C else E)."""
    names = piece.visible(at)
    draw = rng.random()
    if level < DEEPEST and draw < 0.35:
        left, right = grow(piece, at, rng, level + 1), grow(piece, at, rng, level + 1)
        return _combined(left, right, lambda: condition(piece, at, rng, level + 1), rng)
    if level < DEEPEST and draw < 0.42:
        inner = grow(piece, at, rng, level + 1)
        return b"abs(%s)" % inner if rng.random() < 0.5 else b"(-%s)" % inner
    if draw < 0.8 and names:
        arithmetic = [name for name in names if name.arithmetic]
        return pick(arithmetic if arithmetic and rng.random() < 0.85 else names, rng).name
    if piece.numbers and rng.random() < 0.4:
        number = pick(piece.numbers, rng)
        return _grouped(piece.content[number.start : number.end])
    return _grouped(pick(CONSTANTS, rng))


def condition(piece: Workpiece, at: int, rng: random.Random, level: int = 1) -> bytes:
    """A new comparison."""
    sign = pick((b"<", b"<=", b">", b">=", b"==", b"!="), rng)
    return b"%s %s %s" % (grow(piece, at, rng, level + 1), sign, grow(piece, at, rng, level))


def _combined(left: bytes, right: bytes, test: Callable[[], bytes], rng: random.Random) -> bytes:
    draw = rng.random()
    if draw < 0.7:
        return b"(%s %s %s)" % (left, pick((b"+", b"-", b"*", b"/", b"+", b"-", b"*", b"**"), rng), right)
    if draw < 0.85:
        return b"%s(%s, %s)" % (pick((b"min", b"max"), rng), left, right)
    return b"(%s if %s else %s)" % (left, test(), right)


def _become(piece: Workpiece, one: Expression, new: bytes, kind: str) -> Change:
    old = piece.content[one.start : one.end]
    return Change([(one.start, one.end, new)], kind, f"{short(old)} becomes {short(new)}")


def _grouped(text: bytes) -> bytes:
    """The text as one operand."""
    whole = text.replace(b"_", b"a").replace(b".", b"a").isalnum()
    return (
        text if whole or (text.startswith(b"(") and text.endswith(b")") and text.count(b"(") == 1) else b"(%s)" % text
    )


def _readable(piece: Workpiece, other: Expression, at: int) -> bool:
    """Whether the names of an expression may be read at a position (those that are variables somewhere)."""
    here = {name.name for name in piece.visible(at)}
    there = {name.name for name in piece.visible(other.start)}
    text = piece.content[other.start : other.end]
    return not any(name in text for name in there - here)


# ---- statements ------------------------------------------------------------------------------------------------------


def delete(piece: Workpiece, rng: random.Random) -> Change | None:
    if not piece.statements:
        return None
    one = pick(piece.statements, rng)
    new = one.indent + b"pass\n" if one.alone else b""
    return Change([(one.start, one.end, new)], "delete", f"delete {short(_text(piece, one))}")


def copy(piece: Workpiece, rng: random.Random) -> Change | None:
    """A statement is repeated before another one, at that one's indent."""
    if not piece.statements:
        return None
    one, where = pick(piece.statements, rng), pick(piece.statements, rng)
    text = _indented(_text(piece, one), one.indent, where.indent)
    return Change([(where.start, where.start, text)], "copy", f"copy {short(text)}")


def move(piece: Workpiece, rng: random.Random) -> Change | None:
    """A statement goes before another one, mostly of its own block."""
    if len(piece.statements) < 2:
        return None
    one = pick(piece.statements, rng)
    outside = [s for s in piece.statements if s.start >= one.end or s.end <= one.start]
    block = [s for s in outside if s.block == one.block]
    if not outside:
        return None
    where = pick(block if block and rng.random() < 0.7 else outside, rng)
    text = _indented(_text(piece, one), one.indent, where.indent)
    left = one.indent + b"pass\n" if one.alone else b""
    return Change([(one.start, one.end, left), (where.start, where.start, text)], "move", f"move {short(text)}")


def guard(piece: Workpiece, rng: random.Random) -> Change | None:
    """A statement happens only on a new condition."""
    if not piece.statements:
        return None
    one = pick(piece.statements, rng)
    test = condition(piece, one.start, rng)
    deeper = one.indent + (b"\t" if b"\t" in one.indent else b"    ")
    text = one.indent + b"if " + test + b":\n" + _indented(_text(piece, one), one.indent, deeper)
    return Change([(one.start, one.end, text)], "guard", f"{short(_text(piece, one))} only if {short(test)}")


def _text(piece: Workpiece, one: Statement) -> bytes:
    text = piece.content[one.start : one.end]
    return text if text.endswith(b"\n") else text + b"\n"


def _indented(text: bytes, old: bytes, new: bytes) -> bytes:
    """Lines whose indent `old` gives way to `new`; blank lines, and lines of a string that start further left, stay."""
    lines = text.splitlines(keepends=True)
    return b"".join(new + line[len(old) :] if line.startswith(old) and line.strip() else line for line in lines)


# ---- elements and letters --------------------------------------------------------------------------------------------


def exchange(piece: Workpiece, rng: random.Random) -> Change | None:
    """Two elements of a collection, or two arguments, change places."""
    if not piece.siblings:
        return None
    spans = pick(piece.siblings, rng)
    (a, b), (c, d) = sorted((pick(spans, rng), pick(spans, rng)))
    if (a, b) == (c, d):
        return None
    x, y = piece.content[a:b], piece.content[c:d]
    return Change([(a, b, y), (c, d, x)], "exchange", f"{short(x)} and {short(y)} change places")


def respell(piece: Workpiece, rng: random.Random) -> Change | None:
    """Letters of a string in few letters become others of its alphabet (how many is heavy-tailed), or a stretch of it
    is reversed, rotated by one, or written over another stretch."""
    if not piece.letters:
        return None
    one = weighted(piece.letters, [one.end - one.start for one in piece.letters], rng)
    text = bytearray(piece.content[one.start : one.end])
    draw = rng.random()
    if draw < 0.8:
        count = heavy_tailed(len(text), 0.6, rng)
        for at in some(count, len(text), rng):
            text[at] = pick(one.alphabet.replace(text[at : at + 1], b""), rng)
        words = f"{count} letter{'s' * (count > 1)} of a string"
    else:
        size = 2 + int(rng.random() * (len(text) - 1))
        at = int(rng.random() * (len(text) - size + 1))
        part = text[at : at + size]
        if draw < 0.87:
            part = part[::-1]
        elif draw < 0.94:
            part = part[1:] + part[:1]
        to = at if draw < 0.94 else int(rng.random() * (len(text) - size + 1))
        text[to : to + size] = part
        words = f"a stretch of {size} letters"
    return Change([(one.start, one.end, bytes(text))], "letters", f"change {words}")


KINDS: Mapping[str, tuple[tuple[Kind, float], ...]] = {
    "improve": (
        (swap, 2), (replace, 3), (combine, 3), (unwrap, 1), (delete, 1), (copy, 1), (move, 1), (guard, 0.5), (exchange, 0.5),
    ),
    "explore": ((swap, 1), (replace, 3), (combine, 4), (unwrap, 1), (delete, 1), (copy, 2), (move, 2), (guard, 1)),
    "simplify": ((delete, 2), (unwrap, 1)),
}  # fmt: skip
"""Operator asked -> kinds of edits with their weights."""


def change(piece: Workpiece, operator: str, rng: random.Random) -> Change | None:
    """One structural edit of a kind that fits `operator`."""
    kinds = KINDS.get(operator, KINDS["improve"])
    return weighted(kinds, [weight for _, weight in kinds], rng)[0](piece, rng)
