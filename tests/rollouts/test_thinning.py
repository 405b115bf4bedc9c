"""Every k-th frame with the actions between as one: in the counting environment nothing moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import published_layouts as published
import pytest
from counting_env import CountingEnv, step_of
from counting_episodes import action_of, assert_same_episode, counting_episode
from gymnasium.spaces import Discrete, Tuple

from dreamenv.core.errors import ConfigError, InvalidActionError, RolloutError
from dreamenv.real.stacked_steps import StackedSteps
from dreamenv.rollouts.importers.run import import_rollouts
from dreamenv.rollouts.recording import record_episode
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.thinning import every_of, stacked_space, thinned


@pytest.mark.parametrize("every", [2, 3])
def test_frames_are_steps_apart_and_rewards_belong_to_the_later(every: int) -> None:
    episode = counting_episode(13, 5, terminated=False)
    kept = thinned(episode, every)
    assert [step_of(frame) for frame in kept.observation] == list(range(0, 14, every))[
        : 13 // every + 1
    ]  # noqa: E501
    for step, row in enumerate(kept.action):
        assert row.tolist() == [action_of(every * step + i) for i in range(every)]
        assert kept.reward[step] == episode.reward[every * step : every * step + every].sum()
    assert kept.truncated.tolist() == [False] * (len(kept) - 1) + [True] and kept.seed == 5
    assert not kept.terminated.any()


def test_a_terminal_state_is_kept_whatever_is_left_over() -> None:
    kept = thinned(counting_episode(13, terminated=True), 2)
    assert len(kept) == 7 and step_of(kept.observation[-1]) == 13
    assert kept.terminated.tolist() == [False] * 6 + [True] and not kept.truncated.any()
    assert kept.action[-1].tolist() == [action_of(12)] * 2


def test_one_changes_nothing_and_too_many_are_refused() -> None:
    episode = counting_episode(3, terminated=False)
    assert thinned(episode, 1) is episode and stacked_space(Discrete(3), 1) == Discrete(3)
    with pytest.raises(RolloutError, match="an episode of 3 steps has no frame 4 steps further"):
        thinned(episode, 4)
    with pytest.raises(RolloutError, match="at least 1"):
        thinned(episode, 0)


class Counting:
    """Takes the counting episodes' actions, `every` at once."""

    name = "counting"

    def __init__(self, every: int) -> None:
        self.every = every

    def reset(self, env: object, seed: int) -> None:
        self.step = 0

    def act(self, observation: np.ndarray) -> tuple[int, ...]:
        self.step += self.every
        return tuple(action_of(step) for step in range(self.step - self.every, self.step))


@pytest.mark.parametrize("steps", [12, 13])
def test_stacked_steps_record_what_thinning_keeps(steps: int) -> None:
    env = StackedSteps(CountingEnv(length=steps), 2)
    recorded = record_episode(env, Counting(2), 4, 0)
    kept = thinned(counting_episode(steps, 4), 2)
    if steps % 2:  # chosen, but the episode was over
        recorded.action[-1, 1] = kept.action[-1, 1]
    assert_same_episode(recorded, kept)


def test_stacked_steps_take_as_many_actions_as_they_say() -> None:
    env = StackedSteps(CountingEnv(length=9), 2)
    assert env.action_space == stacked_space(Discrete(5), 2) == Tuple([Discrete(5)] * 2)
    env.reset(seed=0)
    for wrong in (3, (1,), (1, 9)):
        with pytest.raises(InvalidActionError):
            env.step(wrong)
    with pytest.raises(ConfigError, match="2 or more"):
        StackedSteps(CountingEnv(), 1)


def test_an_import_keeps_every_second_frame_and_says_so(tmp_path: Path) -> None:
    source = published.memory_maze(tmp_path / "data", [counting_episode(20, 2, terminated=False)])
    import_rollouts(source, tmp_path / "all", progress=False)
    import_rollouts(source, tmp_path / "half", every=2, progress=False)
    whole, half = RolloutStore(tmp_path / "all"), RolloutStore(tmp_path / "half")
    assert (every_of(whole.metadata), every_of(half.metadata)) == (1, 2)
    assert half.action_space == Tuple((whole.action_space,) * 2)
    kept, read = thinned(whole.read(0), 2), half.read(0)
    np.testing.assert_array_equal(read.observation, kept.observation)
    np.testing.assert_array_equal(read.action, kept.action)
    assert read.info["agent_pos"].tolist() == kept.info["agent_pos"].tolist()
    with pytest.raises(RolloutError, match="was imported with every = 2, not None"):
        import_rollouts(source, tmp_path / "half", progress=False)
    assert every_of({"collect": {"env_kwargs": {"every": 2}}}) == 2 and every_of({}) == 1
