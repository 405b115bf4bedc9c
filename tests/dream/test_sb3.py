"""The dream as Stable-Baselines3 knows it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import VecMonitor

from dreamenv.dream import sb3
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.sb3 import DreamVecEnv, make_dream_vec_env
from dreamenv.errors import ConfigError, MissingDependencyError
from tests.dream.counting_dream import END, PlainDream, install, shown

HORIZON = 3


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """All dreams of this test count."""
    install(monkeypatch)


def test_stable_baselines3_checker(debug_checkpoint: Path) -> None:
    check_env(DreamEnv(debug_checkpoint, render_mode="rgb_array"), warn=True)


def test_ends_are_reported_as_stable_baselines3_expects(counting: None) -> None:
    env = DreamVecEnv(2, seed=10, horizon=HORIZON)
    plain = [PlainDream(10 + i, HORIZON) for i in range(2)]
    observations = env.reset()
    assert [shown(o) for o in observations] == [(0, p.spawn) for p in plain]
    assert env.reset_infos == [{"spawn": p.spawn} for p in plain]
    script = np.random.default_rng(0).integers(0, END + 1, (20, 2))
    for actions in script:
        observations, rewards, dones, infos = env.step(actions)
        assert rewards.dtype == np.float32 and dones.dtype == np.bool_
        for i in range(2):
            frame, reward, terminated, truncated = plain[i].step(actions[i])
            assert (rewards[i], dones[i]) == (reward, terminated or truncated)
            if dones[i]:
                assert shown(infos[i]["terminal_observation"]) == frame
                assert infos[i]["TimeLimit.truncated"] is truncated
                frame = plain[i].begin()
                assert env.reset_infos[i] == {"spawn": plain[i].spawn}
            else:
                assert infos[i] == {}
            assert shown(observations[i]) == frame


def test_seeds_are_given_to_slots_in_order_and_used_once(counting: None) -> None:
    env = DreamVecEnv(3)
    assert env.seed(20) == [20, 21, 22]
    first = [shown(o) for o in env.reset()]
    assert first == [(0, PlainDream(20 + i, HORIZON).spawn) for i in range(3)]
    streams = [PlainDream(20 + i, HORIZON) for i in range(3)]
    assert [shown(o) for o in env.reset()] == [stream.begin() for stream in streams]
    env.seed(20)
    assert [shown(o) for o in env.reset()] == first


def test_attributes_and_methods_are_those_of_the_shared_dream(counting: None) -> None:
    env = DreamVecEnv(3, horizon=HORIZON, render_mode="rgb_array")
    assert env.get_attr("horizon") == [HORIZON] * 3
    assert env.get_attr("horizon", indices=[1]) == [HORIZON]
    env.set_attr("horizon", 9)
    assert env.get_attr("horizon", indices=0) == [9]
    with pytest.raises(ConfigError, match="set one for all"):
        env.set_attr("horizon", 5, indices=[0])
    assert env.env_is_wrapped(VecMonitor, indices=[0, 2]) == [False, False]
    observations = env.reset()
    assert all(map(np.array_equal, env.get_images(), observations))
    assert len(env.env_method("render", indices=[0, 1])) == 2
    assert env.render(mode="rgb_array").shape[-1] == 3
    env.close()


def test_without_a_render_mode_there_are_no_images(counting: None) -> None:
    env = DreamVecEnv(2)
    env.reset()
    assert list(env.get_images()) == [None, None]


def test_ppo_learns_in_it(debug_checkpoint: Path) -> None:
    """Not how well: that losses, resets and monitors fit together."""
    env = VecMonitor(make_dream_vec_env("DreamEnv-v0", 2, seed=0, checkpoint=debug_checkpoint,
                                        horizon=4))  # fmt: skip
    agent = PPO("CnnPolicy", env, n_steps=8, batch_size=8, n_epochs=1, seed=0, device="cpu")
    agent.learn(16)
    assert agent.num_timesteps == 16
    # Horizon 4: each of the two slots finished an episode of four steps in the sixteenth step.
    assert [episode["l"] for episode in agent.ep_info_buffer or []] == [4] * 4
    env.close()


def test_without_stable_baselines3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded a second time under another name, on a machine that lacks the package."""
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.vec_env", None)
    spec = importlib.util.spec_from_file_location("second_copy", sb3.__file__)
    assert spec is not None and spec.loader is not None
    with pytest.raises(MissingDependencyError, match=r'pip install "dreamenv\[agents\]"'):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_ids_give_their_own_arguments(debug_checkpoint: Path) -> None:
    env = make_dream_vec_env("DreamEnv-v0", 2, checkpoint=debug_checkpoint, horizon=7)
    assert env.get_attr("horizon") == [7, 7]
    assert env.action_space == gymnasium.spaces.Discrete(5)
    with pytest.raises(ConfigError, match="CartPole-v1 is not a dreamt environment"):
        make_dream_vec_env("CartPole-v1", 2)
