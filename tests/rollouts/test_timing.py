"""One contract of time: what a frame is told about the step that led to it, and that none did."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from counting_env import reward_of, step_of
from counting_episodes import DISCRETE, action_of, counting_episode
from gymnasium.spaces import Box

from dreamenv.rollouts.timing import beginning, is_first, led_by, model_time, no_action
from dreamenv.world_model.config import ActionConfig
from dreamenv.world_model.network.conditioning import make_conditioning
from dreamenv.world_model.presets import preset


def test_an_episode_in_model_time() -> None:
    window = model_time(counting_episode(6), DISCRETE)
    assert [step_of(frame) for frame in window.frames] == list(range(7))
    assert window.action.tolist() == [-1, *map(action_of, range(6))]
    assert window.reward.tolist() == [0, *map(reward_of, range(6))]
    assert window.terminated.tolist() == [False] * 6 + [True]
    assert window.is_first.tolist() == [True] + [False] * 6


def test_no_action_is_said_alike_for_boxes_of_any_shape() -> None:
    episode = counting_episode(3)
    episode.action = np.arange(12, dtype=np.float64).reshape(3, 2, 2)
    window = model_time(episode, Box(0, 12, (2, 2), np.float64))
    assert window.action.shape == (4, 4) and window.action.dtype == np.float32
    assert np.isnan(window.action[0]).all() and np.isfinite(window.action[1:]).all()
    assert window.is_first.tolist() == [True, False, False, False]


def test_a_part_is_where_a_memory_begins() -> None:
    whole = model_time(counting_episode(9), DISCRETE)
    part = whole.part(2, 3, stride=3)
    assert [step_of(frame) for frame in part.frames] == [2, 5, 8]
    assert part.action.tolist() == [-1, action_of(4), action_of(7)]
    received = [sum(map(reward_of, steps)) for steps in ((0, 1), (2, 3, 4), (5, 6, 7))]
    np.testing.assert_allclose(part.reward, received)
    assert whole.action[2] == action_of(1)  # the whole stays as it is


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_actions_stand_along_any_dimension(dtype: type) -> None:
    between = np.arange(12, dtype=dtype).reshape(2, 3, 2)
    led = led_by(between, time=1)
    assert led.shape == (2, 4, 2) and led.dtype == dtype
    none = no_action(led.dtype)
    np.testing.assert_array_equal(led[:, 0], np.full((2, 2), none))
    np.testing.assert_array_equal(led[:, 1:], between)
    again = beginning(led[:, 1:], time=1)
    np.testing.assert_array_equal(again[:, 0], led[:, 0])
    np.testing.assert_array_equal(again[:, 1:], led[:, 2:])
    assert np.isfinite(between).all()


@pytest.mark.parametrize("actions", [ActionConfig(n=3), ActionConfig(low=(0.0,), high=(1.0,))])
def test_the_network_says_the_same(actions: ActionConfig) -> None:
    conditioning = make_conditioning(preset("debug", actions=actions))
    none = conditioning.none(2, 1, torch.device("cpu")).numpy()
    np.testing.assert_array_equal(none, np.full_like(none, no_action(none.dtype)))
    assert is_first(none, actions.discrete).all()
    first = conditioning.first(torch.zeros(none.shape, dtype=torch.from_numpy(none).dtype))
    np.testing.assert_array_equal(first.numpy(), none)
