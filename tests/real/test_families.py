"""Families whose environments others make: frames, ends and rewards as a dream can have them.

Each is tested with the real environment where its package is installed, and skipped where not.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from dreamenv.cli import main
from dreamenv.core.errors import MissingDependencyError
from dreamenv.real.plugin import collecting, families, family_of
from dreamenv.rollouts.policies import make_policy
from dreamenv.rollouts.recording import record_episode
from dreamenv.rollouts.spaces import require_action_space, require_image_space
from dreamenv.rollouts.store import RolloutStore

PACKAGES = {
    "Pixels-VizdoomMyWayHome-v1": "vizdoom",
    "Pixels-MiniWorld-Hallway-v0": "miniworld",
    "Pixels-MiniGrid-Empty-8x8-v0": "minigrid",
    "Pixels-MiniGrid-DoorKey-8x8-v0": "minigrid",
    "Pixels-MiniGrid-MemoryS7-v0": "minigrid",
    "Pixels-Crafter-v1": "crafter",
    "Pixels-Pong-v5": "ale_py",
    "Pixels-Breakout-v5": "ale_py",
    "Pixels-CarRacing-v3": "Box2D",
    "Pixels-CartPole-v1": "pygame",
}
EVERY = sorted(PACKAGES)
# Looked for and not imported: MiniWorld's pyglet asks at its import whether there is a screen.
INSTALLED = {package for package in PACKAGES.values() if find_spec(package)}
EPISODES, STEPS = 4, 250


def made(env_id: str, **kwargs: Any) -> gymnasium.Env:
    """The environment; the test is skipped where its package is missing."""
    if PACKAGES[env_id] not in INSTALLED:
        pytest.skip(f"{PACKAGES[env_id]} is not installed")
    return gymnasium.make(env_id, **kwargs)


def walk(env: gymnasium.Env, seed: int, actions: list[Any]) -> list[Any]:
    """Frames and rewards from a seed under actions, as far as the episode goes."""
    frame, _ = env.reset(seed=seed)
    seen: list[Any] = [frame]
    for action in actions:
        frame, reward, terminated, truncated, _ = env.step(action)
        seen += [frame, reward]
        if terminated or truncated:
            break
    return seen


@pytest.mark.parametrize("env_id", EVERY)
def test_frames_are_pictures_of_one_size_and_a_seeded_walk_repeats(env_id: str) -> None:
    env = made(env_id, size=32)
    assert require_image_space(env.observation_space).shape == (32, 32, 3)
    space = require_action_space(env.action_space)
    space.seed(3)
    actions = [space.sample() for _ in range(40)]
    first, second = walk(env, 5, actions), walk(env, 5, actions)
    assert len(first) == len(second) and all(map(np.array_equal, first, second))
    assert first[0].shape == (32, 32, 3) and first[0].dtype == np.uint8
    assert first[0].max() > 60, "a picture, not codes"
    env.close()


@pytest.mark.parametrize("env_id", EVERY)
def test_its_policy_meets_rewards(env_id: str) -> None:
    env = made(env_id)
    best = next(iter(collecting(env_id)))
    assert best.partition(":")[0] in family_of(env_id).policies  # type: ignore[union-attr]
    policy, paid = make_policy(best), 0
    for seed in range(EPISODES):
        episode = record_episode(env, policy, seed, seed, STEPS)
        # Points of Pong are rare where both sides return the ball; there those lost count, too.
        paid += int((episode.reward != 0 if "Pong" in env_id else episode.reward > 0).sum())
        if paid:
            break
    assert paid, f"{best} met no reward in {EPISODES} episodes of {STEPS} steps"
    env.close()


@pytest.mark.parametrize("env_id", ["Pixels-Breakout-v5", "Pixels-MiniGrid-Empty-8x8-v0"])
def test_what_ends_by_itself_terminates_and_time_does_not(env_id: str) -> None:
    env = made(env_id)
    policy = make_policy("sticky:0.5" if "Breakout" in env_id else "gridwise:0")
    ended = record_episode(env, policy, 0, 0, 2000)
    assert ended.terminated[-1] and not ended.terminated[:-1].any()
    cut = record_episode(env, make_policy("uniform"), 0, 0, 5)
    assert not cut.terminated.any() and cut.truncated[-1]
    env.close()


def test_crafter_repeats_beyond_the_births_of_animals() -> None:
    """What lives in a part of the world was once in the order of Python's addresses."""
    env = made("Pixels-Crafter-v1")
    actions = np.random.default_rng(0).integers(0, 6, 150).tolist()
    first = walk(env, 1, actions)
    env.close()
    other = made("Pixels-Crafter-v1")
    keep = [object() for _ in range(1000)]  # other addresses
    second = walk(other, 1, actions)
    assert len(keep) == 1000 and all(map(np.array_equal, first, second))
    other.close()


@pytest.mark.parametrize(
    "env_id", [env.id for family in families() for env in family.ids if "Pixels-" in env.id]
)
def test_what_to_install_is_said_where_a_package_is_missing(
    env_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in set(PACKAGES.values()):
        monkeypatch.setitem(sys.modules, package, None)
    extra = family_of(env_id).extra  # type: ignore[union-attr]
    if "CarRacing" in env_id and "Box2D" in INSTALLED:
        pytest.skip("Box2D is installed, and Gymnasium may have imported it before")
    with pytest.raises(MissingDependencyError, match=extra.replace("[", r"\[")):
        gymnasium.make(env_id)


def test_car_racing_offers_a_box_and_five_actions() -> None:
    env = made("Pixels-CarRacing-v3")
    assert isinstance(env.action_space, Box) and env.action_space.shape == (3,)
    env.close()
    discrete = gymnasium.make("Pixels-CarRacing-Discrete-v3")
    assert discrete.action_space == gymnasium.spaces.Discrete(5)
    discrete.close()


def test_collect_takes_the_policies_of_the_family_where_none_is_named(tmp_path: Path) -> None:
    made("Pixels-CartPole-v1").close()
    out = tmp_path / "store"
    command = ["collect", "--env", "Pixels-CartPole-v1", "--frames", "120", "--seed", "0"]
    assert main([*command, "--out", str(out)]) == 0
    policies = RolloutStore(out).metadata["collect"]["policies"]
    assert policies == collecting("Pixels-CartPole-v1") and "balance:0.05" in policies


def test_every_policy_that_an_id_is_collected_with_exists() -> None:
    for family in families():
        for env in family.ids:
            for spec in collecting(env.id):
                make_policy(spec)
    assert collecting("SomeOther-v0") == {"sticky": 1.0}
