"""Every frame, action, reward and flag lands where the time contract puts it."""

from __future__ import annotations

import numpy as np
import pytest
from counting_env import ACTIONS, reward_of, step_of
from counting_episodes import DISCRETE, OBSERVATIONS, action_of, counting_episode
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.store import RolloutStore, RolloutWriter
from dreamenv.rollouts.windows import Windows

LENGTHS = [30, 4, 70, 11, 31]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("rollouts") / "store"
    with RolloutWriter(path, "Counting-v0", OBSERVATIONS, DISCRETE) as writer:
        for seed, steps in enumerate(LENGTHS):
            writer.append(counting_episode(steps, seed, terminated=seed != 3))
    return RolloutStore(path)


def assert_time_contract(window, start, length, steps, terminated=True, stride=1):
    """Check each row of a window that begins at frame `start` of an episode of `steps` steps."""
    assert (window.frames.dtype, len(window)) == (np.uint8, length)
    assert (window.action.dtype, window.action.shape) == (np.int64, (length,))
    assert (window.reward.dtype, window.reward.shape) == (np.float32, (length,))
    assert (window.terminated.dtype, window.terminated.shape) == (np.bool_, (length,))
    assert window.is_first.tolist() == [True] + [False] * (length - 1)
    for row in range(length):
        frame = start + stride * row
        assert step_of(window.frames[row]) == frame
        assert window.action[row] == (-1 if row == 0 else action_of(frame - 1))
        received = [reward_of(t) for t in range(max(0, frame - stride), frame)]
        assert window.reward[row] == np.float32(sum(received))
        assert window.terminated[row] == (terminated and frame == steps)


@settings(max_examples=60)
@given(data=st.data())
def test_any_window(store, data):
    stride = data.draw(st.sampled_from([1, 1, 2, 3]))
    length = data.draw(st.integers(1, 40 // stride))
    windows = Windows(store, length, stride=stride)
    episode, start = windows.locate(data.draw(st.integers(0, windows.num_windows - 1)))
    window = windows.read(episode, start)
    steps = LENGTHS[episode]
    assert_time_contract(window, start, length, steps, episode != 3, stride)


def test_first_and_last_frame(store):
    windows = Windows(store, 31)
    whole = windows.read(0, 0)
    assert whole.action[0] == -1 and (whole.action[1:] >= 0).all()
    assert whole.terminated.tolist() == [False] * 30 + [True]
    assert step_of(whole.frames[-1]) == 30
    assert windows.read(2, 40).terminated[-1]


def test_truncation_is_no_termination(store):
    assert not Windows(store, 12).read(3, 0).terminated.any()


def test_windows_are_all_inside_episodes_and_all_are_reached(store):
    length = 28
    windows = Windows(store, length)
    places = [windows.locate(index) for index in range(windows.num_windows)]
    expected = [(e, s) for e, steps in enumerate(LENGTHS) for s in range(steps + 2 - length)]
    assert places == expected
    for episode, start in places:
        frames = windows.read(episode, start).frames
        assert set(frames[:, 2, 2, 0]) == {episode}  # the seed, which is the episode's number
    for outside in (-1, windows.num_windows):
        with pytest.raises(RolloutError, match="there are windows 0"):
            windows.locate(outside)
    with pytest.raises(RolloutError, match="is no stretch"):
        windows.read(0, 4)


def test_short_episodes_are_skipped_and_none_left_is_an_error(store):
    windows = Windows(store, 32)
    assert {windows.locate(index)[0] for index in range(windows.num_windows)} == {2, 4}
    with pytest.raises(RolloutError, match="none of 5 episodes has 72 frames .*longest has 71"):
        Windows(store, 72)
    with pytest.raises(RolloutError, match="none of 2 episodes"):
        Windows(store, 20, episodes=[1, 3])
    with pytest.raises(RolloutError, match="none of 0 episodes"):
        Windows(store, 20, episodes=[])


def test_chosen_episodes(store):
    windows = Windows(store, 10, episodes=[3, 0])
    assert windows.num_windows == 3 + 22
    assert windows.locate(0) == (3, 0)
    with pytest.raises(RolloutError, match="only episodes 0..4"):
        Windows(store, 10, episodes=[5])
    with pytest.raises(RolloutError, match="at least 1 frame"):
        Windows(store, 0)


def test_one_frame_windows(store):
    windows = Windows(store, 1)
    assert_time_contract(windows.read(1, 0), 0, 1, 4)
    assert_time_contract(windows.read(1, 4), 4, 1, 4)
    assert windows.num_windows == sum(steps + 1 for steps in LENGTHS)


def test_box_actions(tmp_path):
    episode = counting_episode(5)
    episode.action = np.arange(10, dtype=np.float32).reshape(5, 2)
    space = Box(-100, 100, (2,), np.float32)
    with RolloutWriter(tmp_path, "Box-v0", OBSERVATIONS, space) as writer:
        writer.append(episode)
    windows = Windows(RolloutStore(tmp_path), 4)
    first, second = windows.read(0, 0), windows.read(0, 1)
    assert first.action.dtype == np.float32
    none = [np.nan, np.nan]
    np.testing.assert_array_equal(first.action, [none, [0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(second.action, [none, [2, 3], [4, 5], [6, 7]])
    assert first.is_first.tolist() == second.is_first.tolist() == [True, False, False, False]


def test_discrete_actions_that_do_not_start_at_0(tmp_path):
    episode = counting_episode(5)
    episode.action -= 1
    with RolloutWriter(tmp_path, "X-v0", OBSERVATIONS, Discrete(ACTIONS, start=-1)) as writer:
        writer.append(episode)
    windows = Windows(RolloutStore(tmp_path), 5)
    assert windows.read(0, 0).action.tolist() == [-1, *map(action_of, range(4))]
    assert windows.read(0, 1).action.tolist() == [-1, *map(action_of, range(1, 5))]
