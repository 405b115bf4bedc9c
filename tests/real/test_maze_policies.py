"""Ways through a maze, and the policies that walk them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from dreamenv.core.errors import ConfigError, EnvironmentUsageError
from dreamenv.real.memory_maze.env import MemoryMazeEnv
from dreamenv.real.memory_maze.navigation import next_waypoint, shortest_path, steer
from dreamenv.real.memory_maze.policies import GoalSeekingPolicy, OutAndBackPolicy, WanderingPolicy

_LAYOUT = np.array([[1, 1, 1], [0, 0, 1], [1, 1, 1]], dtype=np.uint8)  # a U, open to the left


def test_shortest_path_goes_around_walls() -> None:
    path = shortest_path(_LAYOUT, (0, 0), (0, 2))
    assert path == [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (0, 2)]
    assert shortest_path(_LAYOUT, (1, 0), (1, 0)) == [(1, 0)]


def test_no_way_is_an_empty_path() -> None:
    assert shortest_path(np.diag([1, 1, 1]), (0, 0), (2, 2)) == []


def test_waypoint_is_the_furthest_cell_in_a_straight_line() -> None:
    path = shortest_path(_LAYOUT, (0, 0), (0, 2))
    np.testing.assert_array_equal(next_waypoint(_LAYOUT, np.array([0.5, 0.5]), path), [2.5, 0.5])


@pytest.mark.parametrize(
    ("degrees", "action"), [(0, 1), (5, 1), (40, 4), (-40, 5), (120, 2), (-120, 3), (180, 2)]
)
def test_steering_turns_the_shorter_way(degrees: float, action: int) -> None:
    angle = np.radians(degrees)
    waypoint = np.array([np.cos(angle), np.sin(angle)])
    assert steer(np.zeros(2), np.array([1.0, 0.0]), waypoint) == action


def test_goal_seeking_earns_and_sticky_does_not(shared_maze: MemoryMazeEnv) -> None:
    goal, sticky = 0.0, 0.0
    for seed in (4, 5):
        begin = _begin(shared_maze, seed)
        goal += _earned(shared_maze, begin, GoalSeekingPolicy(noise=0.2), seed, steps=90)
        sticky += _earned(shared_maze, begin, _Sticky(), seed, steps=90)
    assert goal >= 3
    assert goal > sticky


def test_wandering_sees_more_of_the_maze_than_sticky(shared_maze: MemoryMazeEnv) -> None:
    begin = _begin(shared_maze, 2)
    wandering, sticky = (_visited(shared_maze, begin, p) for p in (WanderingPolicy(), _Sticky()))
    assert wandering > 2 * sticky


def test_out_and_back_returns_to_its_first_view_the_way_it_came(
    shared_maze: MemoryMazeEnv,
) -> None:
    frame, _ = shared_maze.reset(seed=3)
    policy = OutAndBackPolicy()
    policy.reset(shared_maze, 0)
    walk, home = [], []
    for step in range(400):
        truth = shared_maze.ground_truth()
        walk.append(truth["agent_pos"])
        if step == 0:
            start, view = np.floor(truth["agent_pos"]) + 0.5, truth["agent_dir"]
        if np.linalg.norm(walk[-1] - start) < 0.5 and truth["agent_dir"] @ view > 0.97:
            home.append(step)
        frame = shared_maze.step(policy.act(frame))[0]
    away = np.flatnonzero(np.diff(home) > 20)  # walks, from one view of home to the next
    assert len(away) >= 3
    for i in away:
        way = np.array(walk[home[i] : home[i + 1]])
        far = np.linalg.norm(way - start, axis=1).argmax()
        apart = np.linalg.norm(way[far:, None] - way[None, : far + 1], axis=-1)
        assert apart.min(1).max() < 1


@pytest.mark.parametrize(
    "policy", [WanderingPolicy(0.1), GoalSeekingPolicy(0.3), OutAndBackPolicy(0.1)]
)
def test_seed_decides_the_walk(shared_maze: MemoryMazeEnv, policy: WanderingPolicy) -> None:
    begin = _begin(shared_maze, 1)

    def walk(seed: int) -> list[int]:
        frame = _go_back(shared_maze, begin)
        policy.reset(shared_maze, seed)
        actions = []
        for _ in range(60):
            actions.append(policy.act(frame))
            frame = shared_maze.step(actions[-1])[0]
        return actions

    assert walk(1) == walk(1)
    assert walk(1) != walk(2)


def test_policies_walk_through_wrappers() -> None:
    env = gymnasium.wrappers.TimeLimit(MemoryMazeEnv(7), 5)
    frame, _ = env.reset(seed=0)
    policy = GoalSeekingPolicy()
    policy.reset(env, 0)
    assert env.action_space.contains(policy.act(frame))
    env.close()


def test_other_environments_are_refused() -> None:
    env = gymnasium.make("CartPole-v1")
    with pytest.raises(EnvironmentUsageError, match="'uniform' or 'sticky'"):
        WanderingPolicy().reset(env, 0)


def test_misuse_is_refused() -> None:
    with pytest.raises(ConfigError, match="from 0 to 1"):
        GoalSeekingPolicy(noise=2)
    with pytest.raises(EnvironmentUsageError, match="before reset"):
        GoalSeekingPolicy().act(np.zeros((64, 64, 3), np.uint8))


class _Sticky:
    """Repeats an action nine times in ten, otherwise draws another."""

    def reset(self, env: gymnasium.Env, seed: int) -> None:
        self._random, self._action = np.random.default_rng(seed), 1

    def act(self, observation: np.ndarray) -> int:
        if self._random.random() > 0.9:
            self._action = int(self._random.integers(6))
        return self._action


def _begin(env: MemoryMazeEnv, seed: int) -> dict[str, Any]:
    """A new episode, to begin which again takes no time; to build its maze takes a second."""
    env.reset(seed=seed)
    return env.get_state()


def _go_back(env: MemoryMazeEnv, begin: dict[str, Any]) -> np.ndarray:
    env.set_state(begin)
    return begin["frame"]


def _earned(
    env: MemoryMazeEnv,
    begin: dict[str, Any],
    policy: GoalSeekingPolicy | _Sticky,
    seed: int,
    steps: int,
) -> float:
    frame = _go_back(env, begin)
    policy.reset(env, seed)
    total = 0.0
    for _ in range(steps):
        frame, reward, *_ = env.step(policy.act(frame))
        total += reward
    return total


def _visited(env: MemoryMazeEnv, begin: dict[str, Any], policy: WanderingPolicy | _Sticky) -> int:
    frame = _go_back(env, begin)
    policy.reset(env, 2)
    cells = set()
    for _ in range(150):
        frame = env.step(policy.act(frame))[0]
        cells.add(tuple(env.ground_truth()["agent_pos"].astype(int)))
    return len(cells)
