"""Stable-Baselines3: its own vectors of single environments, monitors, wrappers and checker."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from benchmarks.clients.checks import Check, World, require

PACKAGES = ("stable-baselines3",)


def checker(world: World) -> None:
    """`check_env`."""
    check_env(world.make().unwrapped, warn=True)


def vectors(world: World, kind: type, **kwargs: Any) -> None:
    """`make_vec_env` with monitors of both kinds, through ends of episodes."""
    keys = tuple(sorted(world.make().reset(seed=0)[1]))
    with tempfile.TemporaryDirectory() as folder:
        env = VecMonitor(
            make_vec_env(world.make, 2, 0, vec_env_cls=kind, vec_env_kwargs=kwargs),
            f"{folder}/log",
            info_keywords=keys,
        )
        env.reset()
        for _ in range(world.horizon):
            *_, dones, infos = env.step(np.ones(2, int))
        require(dones.all(), "episodes end")
        require([info["episode"]["l"] for info in infos] == [world.horizon] * 2, "lengths")
        require(all(info.keys() >= set(keys) for info in env.unwrapped.reset_infos), "resets")
        env.close()


def dummy(world: World) -> None:
    """In one process."""
    vectors(world, DummyVecEnv)


def subprocesses(world: World) -> None:
    """A process for each, by the method that Stable-Baselines3 chooses itself."""
    vectors(world, SubprocVecEnv)


def wrapped(world: World) -> None:
    """Under the wrappers that image agents are given."""
    env = VecTransposeImage(VecFrameStack(make_vec_env(world.make, 2, 0), 3))
    env = VecNormalize(env, norm_obs=False)
    require(env.reset().shape[:2] == (2, 9), "stacked and transposed")
    for _ in range(world.horizon + 1):
        env.step(np.zeros(2, int))
    env.close()


def agents(world: World) -> None:
    """PPO and DQN learn a few steps, on vectors of single environments."""
    small: dict[str, Any] = {"seed": 0, "device": "cpu", "batch_size": 8}
    agent: Any = PPO("CnnPolicy", make_vec_env(world.make, 2, 0), n_steps=8, n_epochs=1, **small)
    agent.learn(16)
    require(len(agent.ep_info_buffer) == 16 // world.horizon, "episodes are told of")
    own: dict[str, Any] = {"buffer_size": 50, "learning_starts": 4}
    DQN("CnnPolicy", world.make(), **own, **small).learn(2 * world.horizon + 2)


CHECKS = (
    Check("`check_env`", checker),
    Check("`make_vec_env` → `DummyVecEnv`, `Monitor`, `VecMonitor(info_keywords=…)`", dummy),
    Check("`make_vec_env` → `SubprocVecEnv`, the same", subprocesses, processes=True),
    Check("`VecFrameStack`, `VecTransposeImage`, `VecNormalize`", wrapped),
    Check("`PPO` and `DQN` with `CnnPolicy` learn on `make_vec_env`", agents),
)
