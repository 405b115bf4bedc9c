"""Our faster stepping shows, pays and knows exactly what the unmodified package does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dreamenv.real.memory_maze.env import MemoryMazeEnv
from dreamenv.real.memory_maze.policies import GoalSeekingPolicy
from dreamenv.real.memory_maze.simulator import MazeSimulator

_SEEDS = (4, 10)  # two targets are touched early
_STEPS = 60
_SHARED_TRUTH = ("agent_pos", "agent_dir", "targets_pos", "target_pos", "maze_layout")


class Recording:
    """An episode of a noisy goal-seeking policy: frames (T+1), actions, rewards, truths (T+1)."""

    def __init__(self, env: MemoryMazeEnv, seed: int, actions: list[int] | None = None) -> None:
        policy = GoalSeekingPolicy(noise=0.03)
        frame, _ = env.reset(seed=seed)
        policy.reset(env, seed)
        self.frames, self.truths = [frame], [env.ground_truth()]
        self.actions: list[int] = []
        self.rewards: list[float] = []
        for step in range(_STEPS):
            action = policy.act(frame) if actions is None else actions[step]
            frame, reward, terminated, truncated, _ = env.step(action)
            assert not terminated and not truncated
            self.frames.append(frame)
            self.truths.append(env.ground_truth())
            self.actions.append(action)
            self.rewards.append(reward)


@pytest.fixture(scope="module")
def recordings(shared_maze: MemoryMazeEnv) -> dict[int, Recording]:
    return {seed: Recording(shared_maze, seed) for seed in _SEEDS}


def test_recordings_touch_targets(recordings: dict[int, Recording]) -> None:
    assert all(sum(recording.rewards) >= 2 for recording in recordings.values())


def test_array_contacts_equal_the_contact_loop(recordings: dict[int, Recording]) -> None:
    slow = MemoryMazeEnv(9, fast_contacts=False)
    for seed, fast in recordings.items():
        replay = Recording(slow, seed, fast.actions)
        np.testing.assert_array_equal(replay.frames, fast.frames)
        assert replay.rewards == fast.rewards
        for ours, theirs in zip(fast.truths, replay.truths, strict=True):
            for key, value in ours.items():
                np.testing.assert_array_equal(value, theirs[key])
    slow.close()


@pytest.mark.parametrize("fast_contacts", [True, False])
def test_touch_that_ends_between_two_frames_is_paid(fast_contacts: bool) -> None:
    simulator = MazeSimulator(7, fast_contacts)
    simulator.reset(0)
    task, physics = simulator._task, simulator._env.physics
    target = task._targets[task._current_target_ix]
    x, y = simulator.ground_truth()["target_pos"].astype(int)
    free = np.pad(simulator.ground_truth()["maze_layout"], 1)[1 + y :, 1 + x :]
    way = np.array([1.0, 0, 0] if free[0, 1] else [0, 1.0, 0])  # out of the target's cell
    task._walker.set_pose(physics, physics.data.geom_xpos[target._geom_id] * [1, 1, 0] + 0.3 * way)
    physics.bind(task._walker._root_joints).qvel = 10 * way
    physics.forward()
    _, reward = simulator.step(0)
    assert reward == 1.0
    assert not (physics.data.ptr.contact.geom == target._geom_id).any()
    simulator.close()


def test_episode_equals_the_unmodified_package(recordings: dict[int, Recording]) -> None:
    from memory_maze import tasks

    seed = _SEEDS[0]
    recording = recordings[seed]
    package = tasks.memory_maze_9x9(seed=seed, global_observables=True)
    steps = [package.reset()] + [package.step(action) for action in recording.actions]
    package.close()
    np.testing.assert_array_equal([step.observation["image"] for step in steps], recording.frames)
    assert [step.reward for step in steps[1:]] == recording.rewards
    for step, truth in zip(steps, recording.truths, strict=True):
        _assert_same_truth(step.observation, truth)


@pytest.mark.parametrize("size", [11, 13, 15])
def test_larger_mazes_equal_the_unmodified_package(size: int) -> None:
    from memory_maze import tasks

    env = MemoryMazeEnv(size)
    package = getattr(tasks, f"memory_maze_{size}x{size}")(seed=2, global_observables=True)
    frame, _ = env.reset(seed=2)
    observation = package.reset().observation
    for action in (1, 4, 4, 1, 5):
        np.testing.assert_array_equal(frame, observation["image"])
        _assert_same_truth(observation, env.ground_truth())
        frame = env.step(action)[0]
        observation = package.step(action).observation
    env.close()
    package.close()


def _assert_same_truth(theirs: dict[str, Any], ours: dict[str, np.ndarray]) -> None:
    for key in _SHARED_TRUTH:
        np.testing.assert_array_equal(theirs[key].astype(ours[key].dtype), ours[key], key)
