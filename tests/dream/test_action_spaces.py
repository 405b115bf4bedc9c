"""Dreams whose actions are vectors of choices, or nested: those of the environment, every part."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counting_env import SPACES, CountingEnv
from gymnasium.utils.env_checker import check_env
from gymnasium.vector.utils import iterate

from dreamenv.core.errors import ConfigError, EnvironmentUsageError, InvalidActionError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.memory import WithMemory
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.rollouts.actions import rows_of
from tests.conftest import save_debug_checkpoint, write_counting_store

NAMES = ("dict", "multi_discrete")


@pytest.fixture(scope="module")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Untrained models of the counting environment with other actions, by the name of these."""
    made: dict[str, Path] = {}

    def checkpoint(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            store = write_counting_store(folder / "store", episodes=1, steps=20, actions=name)
            made[name] = save_debug_checkpoint(folder / "checkpoint", store)
        return made[name]

    return checkpoint


@pytest.mark.parametrize("name", NAMES)
def test_a_dream_takes_the_actions_of_its_environment(checkpoint_of: Any, name: str) -> None:
    env = DreamEnv(checkpoint_of(name), dtype="float32", render_mode="rgb_array")
    assert env.action_space == SPACES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # boxes of actions that are not in −1 … 1
        check_env(env)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_actions_dreams_as_each_alone(checkpoint_of: Any, name: str) -> None:
    crowd = DreamVectorEnv(3, checkpoint_of(name), dtype="float32")
    alone = DreamEnv(checkpoint_of(name), dtype="float32")
    crowd.reset(seed=[4, 5, 6])
    alone.reset(seed=5)
    crowd.action_space.seed(1)
    for _ in range(3):
        actions = crowd.action_space.sample()
        many = crowd.step(actions)[0]
        one = alone.step(list(iterate(crowd.action_space, actions))[1])[0]
        assert np.abs(many[1].astype(int) - one.astype(int)).max() <= 1


def test_every_part_of_an_action_counts(checkpoint_of: Any) -> None:
    base = {"place": 0, "camera": [0.0, 0.0], "keys": {"jump": 0, "hotbar": [0, 0]}}
    changes: list[dict[str, Any]] = [
        {"place": 3},
        {"camera": [90.0, 0.0]},
        {"camera": [0.0, 90.0]},
        {"keys": {"jump": 1, "hotbar": [0, 0]}},
        {"keys": {"jump": 0, "hotbar": [8, 0]}},
        {"keys": {"jump": 0, "hotbar": [0, 1]}},
    ]
    env = DreamEnv(checkpoint_of("dict"), dtype="float32", observation="memory")
    seen = []
    for change in ({}, *changes):
        env.reset(seed=0)
        seen.append(env.step({**base, **change})[0]["memory"])
    for i, one in enumerate(seen):
        for other in seen[:i]:
            assert not np.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"place": 4}, {"camera": [181.0, 0.0]}, {"fly": 1}, 0])
def test_an_action_that_is_none_is_refused(checkpoint_of: Any, wrong: Any) -> None:
    env = DreamEnv(checkpoint_of("dict"), dtype="float32")
    env.reset(seed=0)
    good = {"place": 0, "camera": [0.0, 0.0], "keys": {"jump": 0, "hotbar": [0, 0]}}
    with pytest.raises(InvalidActionError):
        env.step({**good, **wrong} if isinstance(wrong, dict) else wrong)


def test_contexts_have_nested_actions_or_rows_of_them(checkpoint_of: Any) -> None:
    space = SPACES["dict"]
    env = DreamEnv(checkpoint_of("dict"), dtype="float32", observation="memory")
    frames = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    space.seed(0)
    taken = [space.sample() for _ in range(3)]
    rows = np.stack([rows_of(space, action) for action in taken])
    nested = {
        "place": [a["place"] for a in taken],
        "camera": [a["camera"] for a in taken],
        "keys": {key: [a["keys"][key] for a in taken] for key in ("jump", "hotbar")},
    }
    seen = [
        env.reset(seed=0, options={"context": frames, "actions": actions})[0]["memory"]
        for actions in (rows, nested)
    ]
    np.testing.assert_array_equal(*seen)
    rows[1, -1] = 4
    with pytest.raises(EnvironmentUsageError, match="actions must be from Dict"):
        env.reset(options={"context": frames, "actions": rows})


def test_real_episodes_are_remembered_under_nested_actions(checkpoint_of: Any) -> None:
    env = WithMemory(CountingEnv(length=9, actions="dict"), checkpoint_of("dict"), dtype="float32")
    good = {"place": 0, "camera": np.zeros(2, np.float32)}
    memories = []
    for jump in (0, 1):
        env.reset(seed=0)
        action = {**good, "keys": {"jump": jump, "hotbar": np.zeros(2, np.int64)}}
        memories.append(env.step(action)[0]["memory"])
    assert np.isfinite(memories).all() and not np.allclose(*memories)


def test_agents_of_stable_baselines_take_vectors_of_choices_but_nothing_nested(
    checkpoint_of: Any,
) -> None:
    sb3 = pytest.importorskip("dreamenv.dream.sb3")
    for name in ("dict", "multi_discrete"):  # the latter does not count from 0
        with pytest.raises(ConfigError, match="count discrete actions from 0"):
            sb3.DreamVecEnv(1, checkpoint=checkpoint_of(name))
    env = sb3.DreamVecEnv(2, checkpoint=checkpoint_of("multi_binary"), dtype="float32")
    env.reset()
    env.step(np.array([[0, 1, 1], [1, 0, 0]], np.int8))
