"""Number literals of any text language, and how far to move them.

A literal moves by a normal step times its scale. The step's size is self-adapting: mostly inherited from the parent's
own ancestors, each in proportion to what its step had gained, and varied log-normally (self-adaptation: Schwefel 1981;
Beyer and Schwefel 2002, "Evolution strategies"); else drawn anew. It is read back from the ideas of the lineage
("step 0.013: ..."), so a size is a function of the brief and the archive and of nothing else.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from evolve.mutators import Desk
from evolve.mutators.chance import heavy_tailed, log_uniform, pick, some, weighted
from evolve.population.candidate import Candidate

FRESH = 0.4
"""Chance that a step's size is drawn anew, log-uniform over LEAST..MOST. An elitist search takes small gains first, and
a step that could only be inherited would shrink far below what pays (measured: docs/search.md)."""

LEAST, MOST = 1e-2, 3.0

TAU = 0.8
"""Standard deviation of the logarithm of an inherited step's change."""

FLOOR = 1e-9
"""Smallest step ever."""

ANCESTORS = 20
"""How far back gains are credited."""

FEW = 4
"""Most different values of a table that is taken for one of signs or classes, where whole numbers stand for themselves."""

MANY = 12
"""Fewest literals of such a table."""

OUTSIDE = 0.05
"""Chance that a number of such a table becomes a value that the table does not hold."""

DIGITS = 2
"""Digits kept below the size of a literal's change; more would only be noise in the diff."""

_STEP = re.compile(r"\bstep (\d[\d.e+-]*\d|\d)")

C_LIKE = frozenset((
    ".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".cu", ".cuh", ".m", ".mm", ".java", ".js", ".mjs", ".ts", ".tsx", ".jsx",
    ".rs", ".go", ".cs", ".swift", ".kt", ".scala", ".zig", ".d", ".glsl", ".hlsl", ".wgsl", ".metal", ".cl", ".dart",
    ".php", ".v", ".sv",
))  # fmt: skip
"""Suffixes of languages with C's comments."""

DATA = frozenset((
    ".toml", ".json", ".yaml", ".yml", ".ini", ".cfg", ".conf", ".csv", ".tsv", ".txt", ".md", ".env", ".properties",
    ".xml", ".html", ".css",
))  # fmt: skip
"""Suffixes of files that hold no expressions: a sign may stand before any number."""

_LITERAL = re.compile(
    rb"(?<![\w.])(?:(?P<hex>0[xX][0-9a-fA-F]+)|(?P<real>\d+\.\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)"
    rb"|(?P<whole>0|[1-9]\d*))(?P<suffix>[uU]?[lL]{0,2}|[fF])(?![\w.])"
)
_STRING = rb"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
_HIDDEN_IN_C = re.compile(rb"//[^\n]*|/\*.*?\*/|^[ \t]*#[ \t]*include[^\n]*|" + _STRING, re.DOTALL | re.MULTILINE)
_HIDDEN_ELSEWHERE = re.compile(rb"(?:^|(?<=\s))#[^\n]*|" + _STRING, re.MULTILINE)
_DATE = re.compile(rb"[-:]\d")
_UNARY_AFTER = b"([{,=:;<>+-*/%&|?!~^\n"
"""A minus after one of these, or after a word that is no value, is a sign."""


@dataclass(frozen=True, slots=True)
class Number:
    """One number literal, its sign included: bytes start..end.

    kind:   "float", "int" or "hex". scale: the size of a natural step. signed: a minus may stand at `start`.
    table:  which outermost collection holds it; row: which innermost one (ordinals; -1: none).
    levels: the few values that its table holds, where that is one of signs or classes; else empty.
    """

    start: int
    end: int
    value: float
    kind: str
    scale: float
    signed: bool = True
    table: int = -1
    row: int = -1
    levels: tuple[int, ...] = ()

    def moved(self, step: float, rng: random.Random) -> bytes:
        """The literal moved by `step` times its scale, as text; a whole number by at least one, or by one of its bits."""
        if self.kind == "float":
            change = step * self.scale
            return self._signed(spell(self.value + change, change))
        whole = int(self.value)
        if self.levels and rng.random() >= OUTSIDE:
            return self._signed(b"%d" % pick([level for level in self.levels if level != whole], rng))
        if self.kind == "hex":
            bits = max(whole.bit_length(), 4)
            flipped = whole ^ (1 << int(rng.random() * bits))
            return b"0x%x" % flipped
        change = round(step * max(self.scale, 2.0)) or (1 if step > 0 else -1)
        return self._signed(b"%d" % (whole + change))

    def redrawn(self, rng: random.Random) -> bytes:
        """A fresh draw of the same kind: around its value where a table gives the spread, else of its magnitude."""
        if self.kind == "float":
            value = (
                self.value + rng.gauss(0, 2) * self.scale if self.table >= 0 else (4 * rng.random() - 2) * self.scale
            )
            return self._signed(spell(value, self.scale))
        if self.levels:
            return self._signed(b"%d" % pick(self.levels, rng))
        size = max(2 * abs(int(self.value)), 4)
        drawn = int(rng.random() * (size + 1))
        return b"0x%x" % drawn if self.kind == "hex" else b"%d" % drawn

    def _signed(self, text: bytes) -> bytes:
        return text if self.signed or not text.startswith(b"-") else b"(" + text + b")"


def spell(value: float, change: float) -> bytes:
    """A float literal that keeps DIGITS digits below the size of `change`; never looks like a whole number."""
    if not math.isfinite(value):
        return b"1e12" if value > 0 else b"-1e12"
    places = DIGITS - math.floor(math.log10(abs(change))) if change else 12
    text = repr(round(value, min(max(places, 0), 18)))
    if text == "-0.0":
        text = "0.0"
    return text.encode()


def read(text: bytes) -> tuple[float, str] | None:
    """Value and kind of a literal without a sign; None for one this module leaves alone (complex, octal, huge)."""
    plain = text.replace(b"_", b"")
    try:
        if plain[:2] in (b"0x", b"0X"):
            return float(int(plain, 16)), "hex"
        if plain.isdigit():
            return (float(int(plain)), "int") if len(plain) < 16 and (plain == b"0" or plain[0] != 48) else None
        value = float(plain)
    except ValueError:
        return None
    return (value, "float") if math.isfinite(value) else None


def scan(path: str, content: bytes) -> list[Number]:
    """Number literals of a text that is no Python, outside comments, strings and `#include` lines."""
    suffix = path[path.rfind(".") :].lower() if "." in path else ""
    hidden = [m.span() for m in (_HIDDEN_IN_C if suffix in C_LIKE else _HIDDEN_ELSEWHERE).finditer(content)]
    if suffix == ".json":
        hidden = [span for span in hidden if content[span[0]] == 34]
    found: list[Number] = []
    at = 0
    for match in _LITERAL.finditer(content):
        while at < len(hidden) and hidden[at][1] <= match.start():
            at += 1
        if at < len(hidden) and hidden[at][0] < match.end():
            continue
        got = read(content[match.start() : match.start("suffix")])
        if got is None or (got[1] == "int" and match["suffix"] in (b"f", b"F")):
            continue
        start, value, kind = match.start(), *got
        signed = suffix in DATA
        if kind != "hex" and start and content[start - 1] == 45 and _is_sign(content, start - 1):
            start, value, signed = start - 1, -value, True
        elif signed and (content[start - 1 : start] == b"-" or _DATE.match(content, match.end())):
            continue  # part of a date, a time, a range
        found.append(Number(start, match.start("suffix"), value, kind, abs(value) or 1.0, signed))
    return found


def _is_sign(content: bytes, minus: int) -> bool:
    """Whether the minus at a position is a sign rather than a subtraction."""
    before = content[:minus].rstrip(b" \t")
    return not before or before[-1] in _UNARY_AFTER or before.endswith((b"return", b"case"))


def levels(values: Sequence[tuple[float, str]]) -> tuple[int, ...]:
    """The few different values of a table of signs or classes, of its literals' (value, kind); empty for any other."""
    found = {value for value, _ in values}
    few = len(values) >= MANY and 2 <= len(found) <= FEW and all(kind == "int" for _, kind in values)
    return tuple(sorted(int(value) for value in found)) if few else ()


# ---- how far ---------------------------------------------------------------------------------------------------------


def step_of(idea: str) -> float | None:
    """The step size an idea names ("step 0.013: ..."), or None."""
    match = _STEP.search(idea)
    if match is None:
        return None
    try:
        return float(match[1])
    except ValueError:
        return None


def step_size(desk: Desk, parent: str, rng: random.Random) -> float:
    """The size of the next step from `parent` (hex commit id): inherited from an ancestor's gain, or drawn anew."""
    return step_of_credit([] if rng.random() < FRESH else gains(desk, parent), rng)


def step_of_credit(credit: Sequence[tuple[float, float]], rng: random.Random) -> float:
    """A step like one of these (step, gain), by gain; where there is none, drawn anew."""
    if not credit:
        return log_uniform(LEAST, MOST, rng)
    step, _ = weighted(credit, [gain for _, gain in credit], rng)
    return min(max(step * math.exp(rng.gauss(0, TAU)), FLOOR), MOST)


class Candidates(Protocol):
    """The part of a desk that tells of candidates."""

    def candidate(self, commit: str) -> Candidate: ...


def gains(desk: Candidates, commit: str) -> list[tuple[float, float]]:
    """(step, gain in fitness) of the last ANCESTORS first-parent steps to `commit` that had a size and gained."""
    out: list[tuple[float, float]] = []
    try:
        child = desk.candidate(commit)
        for _ in range(ANCESTORS):
            if not child.parents:
                break
            parent = desk.candidate(child.parents[0])
            step = step_of(child.idea)
            if step and child.fitness is not None and parent.fitness is not None and child.fitness > parent.fitness:
                out.append((step, child.fitness - parent.fitness))
            child = parent
    except KeyError:  # the lineage goes on in the user's history, which is no candidate's
        return out
    return out


# ---- which -----------------------------------------------------------------------------------------------------------


def choose(numbers: Sequence[Number], rng: random.Random) -> list[Number]:
    """Which literals move together: a whole row of a nested table, neighbours in the text, or any of the same table (or
    of those in none); how many of the latter is heavy-tailed."""
    one = pick(numbers, rng)
    if one.row != one.table and not one.levels and rng.random() < 0.85:
        return [n for n in numbers if n.row == one.row]
    alike = [n for n in numbers if n.table == one.table]
    count = heavy_tailed(len(alike), 0.6, rng)
    if count == 1:
        return [one]
    if rng.random() < 0.5:
        start = max(0, min(alike.index(one) - int(rng.random() * count), len(alike) - count))
        return alike[start : start + count]
    return [alike[i] for i in some(count, len(alike), rng)]


def move(numbers: Sequence[Number], step: float, rng: random.Random) -> list[tuple[int, int, bytes]]:
    """Edits (start, end, new text) that move the chosen literals by normal steps of size `step`."""
    return [(n.start, n.end, n.moved(step * rng.gauss(0, 1), rng)) for n in choose(numbers, rng)]
