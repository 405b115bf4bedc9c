"""Actions that are vectors of choices, or nested: recorded, kept and brought back as they were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from counting_env import SPACES, CountingEnv, step_of
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector.utils import batch_space, iterate

from dreamenv.core.action_rows import action_of, row_type
from dreamenv.core.errors import RolloutError
from dreamenv.real.replayed import SpawnedEnv
from dreamenv.rollouts.actions import fit_actions, rows_of, to_model
from dreamenv.rollouts.policies import make_policy
from dreamenv.rollouts.recording import record_episode
from dreamenv.rollouts.spaces import require_action_space, space_from_dict, space_to_dict
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import model_time
from dreamenv.rollouts.writer import RolloutWriter

EVERY = pytest.mark.parametrize("name", SPACES)


@EVERY
def test_a_space_equals_itself_after_a_way_through_json(name: str) -> None:
    space = require_action_space(SPACES[name])
    assert space_from_dict(json.loads(json.dumps(space_to_dict(space)))) == space


def test_the_two_kinds_of_multi_binary_stay_apart() -> None:
    for space in (MultiBinary(3), MultiBinary([3]), MultiBinary([2, 2])):
        assert space_from_dict(json.loads(json.dumps(space_to_dict(space)))) == space


@pytest.mark.parametrize(
    "damaged",
    [
        {"type": "Tuple", "spaces": [{"type": "Graph"}]},
        {"type": "Dict", "spaces": [1]},
        {"type": "MultiDiscrete", "nvec": [2.5], "start": [0], "dtype": "int64"},
        {"type": "MultiBinary", "n": 10**12},
        {"type": "MultiBinary", "n": [10**12]},
    ],
)
def test_a_damaged_description_of_a_space_is_refused(damaged: dict) -> None:
    with pytest.raises(RolloutError, match="damaged|unknown"):
        space_from_dict(damaged)


def test_a_space_nested_without_end_is_refused() -> None:
    space: dict = {"type": "Discrete", "n": 2, "start": 0}
    for _ in range(1000):
        space = {"type": "Tuple", "spaces": [space]}
    with pytest.raises(RolloutError, match="damaged"):
        space_from_dict(space)


@EVERY
def test_an_action_is_itself_again_after_being_a_row(name: str) -> None:
    space = SPACES[name]
    space.seed(0)
    for _ in range(20):
        action = space.sample()
        row = fit_actions(space, action)
        assert row is not None
        assert (row.shape, row.dtype) == row_type(space)
        again = action_of(space, row)
        assert again in space
        np.testing.assert_array_equal(rows_of(space, again), rows_of(space, action))
        np.testing.assert_array_equal(fit_actions(space, row), row)


@EVERY
def test_a_batch_of_actions_is_the_rows_of_each(name: str) -> None:
    space = SPACES[name]
    batched = batch_space(space, 4)
    batched.seed(0)
    actions = batched.sample()
    rows = fit_actions(space, actions, (4,))
    assert rows is not None
    for row, action in zip(rows, iterate(batched, actions), strict=True):
        np.testing.assert_array_equal(row, rows_of(space, action))


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (MultiDiscrete([2, 3]), [0, 3]),
        (MultiDiscrete([2, 3], start=[1, 1]), [0, 1]),
        (MultiDiscrete([2, 3]), [0.0, 1.0]),
        (MultiBinary(2), [0, 2]),
        (MultiBinary(2), [0]),
        (Tuple([Discrete(2), Discrete(2)]), (0,)),
        (Tuple([Discrete(2), Discrete(2)]), (0, 2)),
        (Tuple([Discrete(2), Discrete(2)]), np.array([0.5, 0.0])),
        (Dict(a=Discrete(2)), {"b": 0}),
        (Dict(a=Discrete(2)), 0),
        (Dict(a=Box(-1, 1, (2,))), {"a": [0.0, 1.5]}),
        (Dict(a=Box(-1, 1, (2,))), {"a": [0.0, np.nan]}),
    ],
)
def test_an_action_outside_its_space_is_none(space: Space, action: object) -> None:
    assert fit_actions(space, action) is None


def test_a_model_counts_every_choice_from_zero() -> None:
    row = fit_actions(SPACES["tuple"], (-1, np.float32([90, -7])))
    np.testing.assert_array_equal(to_model(SPACES["tuple"], row), np.float32([0, 90, -7]))
    row = fit_actions(SPACES["multi_discrete"], [1, 6])
    np.testing.assert_array_equal(to_model(SPACES["multi_discrete"], row), np.float32([1, 3]))
    assert to_model(SPACES["multi_binary"], np.zeros((0, 3), np.int8)).shape == (0, 3)


def test_the_parts_of_a_dict_are_in_the_order_of_their_names() -> None:
    action = {"place": 3, "camera": [1.0, 2.0], "keys": {"jump": 1, "hotbar": [8, 1]}}
    np.testing.assert_array_equal(rows_of(SPACES["dict"], action), [1, 2, 8, 1, 1, 3])


@EVERY
@pytest.mark.parametrize("policy", ["uniform", "sticky:0.5"])
def test_what_is_stored_is_what_the_environment_was_given(
    tmp_path: Path, name: str, policy: str
) -> None:
    env = CountingEnv(length=8, actions=name)
    with RolloutWriter(tmp_path, "X-v0", env.observation_space, env.action_space) as writer:
        writer.append(record_episode(env, make_policy(policy), seed=3, policy_seed=5))
    store = RolloutStore(tmp_path)
    assert store.action_space == SPACES[name]
    rows = store.read_steps(0)["action"]
    for row, taken in zip(rows, env.taken, strict=True):
        np.testing.assert_array_equal(row, rows_of(SPACES[name], taken))


@EVERY
def test_the_action_that_led_to_a_frame_stands_beside_it(tmp_path: Path, name: str) -> None:
    env = CountingEnv(length=8, actions=name)
    episode = record_episode(env, make_policy("uniform"), seed=3, policy_seed=5)
    window = model_time(episode, env.action_space)
    assert np.isnan(window.action[0]).all()
    for step in range(1, 9):
        assert step_of(window.frames[step]) == step
        led = to_model(env.action_space, rows_of(env.action_space, env.taken[step - 1]))
        np.testing.assert_array_equal(window.action[step], led)


@EVERY
def test_a_real_environment_is_brought_to_a_spawn_by_its_recorded_actions(name: str) -> None:
    env = CountingEnv(length=20, actions=name)
    episode = record_episode(env, make_policy("uniform"), seed=3, policy_seed=5)
    before = env.taken[:6]
    there = SpawnedEnv(env)
    frame, _ = there.reset(options={"source": {"seed": 3, "actions": episode.action[:6].tolist()}})
    assert step_of(frame) == 6
    assert all(map(data_equivalence, env.taken, before))
    frames, rows = there.episode_context()
    assert len(frames) == 7
    np.testing.assert_array_equal(rows, episode.action[:6])


def test_a_stored_choice_that_is_none_is_refused(tmp_path: Path) -> None:
    env = CountingEnv(length=8, actions="dict")
    episode = record_episode(env, make_policy("uniform"), seed=3, policy_seed=5)
    episode.action[2, 5] = 4
    with (
        RolloutWriter(tmp_path, "X-v0", env.observation_space, env.action_space) as writer,
        pytest.raises(RolloutError, match="step 2: .*does not contain action"),
    ):
        writer.append(episode)
