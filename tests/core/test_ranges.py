"""Numbers of a configuration are in their ranges, or named with what they must be."""

from __future__ import annotations

import types
from typing import Any

import pytest

from dreamenv.core.errors import ConfigError
from dreamenv.core.ranges import require_ranges

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize("value", [-1, 0, 1.5, NAN, INFINITE, "4", True, [4]])
def test_whole_numbers(value: Any) -> None:
    config = types.SimpleNamespace(steps=value)
    with pytest.raises(ConfigError, match="run.steps must be a whole number of at least 1, not "):
        require_ranges(config, {"steps": 1}, prefix="run.")


@pytest.mark.parametrize("value", [-0.1, NAN, INFINITE, "x", True, None, {}])
def test_other_numbers(value: Any) -> None:
    config = types.SimpleNamespace(x=value)
    for how, wanted in (
        ({"at_least": {"x": 0.0}}, "a number of at least 0"),
        ({"positive": ["x"]}, "a number above 0"),
        ({"shares": ["x"]}, "a number from 0 to 1"),
    ):
        with pytest.raises(ConfigError, match=f"x must be {wanted}, not "):
            require_ranges(config, **how)  # type: ignore[arg-type]


def test_what_is_in_range_passes() -> None:
    config = types.SimpleNamespace(a=1, b=0.5, c=1, d=None)
    require_ranges(config, {"a": 1, "d": 3}, positive=["b"], shares=["b", "c"], optional=["d"])
    for how in ({"positive": ["x"]}, {"shares": ["y"]}):
        with pytest.raises(ConfigError):
            require_ranges(types.SimpleNamespace(x=0, y=1.01), **how)  # type: ignore[arg-type]
