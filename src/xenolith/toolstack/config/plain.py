"""Dataclasses to and from plain values (dict, list, str, int, bool, None), which JSON can carry.

Only the field types that configurations use are known: strings, numbers, flags, string enums,
tuples, other dataclasses and ``X | None``.
"""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """The plain form of a dataclass or of a value of one of its fields."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, StrEnum):
        return value.value
    return value


def from_plain(kind: type[T], plain: Any, name: str) -> T:
    """The dataclass ``kind`` that ``plain`` describes; fields may be absent if they have defaults.

    ValueError says which member, as a path that starts with ``name``, has the wrong shape.
    """
    if not isinstance(plain, dict):
        raise ValueError(f"{name}: expected an object, not {plain!r}")
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in plain:
        if key not in fields:
            raise ValueError(f"{name}: unknown member {key!r}")
    for key, field in fields.items():
        if key not in plain and field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{name}: member {key!r} is missing")
    values = {key: _value(hints[key], item, f"{name}.{key}") for key, item in plain.items()}
    return kind(**values)


def _value(hint: Any, plain: Any, name: str) -> Any:
    if get_origin(hint) is UnionType:
        (inner,) = (option for option in get_args(hint) if option is not NoneType)
        return None if plain is None else _value(inner, plain, name)
    if get_origin(hint) is tuple:
        if not isinstance(plain, list):
            raise ValueError(f"{name}: expected a list, not {plain!r}")
        item_hint = get_args(hint)[0]
        return tuple(_value(item_hint, item, f"{name}[{i}]") for i, item in enumerate(plain))
    if dataclasses.is_dataclass(hint):
        return from_plain(hint, plain, name)  # type: ignore[arg-type]
    if issubclass(hint, StrEnum):
        return _enum_member(hint, plain, name)
    if type(plain) is not hint:
        raise ValueError(f"{name}: expected {hint.__name__}, not {plain!r}")
    return plain


def _enum_member(hint: type[StrEnum], plain: Any, name: str) -> StrEnum:
    try:
        return hint(plain)
    except ValueError:
        raise ValueError(f"{name}: expected one of {', '.join(hint)}, not {plain!r}") from None
