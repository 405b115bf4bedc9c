"""Gap reports of walkers on the ring."""

from __future__ import annotations

from typing import Any

from dreamenv.evaluation.gap.config import GapConfig
from dreamenv.evaluation.gap.measure import measure_gap
from dreamenv.evaluation.gap.report import GapReport

SPAWNS, HORIZON, LIE = 6, 34, 5
MAIN = "walker:11"


def config(**changes: Any) -> GapConfig:
    """A small report of one walker; keywords replace its entries."""
    values: dict[str, Any] = {
        "agents": (MAIN,),
        "real": "SavingRing-v0",
        "dream": "DreamEnv-v0",
        "spawns": SPAWNS,
        "horizon": HORIZON,
        "clips": SPAWNS,
        "clip_horizon": 16,
        "dream_kwargs": {"checkpoint": "bundled:ring"},
        "progress": False,
    }
    return GapConfig(**{**values, **changes})


def gap(**changes: Any) -> GapReport:
    """What it finds."""
    return measure_gap(config(**changes))
