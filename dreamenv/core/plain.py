"""Dataclasses from plain data, such as JSON holds it."""

from __future__ import annotations

import dataclasses
import reprlib
import types
import typing
from typing import Any

from dreamenv.core.errors import ConfigError

T = typing.TypeVar("T")


def from_plain(kind: type[T], data: dict[str, Any]) -> T:
    """Build the dataclass `kind` from nested plain data, refusing keys it does not have."""
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        name = reprlib.repr(unknown[0])
        raise ConfigError(f"{kind.__name__} has no field {name}; it has {sorted(hints)}")
    values = {name: _convert(hints[name], value) for name, value in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{kind.__name__} is incomplete: {error}") from error


def _convert(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        others = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        if value is None and len(others) < len(typing.get_args(hint)):
            return None
        if len(others) == 1:
            return _convert(others[0], value)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return from_plain(typing.cast(type, hint), value)
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        inner = typing.get_args(hint)
        hints = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(hints) == len(value):
            return tuple(_convert(h, v) for h, v in zip(hints, value, strict=True))
    elif typing.get_origin(hint) is dict and isinstance(value, dict):
        return dict(value)
    elif isinstance(hint, type) and not dataclasses.is_dataclass(hint):
        fits = isinstance(value, (int, float) if hint is float else hint)
        if fits and (hint is bool or not isinstance(value, bool)):
            return hint(value)
    raise ConfigError(f"expected {getattr(hint, '__name__', hint)}, got {reprlib.repr(value)}")
