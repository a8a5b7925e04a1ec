"""Frozen dataclasses to and from plain JSON: fields at their default are left out, unknown keys are refused by name.

Every record that reaches git or crosses a process goes through here, so its JSON shape is its field list.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def to_json(record: Any) -> Any:
    """Plain JSON of a dataclass instance, mapping, sequence, enum or scalar."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        out = {}
        for name, default in _defaults(type(record)):
            value = getattr(record, name)
            if default is dataclasses.MISSING or value != default:
                out[name] = to_json(value)
        return out
    if isinstance(record, Mapping):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, list | tuple | set | frozenset):
        return [to_json(item) for item in record]
    if isinstance(record, enum.Enum):
        return record.value
    if isinstance(record, Path):
        return str(record)
    return record


def from_json(kind: type[T], data: Any) -> T:
    """An instance of dataclass `kind`. Raises ValueError on an unknown key, TypeError on a missing one."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{kind.__name__}: expected an object, not {data!r}")
    hints: dict[str, Any] = _hints(typing.cast(Any, kind))
    for key in data:
        if key not in hints:
            raise ValueError(f"{kind.__name__} has no field {key!r}")
    return kind(**{key: _convert(hints[key], value) for key, value in data.items()})


@functools.cache
def _defaults(kind: type) -> tuple[tuple[str, Any], ...]:
    out = []
    for f in dataclasses.fields(kind):
        if f.default_factory is not dataclasses.MISSING:
            out.append((f.name, f.default_factory()))
        else:
            out.append((f.name, f.default))
    return tuple(out)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def _convert(hint: Any, value: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return _convert(options[0], value) if len(options) == 1 else value
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast(type, hint), value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    if origin is tuple:
        args = typing.get_args(hint)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_convert(args[0], item) for item in value)
        return tuple(_convert(arg, item) for arg, item in zip(args, value, strict=True))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        inner = typing.get_args(hint)[1]
        return {key: _convert(inner, item) for key, item in value.items()}
    return value
