"""Playing: equal steps on both sides, a seed per episode, records in the time contract."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from dreamenv.errors import ConfigError
from dreamenv.evaluation.returns import play
from dreamenv.rollouts.episode import Episode
from tests.evaluation.ring_env import PLACES, RingEnv, frame_of, place_of, reward_of

SIZE = (PLACES, PLACES)


class Walker:
    """Moves by one or two, as the place tells it; notes what it is shown."""

    name = "walker"

    def __init__(self) -> None:
        self.resets = 0
        self.starts: list[np.ndarray] = []
        self.shapes: set[tuple[int, ...]] = set()

    def reset(self) -> None:
        self.resets += 1

    def act(self, observation: np.ndarray, episode_start: np.ndarray) -> np.ndarray:
        self.starts.append(episode_start.copy())
        self.shapes.add(observation.shape)
        return np.array([1 + place_of(frame) % 2 for frame in observation], np.int64)


def ring(slots: int, **kwargs: int) -> gymnasium.vector.VectorEnv:
    return gymnasium.make_vec("Ring-v0", slots, "sync", **kwargs)


def played(slots: int, episodes: int, horizon: int, **kwargs: int) -> list[Episode]:
    env = ring(slots, **kwargs)
    episodes_played = list(play(env, Walker(), episodes, horizon, SIZE, seed=3))
    env.close()
    return episodes_played


def assert_same(a: Episode, b: Episode) -> None:
    for name in ("observation", "action", "reward", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert (a.seed, a.policy) == (b.seed, b.policy)


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_every_episode_has_the_horizon_and_its_own_seed(slots: int) -> None:
    episodes = played(slots, 5, 25)
    assert [episode.seed for episode in episodes] == [3, 4, 5, 6, 7]
    for episode in episodes:
        assert len(episode) == 25 and episode.policy == "walker"
        assert episode.truncated.tolist() == [False] * 24 + [True]
        assert not episode.terminated.any()


def test_records_follow_the_time_contract() -> None:
    for episode in played(2, 3, 25):
        env = RingEnv()
        env.reset(seed=episode.seed)
        assert place_of(episode.observation[0]) == env.place
        for t, action in enumerate(episode.action):
            before, after = (place_of(f) for f in episode.observation[t : t + 2])
            assert action == 1 + before % 2
            assert after == (before + action) % PLACES
            assert episode.reward[t] == reward_of(after, action)
        np.testing.assert_array_equal(episode.observation[-1], frame_of(after, 1))


def test_the_number_of_slots_changes_nothing_for_an_agent_without_randomness() -> None:
    for a, b in zip(played(1, 5, 25), played(3, 5, 25), strict=True):
        assert_same(a, b)


def test_worker_processes_play_the_same_episodes() -> None:
    env = gymnasium.make_vec("Ring-v0", 2, "async", {"context": "spawn"})
    episodes = list(play(env, Walker(), 3, 10, SIZE, seed=3))
    env.close()
    for a, b in zip(episodes, played(1, 3, 10), strict=True):
        assert_same(a, b)


def test_termination_ends_an_episode_early_and_nothing_after_it_counts() -> None:
    for slots in (1, 2):
        for episode in played(slots, 3, 50, length=20):
            assert len(episode) == 20 and len(episode.observation) == 21
            assert episode.terminated.tolist() == [False] * 19 + [True]
            assert not episode.truncated.any()


def test_the_agent_forgets_before_and_sees_frames_of_the_given_size() -> None:
    agent, env = Walker(), ring(2)
    list(play(env, agent, 4, 5, SIZE))
    assert agent.resets == 1
    assert agent.shapes == {(2, PLACES, PLACES, 3)}
    starts = np.array(agent.starts)
    assert starts.shape == (10, 2)
    assert starts[[0, 5]].all() and starts.sum() == 4


def test_a_restarted_slot_is_announced_as_a_new_episode() -> None:
    class Mixed(Walker):
        def act(self, observation: np.ndarray, episode_start: np.ndarray) -> np.ndarray:
            self.starts.append(episode_start.copy())
            return np.zeros(len(observation), np.int64)

    agent = Mixed()
    env = gymnasium.vector.SyncVectorEnv([lambda: RingEnv(length=3), lambda: RingEnv()])
    list(play(env, agent, 2, 6, SIZE))
    assert np.flatnonzero(np.array(agent.starts)[:, 0]).tolist() == [0, 4]
    assert np.flatnonzero(np.array(agent.starts)[:, 1]).tolist() == [0]


def test_an_environment_that_cuts_episodes_off_is_refused() -> None:
    env = gymnasium.make_vec("ShortRing-v0", 1, "sync")
    with pytest.raises(ConfigError, match="cut an episode off after 20 steps.*at most 20"):
        list(play(env, Walker(), 1, 30, SIZE))
    assert len(next(play(env, Walker(), 1, 20, SIZE))) == 20


def test_a_reward_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="no number"):
        played(1, 1, 10, nan_at=4)
