"""What may be in a candidate's source: text of bounded size without blobs, and more than another roll of the dice.

Weights, tables or teacher outputs from earlier runs would have to be carried in the source, since nothing else of a
candidate's survives into a fresh jail. So its literals are bounded: how long, how many, how much information in all.
"""

from __future__ import annotations

import ast
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping

from evolve.tasks.evidence import Failure, FailureKind

SOURCE_BYTES = 256 << 10
"""All editable files together."""

WORD = 160
"""Characters without a blank in a string; data in base64 or hex has longer ones, prose and code have not."""

NUMBERS, IN_ONE = 2_000, 400
"""Numeric literals in all the files, and in one list, tuple, set or dict."""

DIGITS = 40
INFORMATION = 24 << 10
"""Bytes that all literals of all files compress to (zlib, level 9)."""

_SEEDING = {
    "manual_seed",
    "manual_seed_all",
    "seed",
    "seed_all",
    "set_rng_state",
    "default_rng",
    "PRNGKey",
    "Generator",
}
_DRAWING = {
    "rand",
    "randn",
    "randint",
    "randperm",
    "random",
    "normal",
    "uniform",
    "rand_like",
    "randn_like",
    "getrandbits",
}
_SEED_NAME = re.compile(r"(^|_)(seed|rng|generator|random_state)s?($|_|\d)", re.IGNORECASE)


def refuse(files: Mapping[str, bytes]) -> Failure | None:
    """Why these editable files (path -> content) may not be run; None where they may."""
    total = sum(map(len, files.values()))
    if total > SOURCE_BYTES:
        return Failure(FailureKind.GATE, f"the source has {total >> 10} KiB, {SOURCE_BYTES >> 10} are allowed")
    literals: list[str] = []
    numbers = 0
    for path, data in sorted(files.items()):
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return Failure(FailureKind.GATE, f"{path} is no UTF-8 text: data may not be carried in the source")
        if not path.endswith(".py"):
            literals.append(text)
            continue
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return Failure(FailureKind.PARSE, f"{path}: {str(error)[:200]}")
        found = list(_literals(tree))
        numbers += sum(isinstance(value, int | float | complex) for value in found)
        if blob := _blob(tree, found):
            return Failure(FailureKind.GATE, f"{path}: {blob}: data may not be carried in the source")
        literals += map(repr, found)
    if numbers > NUMBERS:
        return Failure(FailureKind.GATE, f"the source has {numbers} numbers, {NUMBERS} are allowed")
    amount = len(zlib.compress("\n".join(literals).encode("utf-8", "replace"), 9))
    if amount > INFORMATION:
        return Failure(
            FailureKind.GATE,
            f"the source's literals hold {amount >> 10} KiB of information, {INFORMATION >> 10} are allowed",
        )
    return None


def _literals(tree: ast.AST) -> Iterator[object]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            yield node.value


def _blob(tree: ast.AST, literals: list[object]) -> str:
    for value in literals:
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        if isinstance(value, str) and (longest := max(map(len, value.split()), default=0)) > WORD:
            return f"a string of {longest} characters without a blank"
        if isinstance(value, int) and abs(value) >= 10**DIGITS:
            return f"a number of more than {DIGITS} digits"
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict):
            count = sum(isinstance(n, ast.Constant) and isinstance(n.value, int | float) for n in ast.walk(node))
            if count > IN_ONE:
                return f"{count} numbers in one display"
    return ""


# ---- what a source may reach for --------------------------------------------------------------------------------------

IMPORTS = {
    "__future__", "abc", "bisect", "collections", "contextlib", "copy", "dataclasses", "enum", "functools", "gc",
    "heapq", "itertools", "math", "numbers", "numpy", "operator", "os", "queue", "random", "statistics", "string",
    "threading", "time", "torch", "triton", "types", "typing", "warnings",
}  # fmt: skip
"""Modules a program may import: none that reads files, starts processes or looks into others."""

_NAMES = {"open", "exec", "eval", "compile", "__import__", "__builtins__", "input", "breakpoint", "globals", "vars"}
_ATTRIBUTES = {"__doc__", "__globals__", "__builtins__", "__loader__", "__spec__", "__subclasses__", "__code__", "f_globals",
               "cpp_extension", "fromfile", "from_file", "memmap", "genfromtxt", "loadtxt", "hub", "load_library",
               "load_inline", "open_code", "modules", "package"}  # fmt: skip


def reaches(files: Mapping[str, bytes]) -> Failure | None:
    """The first thing a source reaches for that training has no use for; None where there is none.

    English text lies about on every machine (this Python's own documentation for one), and a program that learnt from
    it would not have learnt from what it was served. A screen is no wall: what it misses still finds a jail without the
    corpus, the validation and earlier runs, and on a GPU its untimed work shows in the card's energy.
    """
    for path, data in sorted(files.items()):
        if not path.endswith(".py"):
            continue
        local = {other.removesuffix(".py").replace("/", ".") for other in files}
        for node in ast.walk(ast.parse(data)):
            if what := _reach(node, local):
                line = getattr(node, "lineno", 0)
                text = f"{path}:{line}: {what} is not for a training program, which learns from the feed alone"
                return Failure(FailureKind.GATE, text)
    return None


def _reach(node: ast.AST, local: set[str]) -> str:
    if isinstance(node, ast.Import):
        return next((f"import {a.name}" for a in node.names if a.name.split(".")[0] not in IMPORTS | local), "")
    if isinstance(node, ast.ImportFrom):
        root = (node.module or "").split(".")[0]
        if not node.level and root not in IMPORTS | local:
            return f"import from {node.module}"
        if root == "os" and any(alias.name != "environ" for alias in node.names):
            return "import from os of more than environ"
        return next((f"import of {a.name}" for a in node.names if a.name in _ATTRIBUTES | _NAMES), "")
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return node.id
    if isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id == "os" and node.attr != "environ":
            return f"os.{node.attr}"
        if node.attr in _ATTRIBUTES or (node.attr == "load" and isinstance(node.value, ast.Name)):
            return f".{node.attr}"
    if isinstance(node, ast.Call) and _last(node.func) == "getattr" and len(node.args) > 1:
        name = node.args[1]
        hidden = not isinstance(name, ast.Constant) or str(name.value).startswith("__")
        return "getattr of a name that is not written out" if hidden else ""
    return ""


# ---- changes that only touch randomness ------------------------------------------------------------------------------


class _WithoutRandomness(ast.NodeTransformer):
    """Drops seeds, and draws whose value is not used (they only shift the stream)."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        node.keywords = [k for k in node.keywords if k.arg is None or not _SEED_NAME.search(k.arg)]
        if _last(node.func) in _SEEDING:
            node.args = []
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        if any(isinstance(t, ast.Name) and _SEED_NAME.search(t.id) for t in node.targets):
            node.value = ast.Constant(0)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.target, ast.Name) and _SEED_NAME.search(node.target.id):
            node.value = ast.Constant(0)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        self.generic_visit(node)
        if isinstance(node.value, ast.Constant):
            return None  # docstrings, and strings used as comments
        if isinstance(node.value, ast.Call) and _last(node.value.func) in _DRAWING | _SEEDING:
            return None
        return node


def _last(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def forms(files: Mapping[str, bytes]) -> tuple[str, str]:
    """(digest of the programs, digest of them without what feeds randomness). Files that do not parse count as bytes."""
    whole, plain = hashlib.sha256(), hashlib.sha256()
    for path, data in sorted(files.items()):
        whole.update(path.encode())
        plain.update(path.encode())
        try:
            tree = ast.parse(data)
            whole.update(ast.dump(tree).encode())
            plain.update(ast.dump(_WithoutRandomness().visit(tree)).encode())
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            whole.update(data)
            plain.update(data)
    return whole.hexdigest(), plain.hexdigest()


def only_randomness(files: Mapping[str, bytes], other: Mapping[str, bytes]) -> bool:
    """Whether two programs differ in nothing but seeds and unused random draws."""
    mine, theirs = forms(files), forms(other)
    return mine[0] != theirs[0] and mine[1] == theirs[1]
