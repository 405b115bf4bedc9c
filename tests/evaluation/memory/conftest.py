"""Rollouts of walkers whose every view, and every return, is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamenv.rollouts.store import RolloutStore
from tests.evaluation.memory.corridor import episode_of, write_walks

STEPS = 70


@pytest.fixture(scope="session")
def circling(tmp_path_factory: pytest.TempPathFactory) -> RolloutStore:
    """Three walkers that move on by one place at every step, so each comes back after 16."""
    episodes = [episode_of([1] * STEPS, start=3 * seed, seed=seed) for seed in range(3)]
    return RolloutStore(write_walks(tmp_path_factory.mktemp("circling") / "store", episodes))


@pytest.fixture(scope="session")
def without_poses(tmp_path_factory: pytest.TempPathFactory) -> RolloutStore:
    """One walk whose poses were not recorded."""
    path: Path = tmp_path_factory.mktemp("blind") / "store"
    return RolloutStore(write_walks(path, [episode_of([1] * 20, poses=False)]))
