"""Real environments begin where dreams begin: bit for bit what was recorded there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counting_env import CountingEnv, step_of
from gymnasium.wrappers import TimeLimit

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.spawn_drawing import draw_spawns
from dreamenv.dream.spawns import load_spawns
from dreamenv.real.memory_maze.env import MemoryMazeEnv
from dreamenv.real.replayed import CONTEXT, SpawnedEnv
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.policies import make_policy
from dreamenv.rollouts.recording import record_episode
from dreamenv.rollouts.store import RolloutStore
from tests.conftest import write_counting_store

LENGTH = 6


def assert_continues_as_recorded(env: SpawnedEnv, recorded: Episode, actions: int) -> None:
    """Play the recorded episode on from the spawn; every frame, reward and flag must be equal."""
    for step in range(actions, len(recorded)):
        frame, reward, terminated, *_ = env.step(recorded.action[step])
        np.testing.assert_array_equal(frame, recorded.observation[step + 1])
        assert (reward, terminated) == (recorded.reward[step], recorded.terminated[step])


@pytest.mark.parametrize("continuous", [False, True])
def test_begins_at_the_spawns_of_a_store(tmp_path: Path, continuous: bool) -> None:
    path = write_counting_store(tmp_path / "store", steps=20, continuous=continuous)
    store = RolloutStore(path)
    spawns = draw_spawns(store, 6, LENGTH, (8, 8))
    env = SpawnedEnv(CountingEnv(length=20, continuous=continuous))
    for i, source in enumerate(spawns.sources):
        frame, info = env.reset(options={"source": source})
        np.testing.assert_array_equal(frame, spawns.frames[i, -1])
        frames, actions = env.episode_context()
        np.testing.assert_array_equal(frames, spawns.frames[i])
        np.testing.assert_array_equal(actions, spawns.actions[i, 1:])
        assert actions.dtype == spawns.actions.dtype and info["count"] == step_of(frame)
        assert_continues_as_recorded(env, store.read(source["seed"]), len(source["actions"]))


def test_a_recorded_maze_comes_back_bit_for_bit(shared_maze: MemoryMazeEnv) -> None:
    recorded = record_episode(shared_maze, make_policy("goal:0.05"), 3, 0, max_episode_steps=90)
    assert recorded.reward.any()  # something happened, or the test would prove less
    source = {"seed": 3, "actions": recorded.action[:60].tolist()}
    env = SpawnedEnv(shared_maze)
    frame, _ = env.reset(options={"source": source})
    frames, actions = env.episode_context()
    np.testing.assert_array_equal(frame, recorded.observation[60])
    np.testing.assert_array_equal(frames, recorded.observation[61 - CONTEXT : 61])
    np.testing.assert_array_equal(actions, recorded.action[61 - CONTEXT : 60])
    assert_continues_as_recorded(env, recorded, 60)


def test_the_seed_draws_the_spawn_that_it_draws_in_the_dream(debug_checkpoint: Path) -> None:
    dream = DreamEnv(debug_checkpoint)
    env = SpawnedEnv(CountingEnv(length=60), load_spawns(debug_checkpoint).sources)
    seen = []
    for seed in (0, None, None, 1, 2, 0, None):
        info = env.reset(seed=seed)[1]
        if seed is not None:
            assert info["spawn"] == dream.reset(seed=seed)[1]["spawn"]
        assert env.source() == load_spawns(debug_checkpoint).sources[info["spawn"]]
        seen.append(info["spawn"])
    assert seen[:2] == seen[-2:] and len(set(seen)) > 2


def test_without_a_source_it_is_the_environment_itself() -> None:
    env = SpawnedEnv(CountingEnv())
    frame, info = env.reset(seed=7)
    np.testing.assert_array_equal(frame, CountingEnv().reset(seed=7)[0])
    frames, actions = env.episode_context()
    np.testing.assert_array_equal(frames, frame[None])
    assert actions.shape == (0,) and info["spawn"] == -1


def test_other_options_are_the_environments_own() -> None:
    class Optional(CountingEnv):
        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            self.options = options
            return super().reset(seed=seed)

    env = SpawnedEnv(Optional())
    env.reset(options={"source": {"seed": 0, "actions": [1]}, "door": "open"})
    assert env.unwrapped.options == {"door": "open"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"seed": 0, "policy": "sticky", "start": 3},
            r"not \['seed', 'policy', 'start'\].*save_spawns",
        ),
        (3, "a dict with 'seed' and 'actions'.* not 3"),
        ({"seed": 0, "actions": [1, 1], "start": 3}, "starts at step 3 cannot end after 2"),
        ({"seed": 0, "actions": [1] * 20}, "ended after 8 of the 20 actions.*max_episode_steps=-1"),
    ],
)
def test_impossible_sources_are_refused(source: Any, message: str) -> None:
    env = SpawnedEnv(TimeLimit(CountingEnv(length=50), 8))
    with pytest.raises(EnvironmentUsageError, match=message):
        env.reset(options={"source": source})


def test_spawns_of_other_lengths_show_their_own_context(counting_store: Path) -> None:
    spawns = draw_spawns(RolloutStore(counting_store), 1, 40, (8, 8))
    source = spawns.sources[0]
    env = SpawnedEnv(CountingEnv(length=60))
    env.reset(options={"source": source})
    assert len(env.episode_context()[0]) == 40
    without_start = {k: v for k, v in source.items() if k != "start"}
    env.reset(options={"source": without_start})
    frames, _ = env.episode_context()
    np.testing.assert_array_equal(frames, spawns.frames[0, -CONTEXT:])
