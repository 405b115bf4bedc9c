"""Dataclasses as command-line options, on tyro: a field is an option, its docstring the help.

Nested dataclasses are written with a dot (`--dynamics.steps 20000`). Mappings, such as the
arguments of an environment, are written as `--env-kwargs horizon=64 checkpoint=runs/maze`; a dot
in a key nests (`--architecture dynamics.width=128`), values are JSON where they parse as such and
text elsewhere, and a whole JSON object is taken too.
"""

from __future__ import annotations

import json
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from dreamenv.core.reading import parse_json

T = TypeVar("T")
RENAMED = {"--agent": "--agents", "--set": "--hyperparameters"}
"""Options of version 0.1 → what they are called now; they go with version 0.3."""

_registry = tyro.constructors.ConstructorRegistry()


def parse(
    kind: type[T], prog: str, arguments: Sequence[str], summary: str = "", default: T | None = None
) -> T:
    """The dataclass `kind` from options named after its fields.

    Args:
        kind: the dataclass; fields without a default are required.
        prog: how the command is called, for its help.
        arguments: without the name of the command.
        summary: what the command does; by default the docstring of `kind`.
        default: where the values of options that are not given come from, instead of `kind`.

    Raises:
        SystemExit: 2 for a mistake, which is explained on stderr; 0 after `--help`.
    """
    given = [_renamed(argument) for argument in arguments]
    return tyro.cli(
        kind,
        prog=prog,
        args=given,
        description=summary or None,
        registry=_registry,
        default=tyro.MISSING_NONPROP if default is None else default,
    )


def command_line() -> str:
    """The command as it was typed, for reports and hints on how to go on."""
    return shlex.join(["dreamenv", *sys.argv[1:]])


def _renamed(argument: str) -> str:
    name, equals, value = argument.partition("=")
    new = RENAMED.get(name)
    if new is None:
        return argument
    warnings.warn(f"{name} is called {new} now", DeprecationWarning, stacklevel=3)
    print(f"note: {name} is called {new} now", file=sys.stderr)
    return new + equals + value


@_registry.primitive_rule
def _mapping(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    if info.type_origin is not dict:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="KEY=VALUE",
        instance_from_str=read_mapping,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [json.dumps(value)] if value else [],
    )


@_registry.primitive_rule
def _parsed(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """Types that read themselves from one word, by a class method `parse`."""
    read = getattr(info.type, "parse", None)
    if read is None:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=info.type.__name__.upper(),
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: isinstance(value, info.type),
        str_from_instance=lambda value: [str(value)],
    )


def read_mapping(words: Sequence[str]) -> dict[str, Any]:
    """["horizon=64", "dynamics.width=128"] as {"horizon": 64, "dynamics": {"width": 128}}.

    Raises:
        ValueError: a word is neither key=value nor, alone, a JSON object.
    """
    if len(words) == 1 and words[0].lstrip().startswith(("{", "[")):
        try:
            whole = parse_json(words[0])
        except ValueError as error:
            raise ValueError(f"no JSON ({error}): {words[0]}") from None
        if not isinstance(whole, dict):
            raise ValueError(f"must be a JSON object or key=value, not {words[0]}")
        return whole
    mapping: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        *outer, name = key.split(".")
        if not (equals and name and all(outer)):
            raise ValueError(f"{word!r} is not of the form key=value")
        place = mapping
        for part in outer:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ValueError(f"{word!r}: {part!r} has a value of its own already")
        if name in place:
            raise ValueError(f"{key!r} is given twice")
        try:
            place[name] = parse_json(text)
        except ValueError:
            place[name] = text
    return mapping
