"""Frozen dataclasses to and from plain JSON: fields at their default are left out, unknown keys are refused by name.

Every record that reaches git or crosses a process goes through here, so its JSON shape is its field list.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_SCALARS = frozenset((str, int, float, bool, type(None)))


def to_json(record: Any) -> Any:
    """Plain JSON of a dataclass instance, mapping, sequence, enum or scalar."""
    if type(record) in _SCALARS:
        return record
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
    converters = _converters(typing.cast(Any, kind))
    values = {}
    for key, value in data.items():
        if key not in converters:
            raise ValueError(f"{kind.__name__} has no field {key!r}")
        convert = converters[key]
        values[key] = value if convert is None else convert(value)
    return kind(**values)


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
def _converters(kind: Any) -> dict[str, Callable[[Any], Any] | None]:
    """Field -> what makes its value of plain JSON; None where plain JSON is the value."""
    hints = typing.get_type_hints(kind)
    return {f.name: _converter(hints[f.name]) for f in dataclasses.fields(kind)}


def _converter(hint: Any) -> Callable[[Any], Any] | None:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        options = [option for option in args if option is not type(None)]
        inner = _converter(options[0]) if len(options) == 1 else None
        return inner and (lambda value: None if value is None else inner(value))
    if dataclasses.is_dataclass(hint):
        return functools.partial(from_json, typing.cast(type, hint))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint
    if origin is tuple:
        return _tuple_converter(args)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        each = _converter(args[1])
        return dict if each is None else lambda value: {key: each(item) for key, item in value.items()}
    return None


def _tuple_converter(args: tuple[Any, ...]) -> Callable[[Any], Any]:
    if len(args) == 2 and args[1] is Ellipsis:
        each = _converter(args[0])
        return tuple if each is None else lambda value: tuple(map(each, value))
    parts = [_converter(arg) or (lambda value: value) for arg in args]
    return lambda value: tuple(convert(item) for convert, item in zip(parts, value, strict=True))
