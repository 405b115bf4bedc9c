"""Dataclass configurations as command-line options."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from typing import Any, TypeVar

from dreamenv.world_model.config import from_plain

T = TypeVar("T")


def parse_config(kind: type[T], description: str, arguments: list[str] | None = None) -> T:
    """Build the dataclass `kind` from options named after its fields.

    A field without a default is required; a nested dataclass's fields are `--outer.inner`.
    Underscores are written as dashes.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _add_options(parser, kind, "")
    values: dict[str, Any] = {}
    for path, value in vars(parser.parse_args(arguments)).items():
        *outer, name = path.split(".")
        place = values
        for part in outer:
            place = place.setdefault(part, {})
        place[name] = value
    return from_plain(kind, values)


def _add_options(
    parser: argparse.ArgumentParser, kind: Any, prefix: str, source: Any = None
) -> None:
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        default = field.default if source is None else getattr(source, field.name)
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        path = prefix + field.name
        if dataclasses.is_dataclass(default):
            _add_options(parser, type(default), path + ".", default)
            continue
        required = default is dataclasses.MISSING
        if hints[field.name] is bool:
            how: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        else:
            how = {"type": hints[field.name]}
        parser.add_argument(
            "--" + path.replace("_", "-"),
            dest=path,
            **how,
            required=required,
            default=None if required else default,
            help=None if required else f"default: {default}",
        )
