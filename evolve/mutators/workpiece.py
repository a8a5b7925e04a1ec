"""A source file as mutation sees it: spans of bytes with what may stand there instead. Task-agnostic.

Python is read by tree-sitter, so an edit is a splice of bytes and everything else keeps its layout. In other text only
number literals are seen.
"""

from __future__ import annotations

import functools
import math
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import tree_sitter_python
from tree_sitter import Language, Node, Parser

Edit = tuple[int, int, bytes]
"""(start, end, replacement): bytes start..end of the old text give way to the new."""

_PYTHON = Language(tree_sitter_python.language())

_NUMBER = re.compile(
    rb"(?<![\w.])(?:\d+\.\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+)(?=[fFlLuU]?(?![\w.]))"
)
_COMMENT = re.compile(
    rb"//[^\n]*|/\*.*?\*/|#(?!\s*(?:define|if|include|pragma))[^\n]*|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL
)

SWAPS: dict[bytes, tuple[bytes, ...]] = {
    b"+": (b"-", b"*"), b"-": (b"+", b"/"), b"*": (b"/", b"+"), b"/": (b"*", b"-"), b"//": (b"/", b"%"),
    b"%": (b"//", b"*"), b"**": (b"*",), b"<": (b"<=", b">"), b"<=": (b"<", b">="), b">": (b">=", b"<"),
    b">=": (b">", b"<="), b"==": (b"!=",), b"!=": (b"==",), b"and": (b"or",), b"or": (b"and",),
    b"True": (b"False",), b"False": (b"True",), b"+=": (b"-=",), b"-=": (b"+=",), b"*=": (b"/=",), b"/=": (b"*=",),
    b"min": (b"max",), b"max": (b"min",), b"break": (b"continue",), b"continue": (b"break",),
}  # fmt: skip

_EXPRESSIONS = {
    "identifier", "integer", "float", "binary_operator", "unary_operator", "call", "attribute", "subscript",
    "parenthesized_expression", "comparison_operator", "boolean_operator", "not_operator", "conditional_expression",
}  # fmt: skip
_COLLECTIONS = {"list", "tuple", "dictionary", "set"}


@dataclass(frozen=True, slots=True)
class Number:
    """A number literal. `scale`: the size of a natural step: spread of the literals in the same table, else its own
    magnitude. `table`: which outermost collection holds it, -1 for none. `row`: which innermost one."""

    start: int
    end: int
    value: float
    integer: bool
    scale: float
    table: int
    row: int = -1

    def moved(self, step: float) -> bytes:
        """The literal moved by `step` times its scale, as text; an integer by at least one."""
        if self.integer:
            change = step * max(abs(self.value), 2.0)
            whole = round(change)
            return b"%d" % (int(self.value) + (whole or (1 if change > 0 else -1)))
        return spell(self.value + step * self.scale)

    def redraw(self, rng: random.Random) -> bytes:
        """A fresh draw of the same kind: uniform over the scale of its table, or of its own magnitude."""
        if self.integer:
            return b"%d" % rng.randint(0, max(2 * abs(int(self.value)), 4))
        return spell(
            rng.uniform(-1.0, 2.0) * self.scale if self.table < 0 else self.value + rng.gauss(0, 2) * self.scale
        )


def spell(value: float) -> bytes:
    """A float literal of 12 digits, never looking like an integer; finite whatever comes in."""
    if not math.isfinite(value):
        value = math.copysign(1e12, value) if value == value else 0.0
    text = f"{value:.12g}"
    if not any(c in text for c in ".e"):
        text += ".0"
    return (f"({text})" if text.startswith("-") else text).encode()


@dataclass(frozen=True, slots=True)
class Statement:
    """A whole statement with its lines: bytes start..end, its indent, and the block (parent node) it stands in."""

    start: int
    end: int
    indent: int
    block: int
    alone: bool


@dataclass(slots=True)
class Workpiece:
    """One file, read once. `python`: it parses as Python and more than numbers may change."""

    path: str
    content: bytes
    python: bool
    numbers: list[Number] = field(default_factory=list)
    swaps: list[tuple[int, int]] = field(default_factory=list)
    expressions: list[tuple[int, int]] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)

    @staticmethod
    def of(path: str, content: bytes) -> Workpiece:
        """The workpiece of a file, from a bounded cache."""
        return _read(path, content)

    def splice(self, edits: Iterable[Edit]) -> bytes:
        """The text with edits applied; overlapping ones after the first are dropped."""
        return splice(self.content, edits)


def splice(content: bytes, edits: Iterable[Edit]) -> bytes:
    out, at = [], 0
    for start, end, text in sorted(edits, key=lambda edit: (edit[0], edit[1])):
        if start < at:
            continue
        out += [content[at:start], text]
        at = end
    out.append(content[at:])
    return b"".join(out)


@functools.lru_cache(maxsize=256)
def _read(path: str, content: bytes) -> Workpiece:
    if b"\0" in content:
        return Workpiece(path, content, False)
    if path.endswith(".py"):
        tree = Parser(_PYTHON).parse(content)
        if not tree.root_node.has_error:
            piece = Workpiece(path, content, True)
            _walk(piece, tree.root_node)
            return piece
    piece = Workpiece(path, content, False)
    _scan(piece)
    return piece


def _scan(piece: Workpiece) -> None:
    """Numbers of any text language, outside comments and strings."""
    hidden = [(m.start(), m.end()) for m in _COMMENT.finditer(piece.content)]
    for match in _NUMBER.finditer(piece.content):
        if any(start <= match.start() < end for start, end in hidden):
            continue
        text = match[0]
        integer = not any(c in text for c in b".eE")
        value = float(text)
        piece.numbers.append(Number(match.start(), match.end(), value, integer, abs(value) or 1.0, -1))


def _walk(piece: Workpiece, root: Node) -> None:
    found: list[tuple[Node, int, int]] = []
    names: set[bytes] = set()
    stack: list[tuple[Node, int, int]] = [(root, -1, -1)]
    collections = 0
    while stack:
        node, table, row = stack.pop()
        kind = node.type
        if kind in ("string", "comment"):
            continue
        if kind in _COLLECTIONS:
            row, collections = collections, collections + 1
            table = row if table < 0 else table
        if kind in ("integer", "float"):
            found.append((node, table, row))
        if node.child_count == 0:
            text = node.text or b""
            if text in SWAPS and (kind != "identifier" or text in (b"min", b"max")):
                piece.swaps.append((node.start_byte, node.end_byte))
            if kind == "identifier":
                names.add(text)
        if kind in _EXPRESSIONS and _replaceable(node):
            piece.expressions.append((node.start_byte, node.end_byte))
        if kind in ("block", "module"):
            _statements(piece, node)
        stack.extend((child, table, row) for child in reversed(node.children))
    piece.names = sorted(names)
    piece.numbers = _scaled(found)


def _replaceable(node: Node) -> bool:
    """An expression that may be another one: not a name being bound, called with keyword, imported or defined."""
    parent = node.parent
    if parent is None:
        return False
    if parent.type in ("assignment", "augmented_assignment", "for_statement", "for_in_clause", "named_expression"):
        left = parent.child_by_field_name("left") or parent.child_by_field_name("name")
        return left is None or left.id != node.id
    return parent.type in (
        "binary_operator", "unary_operator", "argument_list", "parenthesized_expression", "comparison_operator",
        "boolean_operator", "not_operator", "conditional_expression", "return_statement", "list", "tuple", "subscript",
        "if_statement", "while_statement", "pair",
    )  # fmt: skip


def _statements(piece: Workpiece, block: Node) -> None:
    """Statements that own their lines; an import or a definition at the top is left alone."""
    children = [c for c in block.named_children if c.type != "comment"]
    for child in children:
        if child.type in ("import_statement", "import_from_statement", "future_import_statement", "function_definition",
                          "class_definition", "decorated_definition"):  # fmt: skip
            continue
        start = piece.content.rfind(b"\n", 0, child.start_byte) + 1
        if piece.content[start : child.start_byte].strip():
            continue
        end = piece.content.find(b"\n", child.end_byte)
        end = len(piece.content) if end < 0 else end + 1
        if piece.content[child.end_byte : end].strip() and not piece.content[child.end_byte : end].lstrip().startswith(
            b"#"
        ):
            continue
        statement = Statement(start, end, child.start_point.column, block.id, len(children) == 1)
        piece.statements.append(statement)


def _scaled(found: Sequence[tuple[Node, int, int]]) -> list[Number]:
    read: list[tuple[Node, int, int, float, bool]] = []
    by_table: dict[int, list[float]] = {}
    for node, table, row in found:
        text = (node.text or b"").replace(b"_", b"")
        try:
            value = float(int(text, 0)) if node.type == "integer" else float(text)
        except ValueError:
            continue  # complex, or an old octal
        read.append((node, table, row, value, node.type == "integer"))
        by_table.setdefault(table, []).append(value)
    spreads = {table: _spread(values) for table, values in by_table.items() if table >= 0}
    return [
        Number(n.start_byte, n.end_byte, v, i, spreads.get(t, 0.0) or abs(v) or 1.0, t, r) for n, t, r, v, i in read
    ]


def _spread(values: Sequence[float]) -> float:
    centre = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / len(values))
