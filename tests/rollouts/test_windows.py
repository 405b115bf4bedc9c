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
from dreamenv.rollouts.windows import START_TOKEN, Windows, model_time

LENGTHS = [30, 4, 70, 11, 31]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("rollouts") / "store"
    with RolloutWriter(path, "Counting-v0", OBSERVATIONS, DISCRETE) as writer:
        for seed, steps in enumerate(LENGTHS):
            writer.append(counting_episode(steps, seed, terminated=seed != 3))
    return RolloutStore(path)


def assert_time_contract(window, start, length, steps, terminated=True):
    """Check each row of a window that begins at frame `start` of an episode of `steps` steps."""
    assert {name: (values.dtype, len(values)) for name, values in window.items()} == {
        "frames": (np.uint8, length),
        "action": (np.int64, length),
        "reward": (np.float32, length),
        "terminated": (np.bool_, length),
        "is_first": (np.bool_, length),
    }
    for row in range(length):
        frame = start + row
        assert step_of(window["frames"][row]) == frame
        assert window["is_first"][row] == (frame == 0)
        if frame == 0:
            assert window["action"][row] == START_TOKEN
            assert window["reward"][row] == 0 and not window["terminated"][row]
        else:
            assert window["action"][row] == action_of(frame - 1)
            assert window["reward"][row] == reward_of(frame - 1)
            assert window["terminated"][row] == (terminated and frame == steps)


@settings(max_examples=60)
@given(data=st.data())
def test_any_window(store, data):
    length = data.draw(st.integers(1, 40))
    windows = Windows(store, length)
    episode, start = windows.locate(data.draw(st.integers(0, windows.num_windows - 1)))
    window = windows.read(episode, start)
    assert_time_contract(window, start, length, LENGTHS[episode], terminated=episode != 3)


def test_first_and_last_frame(store):
    windows = Windows(store, 31)
    whole = windows.read(0, 0)
    assert whole["is_first"].tolist() == [True] + [False] * 30
    assert whole["action"][0] == START_TOKEN and (whole["action"][1:] >= 0).all()
    assert whole["terminated"].tolist() == [False] * 30 + [True]
    assert step_of(whole["frames"][-1]) == 30
    last = windows.read(2, 40)
    assert not last["is_first"].any() and last["terminated"][-1]


def test_truncation_is_no_termination(store):
    assert not Windows(store, 12).read(3, 0)["terminated"].any()


def test_windows_are_all_inside_episodes_and_all_are_reached(store):
    length = 28
    windows = Windows(store, length)
    places = [windows.locate(index) for index in range(windows.num_windows)]
    expected = [(e, s) for e, steps in enumerate(LENGTHS) for s in range(steps + 2 - length)]
    assert places == expected
    for episode, start in places:
        frames = windows.read(episode, start)["frames"]
        assert set(frames[:, 2, 2, 0]) == {episode}  # the seed, which is the episode's number
    for outside in (-1, windows.num_windows):
        with pytest.raises(RolloutError, match="there are windows 0"):
            windows.locate(outside)
    with pytest.raises(RolloutError, match="is no stretch"):
        windows.read(0, 4)


def test_samples_are_windows_and_follow_the_generator(store):
    windows = Windows(store, 12)
    batch = windows.sample(np.random.default_rng(3), 50)
    again = windows.sample(np.random.default_rng(3), 50)
    assert batch["frames"].shape == (50, 12, 8, 8, 3)
    for name, values in batch.items():
        np.testing.assert_array_equal(values, again[name])
    for row in range(50):
        episode = int(batch["frames"][row, 0, 2, 2, 0])
        start = step_of(batch["frames"][row, 0])
        window = {name: values[row] for name, values in batch.items()}
        assert_time_contract(window, start, 12, LENGTHS[episode], terminated=episode != 3)


def test_samples_are_uniform_over_windows(store):
    windows = Windows(store, 28)  # 4 + 44 + 5 windows in episodes 0, 2, 4
    drawn = windows.sample(np.random.default_rng(0), 1000)["frames"][:, 0, 2, 2, 0]
    shares = [(drawn == episode).mean() for episode in (0, 2, 4)]
    np.testing.assert_allclose(shares, [4 / 53, 44 / 53, 5 / 53], atol=0.03)


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


def test_model_time_of_a_stretch_in_mid_episode():
    stretch = counting_episode(6)
    converted = model_time(stretch, Discrete(ACTIONS), preceding_action=2)
    assert not converted["is_first"].any()
    assert converted["action"].tolist() == [2] + [action_of(t) for t in range(6)]
    assert converted["reward"].tolist() == [0] + [reward_of(t) for t in range(6)]


def test_box_actions(tmp_path):
    episode = counting_episode(5)
    episode.action = np.arange(10, dtype=np.float32).reshape(5, 2)
    space = Box(-100, 100, (2,), np.float32)
    with RolloutWriter(tmp_path, "Box-v0", OBSERVATIONS, space) as writer:
        writer.append(episode)
    windows = Windows(RolloutStore(tmp_path), 4)
    first, second = windows.read(0, 0)["action"], windows.read(0, 1)["action"]
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, [[0, 0], [0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(second, [[0, 1], [2, 3], [4, 5], [6, 7]])


def test_discrete_actions_that_do_not_start_at_0(tmp_path):
    episode = counting_episode(5)
    episode.action -= 1
    with RolloutWriter(tmp_path, "X-v0", OBSERVATIONS, Discrete(ACTIONS, start=-1)) as writer:
        writer.append(episode)
    windows = Windows(RolloutStore(tmp_path), 5)
    assert windows.read(0, 0)["action"].tolist() == [START_TOKEN, *map(action_of, range(4))]
    assert windows.read(0, 1)["action"].tolist() == [*map(action_of, range(5))]
    stretch = RolloutStore(tmp_path).read(0, 2, 4)
    converted = model_time(stretch, Discrete(ACTIONS, start=-1), action_of(1) - 1)
    assert converted["action"].tolist() == [action_of(t) for t in (1, 2, 3)]
