"""Whether a program is known already, and how far it is from others. No network, no model.

`shape` is exact: the same normalised syntax is the same program. `sketch` is a one-permutation MinHash (Li, Owen and
Zhang, 2012, with rotation densification, Shrivastava and Li, 2014) over token 5-grams, so that two sketches agree in
about as many bins as the programs share of their 5-grams (Jaccard).
"""

from __future__ import annotations

import ast
import base64
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

BINS = 128
_DOCUMENTED = frozenset((ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
GRAM = 5

_TOKEN = re.compile(rb"[A-Za-z_]\w*|\d[\w.]*|[^\s\w]")


def shape(files: Mapping[str, bytes]) -> str:
    """Hex digest (32 digits) of the normalised syntax of the files: path by path, in sorted order.

    Python: the syntax tree without positions, comments and docstrings. Other text: lines without trailing space and
    without blank ones. A Python file that does not parse counts as other text.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(files):
        digest.update(path.encode() + b"\0")
        digest.update(_normal(path, files[path]) + b"\0")
    return digest.hexdigest()


def _normal(path: str, content: bytes) -> bytes:
    if path.endswith(".py"):
        try:
            tree = ast.parse(content)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return _lines(content)
        out: list[str] = []
        _spell(tree, out)
        return "\0".join(out).encode("utf-8", "surrogatepass")
    return _lines(content)


def _spell(node: ast.AST, out: list[str]) -> None:
    """Every node, field and constant in order, without positions and docstrings: what `ast.dump` says, in a third of
    its time."""
    kind = type(node)
    out.append(kind.__name__)
    values = node.__dict__
    for field in kind._fields:
        value = values.get(field)
        if isinstance(value, ast.AST):
            _spell(value, out)
        elif type(value) is list:
            out.append("[")
            for item in value[1:] if field == "body" and kind in _DOCUMENTED and _is_docstring(value) else value:
                if isinstance(item, ast.AST):
                    _spell(item, out)
                else:
                    out.append(repr(item))
            out.append("]")
        else:
            out.append(repr(value))


def _is_docstring(body: list[ast.stmt]) -> bool:
    """Whether a body starts with a string that says something and does nothing."""
    first = body[0] if body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def _lines(content: bytes) -> bytes:
    return b"\n".join(line.rstrip() for line in content.splitlines() if line.strip())


def sketch(files: Mapping[str, bytes]) -> str:
    """Base64 text of 128 16-bit MinHash bins over the files' token 5-grams; empty for files without tokens."""
    tokens = [token for path in sorted(files) for token in _TOKEN.findall(files[path])]
    if not tokens:
        return ""
    ids = np.fromiter((zlib.crc32(token) for token in tokens), dtype=np.uint64, count=len(tokens))
    width = min(GRAM, len(ids))
    grams = np.zeros(len(ids) - width + 1, dtype=np.uint64)
    for offset in range(width):
        grams = grams * np.uint64(0x9E3779B97F4A7C15) + ids[offset : offset + len(grams)]
    grams ^= grams >> np.uint64(29)
    grams *= np.uint64(0xBF58476D1CE4E5B9)
    grams ^= grams >> np.uint64(32)
    bins = (grams & np.uint64(BINS - 1)).astype(np.int64)
    lowest = np.full(BINS, 0xFFFF, dtype=np.uint16)
    np.minimum.at(lowest, bins, ((grams >> np.uint64(16)) % np.uint64(0xFFFF)).astype(np.uint16))
    return base64.b64encode(_densify(lowest).tobytes()).decode()


def _densify(lowest: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """An empty bin takes its right neighbour's value, moved by the distance, so that empty bins do not agree by chance."""
    if (lowest != 0xFFFF).all():
        return lowest
    filled = np.flatnonzero(lowest != 0xFFFF)
    out = lowest.copy()
    for empty in np.flatnonzero(lowest == 0xFFFF):
        donor = filled[np.searchsorted(filled, empty) % len(filled)]
        steps = int((donor - empty) % BINS)
        out[empty] = (int(lowest[donor]) + 257 * steps) % 0xFFFF
    return out


def _values(text: str) -> npt.NDArray[np.uint16]:
    return np.frombuffer(base64.b64decode(text), dtype=np.uint16)


def distance(a: str, b: str) -> float:
    """1 - the estimated Jaccard similarity of two sketches' token 5-grams, 0..1; 1.0 where one is empty."""
    if not a or not b:
        return 1.0
    return float(np.mean(_values(a) != _values(b)))


class SketchIndex:
    """Nearest sketches by brute force over a bounded set (the live population): 0.1 ms at 200."""

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._rows = np.empty((0, BINS), dtype=np.uint16)

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: str, sketch: str) -> None:
        """Raises ValueError for an empty sketch."""
        if not sketch:
            raise ValueError(f"{key} has no sketch to compare")
        if len(self._keys) == len(self._rows):
            grown = np.empty((max(64, 2 * len(self._rows)), BINS), dtype=np.uint16)
            grown[: len(self._keys)] = self._rows[: len(self._keys)]
            self._rows = grown
        self._rows[len(self._keys)] = _values(sketch)
        self._keys.append(key)

    def nearest(self, sketch: str, k: int) -> list[tuple[str, float]]:
        """The k nearest as (key, distance), nearest first; equal distances in order of addition."""
        if not self._keys or not sketch:
            return []
        distances = (self._rows[: len(self._keys)] != _values(sketch)).mean(axis=1)
        first = np.argsort(distances, kind="stable")[:k]
        return [(self._keys[i], float(distances[i])) for i in first]


class Novelty(Mapping[str, float]):
    """key -> mean distance to its NEAREST nearest others, 1.0 without a sketch; computed once, when first asked for."""

    NEAREST = 3

    def __init__(self, sketches: Mapping[str, str]) -> None:
        self._sketches = dict(sketches)
        self._found: dict[str, float] | None = None

    def _compute(self) -> dict[str, float]:
        if self._found is None:
            self._found = dict.fromkeys(self._sketches, 1.0)
            keys = [key for key, text in self._sketches.items() if text]
            if len(keys) > 1:
                rows = np.stack([_values(self._sketches[key]) for key in keys])
                apart = (rows[:, None, :] != rows[None, :, :]).mean(axis=2)
                np.fill_diagonal(apart, np.inf)
                near = np.sort(apart, axis=1)[:, : min(self.NEAREST, len(keys) - 1)].mean(axis=1)
                self._found.update(zip(keys, near.tolist(), strict=True))
        return self._found

    def __getitem__(self, key: str) -> float:
        return self._compute()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sketches)

    def __len__(self) -> int:
        return len(self._sketches)
