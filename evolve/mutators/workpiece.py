"""A source file as mutation sees it: spans of bytes, and what may stand there instead. Knows no task.

Python is read by tree-sitter, so an edit is a splice of bytes and everything else keeps its layout. In other text only
number literals are seen.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import tree_sitter_python
from tree_sitter import Language, Node, Parser

from evolve.mutators import numeric
from evolve.mutators.numeric import Number

Edit = tuple[int, int, bytes]
"""(start, end, replacement): bytes start..end of the old text give way to the new."""

Span = tuple[int, int]

_PYTHON = Language(tree_sitter_python.language())

LARGEST = 1 << 20
"""Bytes of the largest file that is read."""

SWAPS: dict[bytes, tuple[bytes, ...]] = {
    b"+": (b"-", b"*"), b"-": (b"+", b"/"), b"*": (b"/", b"+"), b"/": (b"*", b"-"), b"//": (b"/", b"%"),
    b"%": (b"//", b"*"), b"**": (b"*",), b"<": (b"<=", b">"), b"<=": (b"<", b">="), b">": (b">=", b"<"),
    b">=": (b">", b"<="), b"==": (b"!=",), b"!=": (b"==",), b"and": (b"or",), b"or": (b"and",),
    b"&": (b"|", b"^"), b"|": (b"&", b"^"), b"^": (b"&", b"|"), b"<<": (b">>",), b">>": (b"<<",),
    b"True": (b"False",), b"False": (b"True",), b"+=": (b"-=",), b"-=": (b"+=",), b"*=": (b"/=",), b"/=": (b"*=",),
    b"min": (b"max",), b"max": (b"min",), b"break": (b"continue",), b"continue": (b"break",),
}  # fmt: skip
"""A token and what it may become."""

_OPERATORS = frozenset(
    ("binary_operator", "comparison_operator", "boolean_operator", "augmented_assignment", "unary_operator")
)
_EXPRESSIONS = frozenset((
    "identifier", "integer", "float", "binary_operator", "unary_operator", "call", "attribute", "subscript",
    "parenthesized_expression", "comparison_operator", "boolean_operator", "not_operator", "conditional_expression",
))  # fmt: skip
_PLACES = frozenset((
    "binary_operator", "unary_operator", "argument_list", "parenthesized_expression", "comparison_operator",
    "boolean_operator", "not_operator", "conditional_expression", "return_statement", "list", "tuple", "subscript",
    "if_statement", "elif_clause", "while_statement", "pair", "assignment", "augmented_assignment", "for_statement",
    "for_in_clause", "named_expression", "if_clause", "list_comprehension", "generator_expression", "keyword_argument",
    "default_parameter",
))  # fmt: skip
_COLLECTIONS = frozenset(("list", "tuple", "dictionary", "set"))
_COMPREHENSIONS = frozenset(
    ("list_comprehension", "set_comprehension", "dictionary_comprehension", "generator_expression")
)
_LEFT_ALONE = frozenset((
    "import_statement", "import_from_statement", "future_import_statement", "function_definition", "class_definition",
    "decorated_definition", "global_statement", "nonlocal_statement", "comment",
))  # fmt: skip
_BINDERS = frozenset(
    ("assignment", "augmented_assignment", "for_statement", "for_in_clause", "named_expression", "keyword_argument",
     "default_parameter")
)  # fmt: skip
_COMPOUND = frozenset(
    ("binary_operator", "boolean_operator", "comparison_operator", "conditional_expression", "unary_operator")
)
_BINDING = _COMPREHENSIONS | {"assignment", "for_statement", "named_expression", "function_definition", "lambda"}
_TOKENS = frozenset(token.decode() for token in SWAPS)
_MOST_LETTERS = 8
"""Letters of an alphabet."""
_FEWEST_ROWS = 4
"""Rows of a table from which its columns have a spread of their own."""
_MOST_CELLS = 16
"""Numbers in tables that are also expressions; in a larger table only their values change."""


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that may be another one. `inner`: its operands. `truth`: it is a condition."""

    start: int
    end: int
    inner: tuple[Span, ...] = ()
    truth: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """A whole statement with its lines: bytes start..end, the space before it, the block (node id) it stands in, and
    whether it is alone there."""

    start: int
    end: int
    indent: bytes
    block: int
    alone: bool


@dataclass(frozen=True, slots=True)
class Letters:
    """The inside of a string literal that is written in an alphabet of few letters."""

    start: int
    end: int
    alphabet: bytes


@dataclass(frozen=True, slots=True)
class Name:
    """A variable that may be read between bytes since..until. `arithmetic`: it is somewhere an operand."""

    name: bytes
    since: int
    until: int
    arithmetic: bool = False


@dataclass(slots=True)
class Workpiece:
    """One file, read once. `python`: it parses as Python, and more than numbers may change.

    siblings: spans of the elements of each collection or argument list that has two or more.
    """

    path: str
    content: bytes
    python: bool = False
    numbers: list[Number] = field(default_factory=list)
    swaps: list[Span] = field(default_factory=list)
    expressions: list[Expression] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    siblings: list[tuple[Span, ...]] = field(default_factory=list)
    letters: list[Letters] = field(default_factory=list)
    names: list[Name] = field(default_factory=list)

    @staticmethod
    def of(path: str, content: bytes) -> Workpiece:
        """The workpiece of a file, from a bounded cache."""
        return _read(path, content)

    @property
    def places(self) -> int:
        """How many places may change; 0: this file is not for us."""
        letters = sum(one.end - one.start for one in self.letters)
        return len(self.numbers) + letters + len(self.swaps) + len(self.expressions) + len(self.statements)

    def visible(self, at: int) -> list[Name]:
        """Variables that may be read at a position, each once, by name."""
        return list({name.name: name for name in self.names if name.since <= at < name.until}.values())

    def splice(self, edits: Iterable[Edit]) -> bytes:
        """The text with edits applied; an edit that overlaps an earlier place's is dropped."""
        out, at = [], 0
        for start, end, text in sorted(edits, key=lambda edit: edit[:2]):
            if start < at:
                continue
            out += [self.content[at:start], text]
            at = end
        out.append(self.content[at:])
        return b"".join(out)


def parses(path: str, content: bytes) -> bool:
    """Whether a file is a program, as far as its language is known here: Python must compile."""
    if not path.endswith(".py"):
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(content, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return False
    return True


@functools.lru_cache(maxsize=64)
def _read(path: str, content: bytes) -> Workpiece:
    piece = Workpiece(path, content)
    if b"\0" in content[:8192] or len(content) > LARGEST:
        return piece
    if path.endswith(".py"):
        tree = Parser(_PYTHON).parse(content)
        if not tree.root_node.has_error:
            _Reader(piece, tree.root_node).read()
        return piece
    piece.numbers = numeric.scan(path, content)
    return piece


class _Reader:
    """One walk over a Python syntax tree that fills a workpiece."""

    def __init__(self, piece: Workpiece, root: Node) -> None:
        self.piece, self.root = piece, root
        piece.python = True
        self.found: list[tuple[Node, int, int, int]] = []
        self.cells: list[Expression] = []
        self.operands: set[bytes] = set()
        self.names: list[tuple[bytes, int, int]] = []
        self.collections = 0
        self.bodies = [
            (body.start_byte, body.end_byte)
            for child in root.named_children
            if child.type == "function_definition" and (body := child.child_by_field_name("body")) is not None
        ]

    def read(self) -> None:
        stack: list[tuple[Node, Node | None, int, int, int]] = [(self.root, None, -1, -1, 0)]
        while stack:
            node, parent, table, row, column = stack.pop()
            kind = node.type
            if kind == "comment":
                continue
            if kind == "string":
                self._string(node, parent)
                continue
            children = node.children
            spread = kind in _COLLECTIONS
            if spread:
                row, self.collections = self.collections, self.collections + 1
                table = row if table < 0 else table
            if parent is not None and (kind in _EXPRESSIONS or not children):
                self._node(node, kind, parent, not children, row)
            if kind in ("integer", "float"):
                self.found.append((node, table, row, column))
            elif kind in ("block", "module"):
                self._statements(node, children)
            elif spread or kind == "argument_list":
                self._siblings(children)
            elif kind in _BINDING:
                self._bind(node, kind)
            for place, child in enumerate(children):
                if child.is_named or child.type in _TOKENS:
                    stack.append((child, node, table, row, place if spread else column))
        self._finish()

    def _finish(self) -> None:
        piece = self.piece
        piece.numbers = _numbers(self.found)
        if len(self.cells) <= _MOST_CELLS:
            piece.expressions += self.cells
        piece.expressions.sort(key=lambda e: (e.start, -e.end))
        piece.swaps.sort()
        piece.statements.sort(key=lambda s: s.start)
        piece.siblings.sort()
        piece.letters.sort(key=lambda one: one.start)
        piece.names = [Name(*name, name[0] in self.operands) for name in sorted(self.names)]

    # ---- tokens and expressions ----------------------------------------------------------------------------------

    def _node(self, node: Node, kind: str, parent: Node, leaf: bool, row: int) -> None:
        above = parent.type
        if kind in _EXPRESSIONS:
            if kind == "identifier" and above in _OPERATORS:
                self.operands.add(node.text or b"")
            if above in _PLACES:
                self._expression(node, kind, parent, above, row)
        if not leaf:
            return
        text = node.text or b""
        if text in SWAPS and (
            (kind == text.decode() and above in _OPERATORS)
            or kind in ("true", "false")
            or text in (b"break", b"continue")
            or (above == "call" and text in (b"min", b"max"))
        ):
            self.piece.swaps.append((node.start_byte, node.end_byte))

    def _expression(self, node: Node, kind: str, parent: Node, above: str, row: int) -> None:
        if above in _BINDERS:
            bound = parent.child_by_field_name("left") or parent.child_by_field_name("name")
            if bound is None or bound.id == node.id:
                return
        inner: tuple[Span, ...] = ()
        if kind in _COMPOUND:
            inner = tuple((c.start_byte, c.end_byte) for c in node.named_children if c.type != "comment")
        elif kind == "call" and (arguments := node.child_by_field_name("arguments")) is not None:
            inner = tuple((c.start_byte, c.end_byte) for c in arguments.named_children if c.type in _EXPRESSIONS)
        truth = (
            above in ("if_statement", "elif_clause", "while_statement", "if_clause") or kind == "comparison_operator"
        )
        made = Expression(node.start_byte, node.end_byte, inner, truth)
        number = kind in ("integer", "float") or (
            kind == "unary_operator" and node.children[-1].type in ("integer", "float")
        )
        if number and row >= 0:
            self.cells.append(made)
        else:
            self.piece.expressions.append(made)

    def _string(self, node: Node, parent: Node | None) -> None:
        """A string in few letters, such as "+-+-": each letter is a literal of its own."""
        parts = node.children
        if parent is None or parent.type == "expression_statement" or len(parts) != 3:
            return
        if parts[1].type != "string_content" or parts[1].child_count:
            return
        text = parts[1].text or b""
        alphabet = bytes(sorted(set(text)))
        if 2 <= len(alphabet) <= _MOST_LETTERS and len(text) >= 3 * len(alphabet) and text.isascii():
            self.piece.letters.append(Letters(parts[1].start_byte, parts[1].end_byte, alphabet))

    # ---- statements and elements ---------------------------------------------------------------------------------

    def _statements(self, block: Node, children: Sequence[Node]) -> None:
        """Statements that own their lines; imports, definitions and docstrings are left alone."""
        content = self.piece.content
        inside = [child for child in children if child.type != "comment"]
        for child in inside:
            if child.type in _LEFT_ALONE or _is_docstring(child):
                continue
            start = content.rfind(b"\n", 0, child.start_byte) + 1
            end = content.find(b"\n", child.end_byte)
            end = len(content) if end < 0 else end + 1
            rest = content[child.end_byte : end].strip()
            if content[start : child.start_byte].strip() or (rest and not rest.startswith(b"#")):
                continue
            indent = content[start : child.start_byte]
            self.piece.statements.append(Statement(start, end, indent, block.id, len(inside) == 1))

    def _siblings(self, children: Sequence[Node]) -> None:
        spans = tuple((c.start_byte, c.end_byte) for c in children if c.is_named and c.type != "comment")
        if len(spans) > 1:
            self.piece.siblings.append(spans)

    # ---- names ---------------------------------------------------------------------------------------------------

    def _bind(self, node: Node, kind: str) -> None:
        """Record what a node binds, with where it may be read."""
        if kind in ("assignment", "for_statement", "named_expression"):
            target = node.child_by_field_name("left") or node.child_by_field_name("name")
            if target is not None:
                until, inside = _scope_end(node)
                since = target.end_byte if kind == "for_statement" else node.end_byte
                self._bound(target, since if inside else -1 - since, until)
        elif kind in ("function_definition", "lambda"):
            parameters, body = node.child_by_field_name("parameters"), node.child_by_field_name("body")
            if parameters is not None and body is not None:
                for child in parameters.named_children:
                    inner = child.child_by_field_name("name") or (child.named_children or [child])[0]
                    self._bound(inner, body.start_byte, node.end_byte)
        elif kind in _COMPREHENSIONS:
            for clause in node.named_children:
                target = clause.child_by_field_name("left") if clause.type == "for_in_clause" else None
                if target is not None:
                    self._bound(target, node.start_byte, clause.start_byte)
                    self._bound(target, clause.end_byte, node.end_byte)

    def _bound(self, target: Node, since: int, until: int) -> None:
        """Identifiers of an assignment's target. A negative `since` is a name of the module: functions see it from
        anywhere, the module itself only after it is bound."""
        if target.type == "identifier":
            name = target.text or b""
            if since < 0:
                self.names += [(name, start, end) for start, end in self.bodies]
                since = -1 - since
            self.names.append((name, since, until))
        elif target.type in ("pattern_list", "tuple_pattern", "list_pattern", "tuple"):
            for child in target.named_children:
                self._bound(child, since, until)


def _is_docstring(node: Node) -> bool:
    return node.type == "expression_statement" and node.child_count == 1 and node.children[0].type == "string"


def _scope_end(node: Node) -> tuple[int, bool]:
    """Where the scope around a node ends, and whether that is a function's (else the module's or a class's)."""
    at = node.parent
    while at is not None and at.parent is not None:
        if at.type in ("function_definition", "lambda"):
            return at.end_byte, True
        if at.type == "class_definition":
            return at.end_byte, True
        at = at.parent
    return at.end_byte + 1 if at is not None else node.end_byte, False


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _numbers(found: Sequence[tuple[Node, int, int, int]]) -> list[Number]:
    """The literals with their scales: the spread of their column in a table of rows, else of the table, else their own
    magnitude."""
    rows: list[tuple[int, int, float, str, bool, int, int, int]] = []
    columns: dict[tuple[int, int], list[float]] = {}
    tables: dict[int, list[float]] = {}
    kinds: dict[int, list[tuple[float, str]]] = {}
    for node, table, row, column in found:
        got = numeric.read(node.text or b"")
        if got is None:
            continue
        value, kind = got
        start, above = node.start_byte, node.parent
        signed = (
            above is not None and kind != "hex" and above.type == "unary_operator" and above.children[0].type == "-"
        )
        if signed and above is not None:
            start, value = above.start_byte, -value
        signed = signed or above is None or above.type not in ("binary_operator", "unary_operator", "attribute")
        rows.append((start, node.end_byte, value, kind, signed, table, row, column))
        if table >= 0:
            tables.setdefault(table, []).append(value)
            kinds.setdefault(table, []).append((value, kind))
            if row != table:
                columns.setdefault((table, column), []).append(value)
    by_column = {key: _spread(values) for key, values in columns.items() if len(values) >= _FEWEST_ROWS}
    by_table = {key: _spread(values) for key, values in tables.items()}
    few = {key: numeric.levels(values) for key, values in kinds.items()}
    made = [
        Number(
            start, end, value, kind, by_column.get((t, c)) or by_table.get(t) or abs(value) or 1.0, signed, t, row,
            few.get(t, ()),
        )
        for start, end, value, kind, signed, t, row, c in rows
    ]
    return sorted(made, key=lambda number: number.start)


def _spread(values: Sequence[float]) -> float:
    centre = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / len(values))
