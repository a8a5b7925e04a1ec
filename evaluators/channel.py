"""One framed message from a worker to the referee: the only way a result crosses the wall.

    8 bytes magic | 8 bytes length of the header | header, JSON | 8 bytes length of the body | body, raw bytes

Everything in it is the candidate's claim. The referee says how large it may be and what must be in it; whatever does
not fit is refused with a reason, before it is interpreted: deep nesting, duplicate keys, NaN, infinities, huge
integers, trailing bytes.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAGIC = b"EVOLVE\x00\x01"
DEEPEST = 32
CONTAINERS = 1 << 18
"""Lists and objects in one message: each costs the referee fifty times what it costs the candidate."""
LONGEST_INT = 400
"""Digits of an integer; Python's own limit is 4,300, and quadratic conversion below it still costs time."""

WIDTHS = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2, "int32": 4, "uint32": 4,
    "float32": 4, "int64": 8, "uint64": 8, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip
"""dtype -> bytes of one element; no other dtype crosses (an object dtype would be a pickle)."""

_NUMBER = re.compile(rb"(?<![0-9])[0-9]{%d,}" % (LONGEST_INT + 1))
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKET = bytes(sorted(set(range(256)) - set(b"[{]}")))


class Refused(ValueError):
    """A message that is not what the referee asked for; the text is for the candidate's failure."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """What the referee expects of one tensor: dtype and exact shape; finite unless `any_value`.

    dtype: numpy's name, or "bfloat16", which comes back as the uint16 of its bits.
    """

    dtype: str
    shape: tuple[int, ...]
    any_value: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * WIDTHS[self.dtype]


def pack(header: Any, body: bytes = b"") -> bytes:
    """A frame. Raises ValueError on NaN or infinity in the header."""
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    return MAGIC + len(text).to_bytes(8, "little") + text + len(body).to_bytes(8, "little") + body


def unpack(frame: bytes | None) -> tuple[Any, bytes]:
    """Header and body of a whole frame. Raises Refused with what is wrong."""
    if not frame:
        raise Refused("no result came back")
    if frame[:8] != MAGIC:
        raise Refused("the result is no frame of ours")
    size = int.from_bytes(frame[8:16], "little")
    if len(frame) < 24 + size:
        raise Refused("the result was cut off")
    body_size = int.from_bytes(frame[16 + size : 24 + size], "little")
    if len(frame) != 24 + size + body_size:
        raise Refused(f"the result has {len(frame) - 24 - size - body_size} bytes too many or too few")
    return strict_json(frame[16 : 16 + size]), frame[24 + size :]


def strict_json(text: bytes) -> Any:
    """JSON without duplicate keys, NaN, infinities, deep nesting, huge integers or very many parts. Raises Refused.

    Everything that is done for each value is done in C: a frame of 4 MiB may hold a million of them, and the time this
    takes is the referee's, which no limit of the candidate's counts.
    """
    outside = _STRING.sub(b"", text)
    _check_structure(outside)
    if _NUMBER.search(outside):
        raise Refused(f"an integer of more than {LONGEST_INT} digits")
    try:
        return json.loads(
            text.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite_number
        )
    except Refused:
        raise
    except (ValueError, RecursionError, UnicodeDecodeError) as error:
        raise Refused(f"no valid JSON: {str(error)[:200]}") from error


def _check_structure(outside: bytes) -> None:
    """Before the parser recurses. outside: the text without its strings, in which a bracket does not count."""
    if (count := outside.count(b"[") + outside.count(b"{")) > CONTAINERS:
        raise Refused(f"{count} lists and objects, {CONTAINERS} are allowed")
    steps = array("b", outside.translate(_STEPS, _NO_BRACKET))
    if max(itertools.accumulate(steps), default=0) > DEEPEST:
        raise Refused(f"nested deeper than {DEEPEST}")


def _finite_number(text: str) -> float:
    """1e999 parses to infinity without being the constant Infinity."""
    value = float(text)
    if value in (math.inf, -math.inf):
        raise Refused("a number out of range")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise Refused("an object names a key twice")
    return out


def _no_constant(name: str) -> Any:
    raise Refused(f"{name} is no number here")


def tensors(header: Any, body: bytes, expected: Mapping[str, Tensor]) -> dict[str, Any]:
    """numpy arrays (read-only views of `body`) exactly as `expected`: names, order of the header, dtypes, shapes, sizes.

    The header must be {"tensors": [[name, dtype, [shape...]], ...]}. Raises Refused on a missing, extra, wrong or
    non-finite tensor, or a body of another size.
    """
    import numpy as np

    listed = header.get("tensors") if isinstance(header, dict) and set(header) == {"tensors"} else None
    if not isinstance(listed, list) or not all(isinstance(row, list) and len(row) == 3 for row in listed):
        raise Refused('the header must be {"tensors": [[name, dtype, shape], ...]}')
    names = [row[0] for row in listed]
    if not all(isinstance(name, str) for name in names) or sorted(names) != sorted(expected):
        raise Refused(f"expected tensors {sorted(expected)}, got {sorted(map(str, names))[:20]}")
    for name, dtype, shape in listed:
        want = expected[name]
        if dtype != want.dtype or not isinstance(shape, list) or tuple(shape) != want.shape:
            raise Refused(f"tensor {name!r} must be {want.dtype} {list(want.shape)}, not {str(dtype)[:40]} {str(shape)[:80]}")
    left = len(body) - sum(want.size for want in expected.values())
    if left:
        raise Refused(f"the tensors are cut off by {-left} bytes" if left < 0 else f"{left} bytes too many")
    out, at = {}, 0
    for name in names:
        want = expected[name]
        stored = "uint16" if want.dtype == "bfloat16" else want.dtype
        array = np.frombuffer(body, dtype=stored, count=math.prod(want.shape), offset=at)
        if not want.any_value and not _finite(array, want.dtype):
            raise Refused(f"tensor {name!r} holds NaN or infinity")
        out[name], at = array.reshape(want.shape), at + want.size
    return out


def _finite(array: Any, dtype: str) -> bool:
    import numpy as np

    if dtype == "bfloat16":  # numpy has none: the raw halves, whose exponent is all ones for NaN and infinity
        return not bool(((array & 0x7F80) == 0x7F80).any())
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())
