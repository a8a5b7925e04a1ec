"""Plain Python records as columns, and back, at a few tens of nanoseconds a field.

For states with 100,000 records of a few kinds: each field of a kind becomes one column, and a column is written in the
smallest of a few ways (a constant, numbers as an array, ids once and then by number, a table of distinct strings, ...).
Only the classes given are ever built and nothing is executed, so bytes from anywhere may be read: what is malformed
raises ValueError.

Form: 8 bytes length, JSON of that length, then the arrays that the JSON's columns point into (little endian).
"""

from __future__ import annotations

import array
import dataclasses
import enum
import hashlib
import itertools
import json
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

_ID_BYTES = (20, 32)
"""Lengths of the ids worth a table of their own: object ids and SHA-256 digests, as hex text or as bytes."""

_FEW = 256
"""A column with at most this many distinct strings is a table and indices."""

_SEQUENCES: dict[str, Callable[[Iterable[Any]], Any]] = {
    "list": list, "tuple": tuple, "set": set, "frozenset": frozenset,
}  # fmt: skip


class Codec:
    """For values made of scalars, bytes, lists, tuples, sets, mappings, enums and the given dataclasses."""

    def __init__(self, classes: Iterable[type]) -> None:
        self.classes = {cls.__name__: cls for cls in classes}
        self.fields: dict[type, tuple[str, ...]] = {
            cls: tuple(f.name for f in dataclasses.fields(cls))
            for cls in self.classes.values()
            if dataclasses.is_dataclass(cls)
        }

    def fingerprint(self) -> str:
        """Changes with any class's name or fields: a state of another shape is not read."""
        shape = sorted((name, self.fields.get(cls, ())) for name, cls in self.classes.items())
        return hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:16]

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """Named values. One that occurs again inside a later one (a fold that refers to another) is written as its
        name. Raises TypeError for what is none of the kinds above."""
        return _Encoder(self).run(values)

    def decode(self, data: bytes) -> dict[str, Any]:
        """What `encode` was given; equal ids and table strings are one object. Raises ValueError."""
        try:
            return _Decoder(self, data).run()
        except (KeyError, IndexError, TypeError, AttributeError, struct.error) as error:
            raise ValueError(f"no columns of ours: {type(error).__name__}: {error}") from error


class _Encoder:
    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.area = bytearray()
        self.ids: dict[bytes, int] = {}
        self.names: dict[int, str] = {}
        self.floats: list[tuple[Sequence[float], Any]] = []

    def run(self, values: Mapping[str, Any]) -> bytes:
        body = {}
        for name, value in values.items():
            body[name] = self.column([value])
            if type(value) in self.codec.fields:
                self.names[id(value)] = name
        text = json.dumps(body, separators=(",", ":")).encode("ascii")
        return struct.pack("<Q", len(text)) + text + bytes(self.area)

    def column(self, values: Sequence[Any]) -> Any:
        kinds = set(map(type, values))
        if len(kinds) == 1:
            return self.uniform(kinds.pop(), values)
        groups = []
        for kind in sorted(kinds, key=lambda kind: kind.__name__):
            places = [at for at, value in enumerate(values) if type(value) is kind]
            groups.append([self.ints(places), self.column([values[at] for at in places])])
        return ["mix", len(values), groups]

    def uniform(self, kind: type, values: Sequence[Any]) -> Any:
        if kind is type(None):
            return ["same", len(values), None]
        if kind is int:
            return self.ints(values)
        if kind is bool:
            return ["bool", self.ints([int(value) for value in values])]
        if kind is float:
            return self.doubles(values)
        if kind is str:
            return self.strings(values)
        if kind is bytes:
            return self.identifiers("idb", values) or ["hex", [value.hex() for value in values]]
        if kind is tuple and len(widths := set(map(len, values))) == 1 and widths != {0}:
            return ["tuples", [self.column(list(part)) for part in zip(*values, strict=True)]]
        if kind.__name__ in _SEQUENCES and kind.__module__ == "builtins":
            items = [sorted(value) for value in values] if kind in (set, frozenset) else values
            return ["seq", kind.__name__, self.ints([len(item) for item in items]), self.joined(items)]
        if issubclass(kind, Mapping):
            sizes = self.ints([len(value) for value in values])
            return ["dict", sizes, self.joined(values), self.joined([value.values() for value in values])]
        if self.codec.classes.get(kind.__name__) is not kind:
            raise TypeError(f"no column for a {kind.__module__}.{kind.__qualname__}")
        if issubclass(kind, enum.Enum):
            return ["enum", kind.__name__, self.strings([value.name for value in values])]
        if len(values) == 1 and id(values[0]) in self.names:
            return ["@", self.names[id(values[0])]]
        columns = {name: self.column(list(map(attrgetter(name), values))) for name in self.codec.fields[kind]}
        return ["rows", kind.__name__, len(values), columns]

    def joined(self, items: Iterable[Iterable[Any]]) -> Any:
        flat = list(itertools.chain.from_iterable(items))
        return self.column(flat) if flat else None

    def ints(self, values: Sequence[int]) -> Any:
        first = values[0] if values else 0
        if values == [first] * len(values):
            return ["same", len(values), first]
        if len(values) > 2 and values == list(range(first, first + len(values))):
            return ["range", len(values), first]
        try:
            return self.place("i" if max(map(abs, values)) < 1 << 31 else "q", values)
        except OverflowError:
            return ["=", list(values)]

    def doubles(self, values: Sequence[float]) -> Any:
        for earlier, column in self.floats:
            if earlier == values and array.array("d", earlier).tobytes() == array.array("d", values).tobytes():  # 0.0 == -0.0
                return column
        column = self.place("d", values)
        self.floats.append((values, column))
        return column

    def strings(self, values: Sequence[str]) -> Any:
        first = values[0]
        if len(first) // 2 in _ID_BYTES:
            try:
                raw = list(map(bytes.fromhex, values))
            except ValueError:
                raw = []
            if list(map(bytes.hex, raw)) == values and (column := self.identifiers("id", raw)):
                return column
        distinct = dict.fromkeys(values)
        if len(distinct) == 1:
            return ["same", len(values), first]
        if len(values) > _FEW >= len(distinct):
            places = {value: at for at, value in enumerate(distinct)}
            return ["few", list(distinct), self.ints([places[value] for value in values])]
        return ["=", list(values)]

    def identifiers(self, tag: str, values: Sequence[bytes]) -> Any:
        """Each distinct id once, in a run of new ones, and by its number everywhere. None where they are no ids."""
        width = len(values[0])
        if width not in _ID_BYTES or set(map(len, values)) != {width}:
            return None
        start = len(self.ids)
        new = [value for value in dict.fromkeys(values) if value not in self.ids]
        self.ids.update(zip(new, range(start, start + len(new)), strict=True))
        numbers = self.ints(list(map(self.ids.__getitem__, values)))
        return [tag, width, self.place_bytes(b"".join(new)), numbers]

    def place(self, code: str, values: Sequence[Any]) -> Any:
        data = array.array(code, values)
        if sys.byteorder == "big":
            data.byteswap()
        return [code, *self.place_bytes(data.tobytes())]

    def place_bytes(self, data: bytes) -> list[int]:
        at = len(self.area)
        self.area += data
        return [at, len(data)]


class _Decoder:
    def __init__(self, codec: Codec, data: bytes) -> None:
        self.codec = codec
        size = struct.unpack_from("<Q", data)[0]
        self.body = json.loads(data[8 : 8 + size])
        self.area = memoryview(data)[8 + size :]
        self.text: list[str] = []
        self.raw: list[bytes] = []
        self.built: dict[str, Any] = {}
        self.doubles: dict[int, list[float]] = {}

    def run(self) -> dict[str, Any]:
        for name, column in self.body.items():
            self.built[name] = self.column(column)[0]
        return self.built

    def column(self, column: Any) -> list[Any]:
        tag = column[0]
        reader: Callable[[Any], list[Any]] | None = getattr(self, f"_{_TAGS[tag]}", None)
        if reader is None:
            raise ValueError(f"unknown column {tag!r}")
        return reader(column)

    def bytes_at(self, at: int, size: int) -> memoryview:
        found = self.area[at : at + size]
        if len(found) != size or at < 0:
            raise ValueError("an array lies outside the data")
        return found

    def joined(self, column: Any) -> list[Any]:
        return self.column(column) if column else []

    def _same(self, column: Any) -> list[Any]:
        return [column[2]] * column[1]

    def _range(self, column: Any) -> list[Any]:
        return list(range(column[2], column[2] + column[1]))

    def _plain(self, column: Any) -> list[Any]:
        return list(column[1])

    def _bool(self, column: Any) -> list[Any]:
        return list(map(bool, self.column(column[1])))

    def _array(self, column: Any) -> list[Any]:
        code, at, size = column
        if code == "d" and at in self.doubles:
            return self.doubles[at]
        data = array.array(code)
        data.frombytes(self.bytes_at(at, size))
        if sys.byteorder == "big":
            data.byteswap()
        found: list[Any] = data.tolist()
        if code == "d":
            self.doubles[at] = found  # equal columns share their numbers, as the records they came from did
        return found

    def _hex(self, column: Any) -> list[Any]:
        return [bytes.fromhex(value) for value in column[1]]

    def _few(self, column: Any) -> list[Any]:
        return list(map(column[1].__getitem__, self.column(column[2])))

    def _ids(self, column: Any) -> list[Any]:
        tag, width, place, numbers = column
        data = self.bytes_at(*place).tobytes()
        if len(data) % width:
            raise ValueError("ids are cut")
        joined, step = data.hex(), 2 * width
        self.text += [joined[at : at + step] for at in range(0, len(joined), step)]
        if tag == "id":
            return list(map(self.text.__getitem__, self.column(numbers)))
        return [bytes.fromhex(self.text[number]) for number in self.column(numbers)]

    def _named(self, column: Any) -> list[Any]:
        return [self.built[column[1]]]

    def _mix(self, column: Any) -> list[Any]:
        out: list[Any] = [None] * column[1]
        for places, part in column[2]:
            for place, value in zip(self.column(places), self.column(part), strict=True):
                out[place] = value
        return out

    def _tuples(self, column: Any) -> list[Any]:
        return list(zip(*map(self.column, column[1]), strict=True))

    def _seq(self, column: Any) -> list[Any]:
        make, sizes, flat = _SEQUENCES[column[1]], self.column(column[2]), self.joined(column[3])
        if sum(sizes) != len(flat):
            raise ValueError(f"{len(flat)} items for {sum(sizes)}")
        if make is tuple:  # mostly of one item or none, by the hundred thousand
            items = iter(flat)
            return [(next(items),) if size == 1 else tuple(itertools.islice(items, size)) for size in sizes]
        ends = list(itertools.accumulate(sizes, initial=0))
        return [make(flat[at:end]) for at, end in itertools.pairwise(ends)]

    def _dict(self, column: Any) -> list[Any]:
        sizes, keys, values = self.column(column[1]), self.joined(column[2]), self.joined(column[3])
        if sum(sizes) != len(keys) or len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys and {len(values)} values for {sum(sizes)}")
        if len(sizes) > 1 and sizes == [1] * len(sizes):
            return [{key: value} for key, value in zip(keys, values, strict=True)]
        pairs = zip(keys, values, strict=True)
        return [dict(itertools.islice(pairs, size)) for size in sizes]

    def _enum(self, column: Any) -> list[Any]:
        members = self.codec.classes[column[1]].__dict__["_member_map_"]
        return list(map(members.__getitem__, self.column(column[2])))

    def _rows(self, column: Any) -> list[Any]:
        """Fields are set slot by slot, past `__init__`: the values were an instance's before."""
        _, name, count, columns = column
        cls = self.codec.classes[name]
        if tuple(columns) != self.codec.fields[cls]:
            raise ValueError(f"{name} has other fields now")
        out: list[Any] = list(map(object.__new__, itertools.repeat(cls, count)))
        for field, part in columns.items():
            values = self.column(part)
            if len(values) != count:
                raise ValueError(f"{name}.{field} has {len(values)} values for {count} records")
            slot: Any = cls.__dict__.get(field)
            if hasattr(slot, "__set__"):
                deque(map(slot.__set__, out, values), maxlen=0)
            else:
                deque(map(object.__setattr__, out, itertools.repeat(field), values), maxlen=0)
        return out


_TAGS = {
    "same": "same", "range": "range", "=": "plain", "bool": "bool", "i": "array", "q": "array", "d": "array",
    "hex": "hex", "few": "few", "id": "ids", "idb": "ids", "@": "named", "mix": "mix", "tuples": "tuples",
    "seq": "seq", "dict": "dict", "enum": "enum", "rows": "rows",
}  # fmt: skip
