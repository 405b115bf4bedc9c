"""Episodes that begin shortly before a reward, as many as are asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dreamenv.core.errors import ConfigError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.spawn_choice import SpawnChoice
from dreamenv.dream.spawns import Spawns, load_spawns
from dreamenv.dream.vector_env import DreamVectorEnv


@pytest.fixture
def spawns(debug_checkpoint: Path) -> Spawns:
    """Eight, of which the first two end near a reward."""
    own = load_spawns(debug_checkpoint)
    told = [{**s, "near_reward": 5 if i < 2 else None} for i, s in enumerate(own.sources)]
    return dataclasses.replace(own, sources=told)


def drawn(spawns: Spawns, share: float | None) -> np.ndarray:
    choice, generator = SpawnChoice(spawns, share), np.random.default_rng(0)
    return np.bincount([choice.draw(generator) for _ in range(2000)], minlength=len(spawns)) / 2000


def test_the_share_is_kept_and_each_kind_is_drawn_evenly(spawns: Spawns) -> None:
    assert drawn(spawns, None) == pytest.approx(np.full(8, 1 / 8), abs=0.03)
    half = drawn(spawns, 0.5)
    assert half[:2] == pytest.approx(np.full(2, 1 / 4), abs=0.03)
    assert half[2:] == pytest.approx(np.full(6, 1 / 12), abs=0.03)
    assert drawn(spawns, 1.0)[:2].sum() == 1 and drawn(spawns, 0.0)[:2].sum() == 0


def test_environments_begin_there_and_copies_of_them_too(
    debug_checkpoint: Path, spawns: Spawns
) -> None:
    env = DreamVectorEnv(6, debug_checkpoint, horizon=1, spawns=spawns, near_rewards=1.0)
    assert set(env.reset(seed=0)[1]["spawn"]) <= {0, 1}
    env.step(np.zeros(6, np.int64))  # the next episodes, too
    assert {source["near_reward"] for source in env.source()} == {5}
    single = DreamEnv(debug_checkpoint, spawns=spawns, near_rewards=0.0)
    assert all(single.reset(seed=seed)[1]["spawn"] > 1 for seed in range(8))
    fork = env.fork(3)
    assert fork.near_rewards == 1.0 and fork.reset(seed=1)[1]["spawn"].max() < 2


def test_a_kind_that_is_not_there_is_refused(debug_checkpoint: Path, spawns: Spawns) -> None:
    with pytest.raises(ConfigError, match="none of the 8 spawns does"):
        DreamEnv(debug_checkpoint, near_rewards=0.5)
    near = Spawns(spawns.frames[:2], spawns.actions[:2], spawns.sources[:2])
    with pytest.raises(ConfigError, match="can only be 1, or None, not 0.5"):
        SpawnChoice(near, 0.5)
    for wrong in (1.5, -0.1, "0.5", True):
        with pytest.raises(ConfigError, match="near_rewards must be a number from 0 to 1"):
            DreamEnv(debug_checkpoint, near_rewards=wrong)
