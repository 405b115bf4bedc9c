"""Minecraft through MineRL: against a stand-in everywhere, and against MineRL where it is.

The latter needs DREAMENV_MINERL_PYTHON, a Python with MineRL's own side of the game; its recorded
environment, which shows one frame for ever, needs no Java. It tests conversions, nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dreamenv.cli import main
from dreamenv.core.errors import (
    ConfigError,
    EnvironmentProcessError,
    EnvironmentUsageError,
    InvalidActionError,
    MissingDependencyError,
)
from dreamenv.dream.keys import action_meanings, keys_to_action
from dreamenv.play.controls import controls
from dreamenv.real.minecraft.actions import WalkActions, nothing_pressed
from dreamenv.real.minecraft.env import PYTHON
from dreamenv.real.plugin import collecting, family_of
from dreamenv.rollouts.pictures import as_recorded
from dreamenv.rollouts.policies import make_policy
from dreamenv.rollouts.recording import record_episode
from dreamenv.rollouts.store import RolloutStore

STAND_IN = str(Path(__file__).with_name("stand_in"))
MINERL = os.environ.get(PYTHON, "")
NAVIGATE = "MineRLNavigate-v0"


@pytest.fixture(autouse=True)
def no_other_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PYTHON, raising=False)


def made(actions: str = "all", every: int = 1, **arguments: Any) -> gymnasium.Env:
    return gymnasium.make(
        NAVIGATE, path=[STAND_IN], actions=actions, every=every, arguments=arguments
    )


def test_walking_presses_the_keys_of_the_video_models_data() -> None:
    env = made("walk")
    assert env.action_space == spaces.Discrete(3, start=1)
    assert env.get_wrapper_attr("get_action_meanings")() == ["FORWARD", "LEFT", "RIGHT"]
    env.reset(seed=0)
    taken = [env.step(action)[4]["taken"] for action in (1, 2, np.int64(3))]
    assert taken == ["none [0.0, 0.0] 110", "none [0.0, -20.0] 010", "none [0.0, 20.0] 010"]
    env.close()


def test_dreams_of_walking_have_its_names_and_keys() -> None:
    space = spaces.Discrete(3, start=1)
    assert action_meanings(NAVIGATE, space) == ["FORWARD", "LEFT", "RIGHT"]
    keys = keys_to_action(NAVIGATE, space)
    assert [keys[ord(key),] for key in "wad"] == [1, 2, 3]
    labels = {each.action: each.label for each in controls(space, NAVIGATE)}
    assert labels == {1: "forward", 2: "left", 3: "right"}


def test_the_spaces_of_minerl_1_and_its_two_ends() -> None:
    env = gymnasium.make("MineRLBasaltFindCave-v0", path=[STAND_IN])
    assert len(env.action_space.spaces) == 24 and "hotbar.9" in env.action_space.spaces  # type: ignore[attr-defined]
    nothing = nothing_pressed(env.action_space.spaces, {})  # type: ignore[attr-defined]
    frame, _ = as_recorded(env).reset(seed=0)
    assert frame.shape == (360, 640, 3) and frame.max() == 7
    assert env.step(nothing)[2:4] == (False, False)
    assert env.step(nothing | {"ESC": 1})[2:4] == (True, False)
    env.reset(seed=0)
    ends = [env.step(nothing)[2:4] for _ in range(60)]
    assert ends == [(False, False)] * 59 + [(False, True)], "in the last second, and unsaid"
    env.close()


def test_walking_is_for_minecraft() -> None:
    env = gymnasium.make("CartPole-v1")
    with pytest.raises(ConfigError, match="actions=walk needs the keys"):
        WalkActions(env)
    with pytest.raises(EnvironmentUsageError, match="walks through Minecraft"):
        make_policy("wander").reset(env, 0)
    with pytest.raises(ConfigError, match="actions are 'all' or 'walk'"):
        made("run")


@pytest.mark.parametrize(("actions", "every"), [("all", 1), ("walk", 1), ("walk", 2)])
def test_the_wanderer_walks_and_turns_and_repeats(actions: str, every: int) -> None:
    env = as_recorded(made(actions, every))
    first, second = (record_episode(env, make_policy("wander:0.5"), 3, 7) for _ in range(2))
    assert np.array_equal(first.action, second.action)
    assert np.array_equal(first.observation, second.observation)
    policy = make_policy("wander:0.3")
    policy.reset(env, 0)
    chosen = [policy.act(first.observation[0]) for _ in range(200)]
    assert all(env.action_space.contains(action) for action in chosen)
    if actions == "walk":
        assert {1, 2, 3} == set(np.ravel(chosen).tolist())
        assert np.shape(chosen) == ((200,) if every == 1 else (200, every))
    else:
        assert {bool(action["forward"]) for action in chosen} == {True, False}
        assert np.abs([action["camera"] for action in chosen]).max() < 90
    env.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("./gradlew: 12: java: not found\nMinecraft process finished", "Java is missing"),
        ("Could not determine java version from '17.0.1'", "another than the JDK 8"),
        ("java.net.UnknownHostException: files.forge.net\n at x", "fetched .files.forge.net"),
        ("ERROR! MineRL could not detect an X Server, Monitor", "xvfb-run -a"),
        ("Minecraft process finished unexpectedly.", "gym.make.'MineRLNavigate-v0'..reset"),
    ],
)  # fmt: skip
def test_what_minecraft_lacks_is_said_in_one_line(text: str, said: str) -> None:
    env = made(fault="raise", at=0, text=text)
    with pytest.raises(
        MissingDependencyError, match=f"{NAVIGATE} cannot start: .*{said}"
    ) as caught:
        env.reset(seed=0)
    assert "\n" not in str(caught.value)
    env.close()


def test_where_minerl_is_not_installed_is_said() -> None:
    with pytest.raises(MissingDependencyError, match="MineRL is not installed in .*python=PATH"):
        gymnasium.make("MineRLTreechop-v0")
    with pytest.raises(ConfigError, match="game=MineRLTreechop-v0"):
        gymnasium.make("MineRL-v0")


def test_frames_that_nobody_saw_are_not_recorded() -> None:
    """MineRL ends an episode whose game is gone with a random observation."""
    env = made(fault="random frames", at=1)
    env.reset(seed=0)
    with pytest.raises(EnvironmentProcessError, match="MineRL says 'Connection timed out!'"):
        env.step(env.action_space.sample())
    env.close()


def test_a_collection_notes_which_python_and_actions_it_was_made_with(tmp_path: Path) -> None:
    assert collecting(NAVIGATE) == {"wander:0.05": 1.0}
    assert family_of("MineRLBasaltFindCave-v0") is family_of("MineRL-v0") is not None
    kwargs = {"path": [STAND_IN], "actions": "walk", "python": sys.executable}
    command = ["collect", "--env", NAVIGATE, "--frames", "6", "--seed", "0"]
    given = ["--env-kwargs", json.dumps(kwargs), "--out", str(tmp_path / "store")]
    assert main([*command, *given]) == 0
    store = RolloutStore(tmp_path / "store")
    assert store.metadata["collect"]["env_kwargs"] == kwargs
    assert store.action_space == spaces.Discrete(3, start=1) and store.image_key == "pov"
    episode = store.read(0)
    assert episode.observation.shape == (5, 16, 16, 3) and episode.truncated[-1]
    assert episode.observation[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


REGISTERS = """
import gym
from minerl.herobraine.envs import MINERL_NAVIGATE_V0
gym.register(
    id="Recorded-v0", entry_point="minerl.env._fake:_FakeSingleAgentEnv",
    kwargs={"env_spec": MINERL_NAVIGATE_V0}, max_episode_steps=5,
)
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gymnasium.Env]:
    if not MINERL:
        pytest.skip(f"{PYTHON} names no Python with MineRL")
    folder = tmp_path_factory.mktemp("modules")
    (folder / "recorded_minerl.py").write_text(REGISTERS)
    env = gymnasium.make(
        "MineRL-v0", game="recorded_minerl:Recorded-v0", python=MINERL, path=[str(folder)]
    )
    yield env
    env.close()


def test_minerls_spaces_and_values(recorded: gymnasium.Env) -> None:
    key = spaces.Discrete(2)
    assert recorded.action_space == spaces.Dict({
        **dict.fromkeys("attack back forward jump left place right sneak sprint".split(), key),
        "camera": spaces.Box(-180, 180, (2,), np.float32),
    })  # fmt: skip
    assert recorded.unwrapped.names == {"place": ["dirt", "none"]}  # type: ignore[attr-defined]
    observation, _ = recorded.reset(seed=1)
    assert recorded.observation_space.contains(observation)
    pov = observation["pov"]
    assert pov.shape == (64, 64, 3) and pov.flags["C_CONTIGUOUS"] and pov.std() > 10


def test_minerls_actions_are_taken_and_its_time_limit_truncates(recorded: gymnasium.Env) -> None:
    recorded.reset(seed=1)
    recorded.action_space.seed(0)
    ends = [recorded.step(recorded.action_space.sample())[1:4] for _ in range(5)]
    assert ends == [(0.0, False, False)] * 4 + [(0.0, False, True)]
    walking = WalkActions(recorded)
    walking.reset(seed=1)
    assert [walking.step(action)[2] for action in (1, 2, 3)] == [False] * 3
    with pytest.raises(InvalidActionError):
        walking.step(0)


def test_minerls_frames_are_recorded(recorded: gymnasium.Env) -> None:
    env = as_recorded(recorded)
    episode = record_episode(env, make_policy("wander"), 0, 0)
    assert episode.observation.shape == (6, 64, 64, 3) and episode.action.shape == (5, 11)
    assert (episode.observation == episode.observation[0]).all(), "it shows one frame for ever"
