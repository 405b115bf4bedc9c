"""The Gymnasium contract of the maze environments: ids, spaces, seeds, info and misuse."""

from __future__ import annotations

import hashlib
import multiprocessing
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from dreamenv.core.errors import (
    ConfigError,
    EnvironmentUsageError,
    InvalidActionError,
    ResetNeededError,
)
from dreamenv.real.memory_maze import EPISODE_STEPS, FAMILY
from dreamenv.real.memory_maze.env import MemoryMazeEnv
from dreamenv.real.memory_maze.policies import GoalSeekingPolicy
from dreamenv.real.memory_maze.simulator import MazeSimulator

_REPOSITORY = Path(__file__).parents[2]
_ACTIONS = (1, 1, 4, 2, 1, 5, 3, 1) * 3
_PLAY_IN_NEW_PROCESS = """
from dreamenv.real.memory_maze.env import MemoryMazeEnv
from tests.real.test_memory_maze import play
print(play(MemoryMazeEnv(9), 11))
"""


def play(env: MemoryMazeEnv, seed: int | None) -> str:
    """Digest of every frame and ground truth of one short scripted episode."""
    digest = hashlib.sha256()
    frame, _ = env.reset(seed=seed)
    for action in _ACTIONS:
        digest.update(frame.tobytes())
        for value in env.ground_truth().values():
            digest.update(value.tobytes())
        frame = env.step(action)[0]
    return digest.hexdigest()


def _assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key])


def test_gymnasium_checker_passes_without_a_warning() -> None:
    env = gymnasium.make("MemoryMaze-7x7-v0", render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize("suffix", ["", "-ExtraObs"])
@pytest.mark.parametrize(("size", "steps"), EPISODE_STEPS.items())
def test_ids_are_registered_with_their_limit(size: int, steps: int, suffix: str) -> None:
    spec = gymnasium.spec(f"MemoryMaze-{size}x{size}{suffix}-v0")
    assert spec.max_episode_steps == steps
    assert spec.kwargs == {"size": size, "extra_obs": suffix != ""}


def test_registering_twice_changes_nothing() -> None:
    before = dict(gymnasium.registry)
    FAMILY.register()
    assert gymnasium.registry == before


def test_registration_loads_no_simulator() -> None:
    code = (
        "import sys; from dreamenv.real.memory_maze import FAMILY; "
        "FAMILY.register(); print([m for m in ('mujoco', 'dm_control', 'torch') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("size", "targets"), [(7, 2), (9, 3), (11, 4), (13, 5), (15, 6)])
def test_every_size_begins_inside_its_maze(size: int, targets: int) -> None:
    env = MemoryMazeEnv(size)
    frame, info = env.reset(seed=0)
    assert env.observation_space.contains(frame)
    assert info == {}
    truth = env.ground_truth()
    layout = truth["maze_layout"]
    assert layout.shape == (size, size)
    assert truth["targets_pos"].shape == (targets, 2)
    for x, y in np.vstack([truth["targets_pos"], truth["agent_pos"]]).astype(int):
        assert layout[y, x] == 1
    np.testing.assert_array_equal(truth["target_pos"], truth["targets_pos"][truth["target_index"]])
    np.testing.assert_allclose(np.linalg.norm(truth["agent_dir"]), 1, rtol=1e-6)
    env.close()


def test_episode_is_truncated_at_the_limit_and_never_terminated() -> None:
    env = gymnasium.make("MemoryMaze-9x9-v0", max_episode_steps=5)
    env.reset(seed=0)
    ends = [env.step(1)[2:4] for _ in range(5)]
    assert ends == [(False, False)] * 4 + [(False, True)]
    env.close()


def test_same_seed_is_the_same_episode_after_others_and_in_another_process(
    shared_maze: MemoryMazeEnv,
) -> None:
    first = play(shared_maze, 11)
    assert play(shared_maze, 12) != first
    assert play(shared_maze, 11) == first
    command = [sys.executable, "-c", _PLAY_IN_NEW_PROCESS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=_REPOSITORY)
    assert done.stdout.split()[-1] == first


def test_a_fork_of_a_process_that_has_drawn_says_so_at_once(shared_maze: MemoryMazeEnv) -> None:
    """Where OpenGL would wait for ever: for the maze at hand and for new ones."""
    shared_maze.reset(seed=0)
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()

    def go_on() -> None:
        for call in (lambda: shared_maze.step(1), lambda: MemoryMazeEnv(7)):
            try:
                call()
            except EnvironmentUsageError as error:
                told.put(str(error))

    worker = context.Process(target=go_on)
    worker.start()
    worker.join(60)
    try:
        assert worker.exitcode == 0
        assert all('context="spawn"' in told.get() for _ in range(2))
    finally:
        worker.kill()


def test_resets_without_seed_follow_the_last_seed(shared_maze: MemoryMazeEnv) -> None:
    def unseeded_frames() -> list[bytes]:
        shared_maze.reset(seed=4)
        return [shared_maze.reset()[0].tobytes() for _ in range(2)]

    first, second = unseeded_frames()
    assert first != second
    assert unseeded_frames() == [first, second]


def test_seed_beyond_32_bits_is_accepted(shared_maze: MemoryMazeEnv) -> None:
    assert play(shared_maze, 2**40) == play(shared_maze, 2**40) != play(shared_maze, 2**40 + 1)


def test_touched_target_of_an_abandoned_episode_is_forgotten() -> None:
    simulator = MazeSimulator(7)
    expected = simulator.reset(5)
    for target in simulator._task._targets:
        target._activated = True
    np.testing.assert_array_equal(simulator.reset(5), expected)
    simulator.close()


def test_extra_obs_puts_the_ground_truth_into_info() -> None:
    env = gymnasium.make("MemoryMaze-7x7-ExtraObs-v0")
    _, at_reset = env.reset(seed=1)
    _assert_same(at_reset, env.unwrapped.ground_truth())
    _assert_same(env.step(1)[4], env.unwrapped.ground_truth())
    assert {key: (value.shape, str(value.dtype)) for key, value in at_reset.items()} == {
        "agent_pos": ((2,), "float32"),
        "agent_dir": ((2,), "float32"),
        "maze_layout": ((7, 7), "uint8"),
        "targets_pos": ((2, 2), "float32"),
        "target_index": ((), "int64"),
        "target_pos": ((2,), "float32"),
    }
    env.close()


def test_walking_forward_moves_along_the_heading(shared_maze: MemoryMazeEnv) -> None:
    shared_maze.reset(seed=3)
    before = shared_maze.ground_truth()
    shared_maze.step(1)
    moved = shared_maze.ground_truth()["agent_pos"] - before["agent_pos"]
    np.testing.assert_allclose(moved / np.linalg.norm(moved), before["agent_dir"], atol=1e-3)


def test_a_snapshot_is_gone_back_to_exactly(shared_maze: MemoryMazeEnv) -> None:
    def walk(noise: float, steps: int) -> tuple[str, float]:
        policy, digest, paid = GoalSeekingPolicy(noise), hashlib.sha256(), 0.0
        policy.reset(shared_maze, seed=0)
        for _ in range(steps):
            frame, reward, *_ = shared_maze.step(policy.act(state["frame"]))
            digest.update(frame.tobytes())
            paid += reward
        return digest.hexdigest(), paid

    shared_maze.reset(seed=10)
    shared_maze.step(1)
    state = shared_maze.get_state()
    first = walk(noise=0.0, steps=50)
    assert first[1] == 2  # so the next prompt is drawn, and drawn equally
    shared_maze.set_state(state)
    assert walk(noise=1.0, steps=10) != first
    shared_maze.set_state(state)
    np.testing.assert_array_equal(shared_maze.render(), state["frame"])
    assert walk(noise=0.0, steps=50) == first


def test_a_snapshot_of_an_earlier_episode_is_refused(shared_maze: MemoryMazeEnv) -> None:
    shared_maze.reset(seed=3)
    state = shared_maze.get_state()
    shared_maze.reset(seed=3)
    with pytest.raises(EnvironmentUsageError, match="of an earlier episode"):
        shared_maze.set_state(state)


def test_returned_frames_are_the_callers_own(shared_maze: MemoryMazeEnv) -> None:
    frame, _ = shared_maze.reset(seed=3)
    kept = frame.copy()
    shared_maze.step(2)
    np.testing.assert_array_equal(frame, kept)
    frame[:] = 0
    assert shared_maze.render().any()


def test_render_is_the_last_observation(shared_maze: MemoryMazeEnv) -> None:
    shared_maze.reset(seed=3)
    frame = shared_maze.step(1)[0]
    np.testing.assert_array_equal(shared_maze.render(), frame)


@pytest.mark.parametrize("call", ["step", "ground_truth", "render", "get_state"])
def test_use_before_reset_is_refused(call: str) -> None:
    env = gymnasium.make("MemoryMaze-7x7-v0", render_mode="rgb_array").unwrapped
    arguments = (1,) if call == "step" else ()
    with pytest.raises(ResetNeededError, match=r"call reset\(\) first"):
        getattr(env, call)(*arguments)
    env.close()
    with pytest.raises(EnvironmentUsageError, match="was closed"):
        env.reset()


def test_made_environment_says_what_to_do_when_stepped_first() -> None:
    env = gymnasium.make("MemoryMaze-7x7-v0")
    with pytest.raises(ResetNeededError, match=r"call reset\(\) first"):
        env.step(1)
    env.close()


def test_impossible_actions_are_refused(shared_maze: MemoryMazeEnv) -> None:
    shared_maze.reset(seed=3)
    before = shared_maze.ground_truth()["agent_pos"]
    for action in (6, -1, 1.5, np.array([1, 2]), "forward", None):
        with pytest.raises(InvalidActionError, match="integer from 0 to 5"):
            shared_maze.step(action)  # type: ignore[arg-type]
        np.testing.assert_array_equal(shared_maze.ground_truth()["agent_pos"], before)


@pytest.mark.parametrize("arguments", [{"size": 8}, {"size": 7, "render_mode": "human"}])
def test_impossible_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(ConfigError):
        MemoryMazeEnv(**arguments)
