"""The gap report: agents from the same places in the dream and in the real environment."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dreamenv.evaluation.gap.config import GapConfig as GapConfig
    from dreamenv.evaluation.gap.measure import measure_gap as measure_gap
    from dreamenv.evaluation.gap.report import GapReport as GapReport

_PLACES = {"GapConfig": "config", "GapReport": "report", "measure_gap": "measure"}
"""Name → the module of this room that it is loaded from at its first use."""

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
