"""Ranges of the numbers in a configuration, all checked in one way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dreamenv.core.errors import ConfigError


def require_ranges(
    config: Any,
    at_least: Mapping[str, float] | None = None,
    positive: Sequence[str] = (),
    shares: Sequence[str] = (),
    optional: Sequence[str] = (),
    prefix: str = "",
) -> None:
    """Check fields of `config`.

    Args:
        config: whose fields they are.
        at_least: field → the smallest value; where that is an int, the value must be one too.
        positive: numbers above 0.
        shares: numbers from 0 to 1.
        optional: fields that may be None.
        prefix: of the names in messages.

    Raises:
        ConfigError: a field is out of range, not finite, or no number.
    """
    at_least = at_least or {}
    for name in (*at_least, *positive, *shares):
        value, whole = getattr(config, name), isinstance(at_least.get(name), int)
        if value is None and name in optional:
            continue
        if whole:
            wanted = f"a whole number of at least {at_least[name]}"
        elif name in at_least:
            wanted = f"a number of at least {at_least[name]:g}"
        else:
            wanted = "a number above 0" if name in positive else "a number from 0 to 1"
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if (
            not number
            or not math.isfinite(value)
            or value < at_least.get(name, 0)
            or (name in positive and value == 0)
            or (name in shares and value > 1)
        ):
            raise ConfigError(f"{prefix}{name} must be {wanted}, not {value!r}")
