"""What tests of the gap report share."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamenv.dream.spawn_drawing import draw_spawns
from dreamenv.dream.spawns import Spawns
from dreamenv.rollouts.store import RolloutStore
from tests.evaluation.gap.ring_reports import SPAWNS
from tests.evaluation.ring_env import PLACES, add_walkers, dream_of_the_ring


@pytest.fixture(scope="module")
def spawns(ring_rollouts: Path) -> Spawns:
    """Places on the ring."""
    return draw_spawns(RolloutStore(ring_rollouts), SPAWNS, 6, (PLACES, PLACES), latest_start=30)


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch, spawns: Spawns) -> pytest.MonkeyPatch:
    """Walkers, and a dream that is exact."""
    add_walkers(monkeypatch)
    dream_of_the_ring(monkeypatch, spawns)
    return monkeypatch
