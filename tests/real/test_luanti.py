"""Luanti-v0: lock-step, its world and task, and what is left when it ends.

Tested with the real game where Debian's packages are installed, and skipped where not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from dreamenv.core.errors import (
    ConfigError,
    EnvironmentProcessError,
    EnvironmentUsageError,
    InvalidActionError,
    MissingDependencyError,
    ResetNeededError,
)
from dreamenv.real.luanti.game import programs
from dreamenv.rollouts.policies import make_policy
from dreamenv.rollouts.recording import record_episode

FORWARD, LEFT, RIGHT = range(3)
PATIENCE = 60.0

try:
    programs()
    MISSING = ""
except MissingDependencyError as error:
    MISSING = str(error)
needs_luanti = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture(scope="module")
def env() -> Iterator[gymnasium.Env]:
    """One running game for the tests that leave it usable."""
    made = gymnasium.make("Luanti-v0")
    yield made
    made.close()


def walk(env: gymnasium.Env, seed: int, actions: list[int]) -> list[Any]:
    """Frames, rewards and places from a seed under actions."""
    frame, info = env.reset(seed=seed)
    seen: list[Any] = [frame, info["agent_pos"], info["targets_pos"]]
    for action in actions:
        frame, reward, _, _, info = env.step(action)
        seen += [frame, reward, info["agent_pos"], info["agent_dir"]]
    return seen


@needs_luanti
def test_it_is_an_environment_as_gymnasium_has_them(env: gymnasium.Env) -> None:
    check_env(env.unwrapped, skip_render_check=True)
    assert env.observation_space.shape == (64, 64, 3)
    assert env.action_space == gymnasium.spaces.Discrete(3)


@needs_luanti
def test_a_seeded_walk_repeats_in_another_game_and_after_other_worlds(env: gymnasium.Env) -> None:
    actions = np.random.default_rng(0).choice(3, 40, p=[0.6, 0.2, 0.2]).tolist()
    first = walk(env, 5, actions)
    elsewhere = walk(env, 6, actions)
    other = gymnasium.make("Luanti-v0")
    second = walk(other, 5, actions)
    other.close()
    assert all(map(np.array_equal, first, second))
    assert all(map(np.array_equal, first, walk(env, 5, actions)))
    assert not np.array_equal(first[0], elsewhere[0]), "every seed has a world of its own"
    assert len(np.unique(first[0].reshape(-1, 3), axis=0)) > 50, "a world, not one colour"


@needs_luanti
def test_the_pose_says_how_actions_move(env: gymnasium.Env) -> None:
    before, start = env.reset(seed=2)
    _, _, _, _, after = env.step(FORWARD)
    moved = after["agent_pos"] - start["agent_pos"]
    np.testing.assert_allclose(moved, 0.5 * start["agent_dir"], atol=1e-5)
    env.reset(seed=2)
    _, _, _, _, turned = env.step(LEFT)
    angle = np.arctan2(*turned["agent_dir"][::-1]) - np.arctan2(*start["agent_dir"][::-1])
    assert np.degrees(angle) % 360 == pytest.approx(20, abs=1e-3)
    for _ in range(17):
        frame, _, _, _, info = env.step(LEFT)
    np.testing.assert_array_equal(frame, before)
    back, _, _, _, _ = env.step(RIGHT)
    assert not np.array_equal(back, before)
    np.testing.assert_array_equal(info["agent_dir"], start["agent_dir"])


@needs_luanti
def test_each_marked_block_pays_once_and_then_the_other(env: gymnasium.Env) -> None:
    _, info = env.reset(seed=3)
    to_first = info["targets_pos"][0] - info["agent_pos"]
    along = to_first @ info["agent_dir"] / np.linalg.norm(to_first)
    assert info["target_index"] == 1 and along > 0.95, "it looks at the one that pays second"
    policy = make_policy("errand:0")
    policy.reset(env, 0)
    paid, frame = [], np.zeros(())
    for _ in range(200):
        aim = info["targets_pos"][info["target_index"]]
        frame, reward, terminated, _, info = env.step(policy.act(frame))
        assert reward in (0.0, 1.0) and not terminated
        if reward:
            paid.append((aim.tolist(), np.abs(info["agent_pos"] - aim).max()))
    blocks, distances = zip(*paid, strict=True)
    assert len(blocks) >= 2 and all(a != b for a, b in zip(blocks, blocks[1:], strict=False))
    assert blocks[1] == info["targets_pos"][0].tolist() and max(distances) <= 1.0 + 1e-5


@needs_luanti
def test_nothing_that_stands_is_walked_through(env: gymnasium.Env) -> None:
    env.reset(seed=4)
    for action in np.random.default_rng(1).choice(3, 60, p=[0.9, 0.05, 0.05]):
        _, _, _, _, info = env.step(action)
        x, y = np.floor(info["agent_pos"]).astype(int)
        assert info["maze_layout"][y, x] == 1


@needs_luanti
def test_its_policies_fill_an_episode_and_poses_are_recorded(env: gymnasium.Env) -> None:
    policy = make_policy("ramble:0.1")
    episode = record_episode(env, policy, 1, 1, 25, ("agent_pos", "agent_dir"))
    assert len(episode.reward) == 25 and episode.truncated[-1] and not episode.terminated.any()
    assert episode.info["agent_pos"].shape == (26, 2)
    with pytest.raises(EnvironmentUsageError, match="walks through Luanti-v0"):
        policy.reset(gymnasium.make("CartPole-v1"), 0)


@needs_luanti
def test_misuse_says_what_to_do(env: gymnasium.Env) -> None:
    env.reset(seed=0)
    with pytest.raises(InvalidActionError, match="forward, left, right"):
        env.step(3)
    fresh = gymnasium.make("Luanti-v0").unwrapped
    with pytest.raises(ResetNeededError, match="reset"):
        fresh.step(0)
    fresh.close()
    with pytest.raises(EnvironmentUsageError, match="make a new one"):
        fresh.reset()
    with pytest.raises(ConfigError, match="32 to 512"):
        gymnasium.make("Luanti-v0", size=4)


@needs_luanti
def test_a_game_that_ends_is_told_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    env = gymnasium.make("Luanti-v0", size=32)
    first, _ = env.reset(seed=1)
    # The keeper's command ends with the programs; only the game's own goes on with --go.
    (luanti,) = [process for process, line in using(tmp_path) if " --go" in line]
    os.kill(luanti, signal.SIGKILL)
    with pytest.raises(EnvironmentProcessError, match="Luanti ended"):
        env.step(FORWARD)
    assert not using(tmp_path) and not list(tmp_path.iterdir())
    again, _ = env.reset(seed=1)
    np.testing.assert_array_equal(first, again)
    env.close()
    env.close()
    assert not using(tmp_path) and not list(tmp_path.iterdir())


WALKER = """
import os, time
import gymnasium
import dreamenv
env = gymnasium.make("Luanti-v0", size=32)
env.reset(seed=1)
if os.fork() == 0:  # it holds all files of its parent open
    time.sleep(60)
    os._exit(0)
print("walking", flush=True)
while True:
    env.step(0)
"""


@needs_luanti
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_its_user_is_interrupted_or_killed(
    number: signal.Signals, tmp_path: Path
) -> None:
    user = subprocess.Popen(
        [sys.executable, "-c", WALKER],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert user.stdout is not None and user.stdout.readline() == b"walking\n"
    assert len(using(tmp_path)) == 3
    if number == signal.SIGINT:
        os.killpg(user.pid, number)  # as a terminal does
    else:
        os.kill(user.pid, number)
    user.wait(PATIENCE)
    wait_until(lambda: not using(tmp_path) and not list(tmp_path.iterdir()))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(user.pid, signal.SIGKILL)  # the fork
    user.stdout.close()


def test_what_to_install_is_said_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(MissingDependencyError, match="apt-get install minetest xvfb"):
        gymnasium.make("Luanti-v0")


def using(folder: Path) -> list[tuple[int, str]]:
    """Processes whose command names a folder, and the commands."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder) in line:
            found.append((int(path.parent.name), line))
    return found


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for something that comes soon."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
