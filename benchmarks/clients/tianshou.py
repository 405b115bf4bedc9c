"""Tianshou: its vectors of single environments, a replay buffer with infos, DQN."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from tianshou.algorithm.modelfree.dqn import DQN, DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv, SubprocVectorEnv
from tianshou.trainer import OffPolicyTrainerParams
from torch import Tensor, nn

from benchmarks.clients.checks import FRESH, Check, World, require

PACKAGES = ("tianshou",)


class Network(nn.Module):
    """Values of actions, as Tianshou calls a model."""

    def __init__(self, shape: tuple[int, ...], actions: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), actions))

    def forward(self, obs: Any, state: Any = None, info: Any = None) -> tuple[Tensor, Any]:
        """Values (batch, actions)."""
        return self.layers(torch.as_tensor(obs, dtype=torch.float32) / 255), state


def vectors(world: World, kind: Callable[..., Any]) -> None:
    """Resets and steps, infos in arrays."""
    envs = kind([world.make] * 2)
    _, infos = envs.reset(seed=0)
    for _ in range(world.horizon):
        *_, truncated, told = envs.step(np.ones(2, np.int64))
    require(truncated.all(), "episodes end")
    require(all(set(infos[0]) <= set(info) for info in told), "infos of resets and steps")
    envs.close()


def dummy(world: World) -> None:
    """In one process."""
    vectors(world, DummyVectorEnv)


def subprocesses(world: World) -> None:
    """A process for each, by the method that Tianshou chooses itself."""
    vectors(world, SubprocVectorEnv)


def fresh_processes(world: World) -> None:
    """A process for each that begins from nothing."""
    vectors(world, partial(SubprocVectorEnv, context="spawn"))


def learn(world: World) -> None:
    """A collector fills a replay buffer with infos, and DQN learns from it."""
    envs = DummyVectorEnv([world.make] * 2)
    space = envs.action_space[0]
    network = Network(envs.observation_space[0].shape, int(space.n))
    policy = DiscreteQLearningPolicy(model=network, action_space=space, eps_training=0.5)
    agent = DQN(policy=policy, optim=AdamOptimizerFactory(lr=1e-4), target_update_freq=4)
    buffer = VectorReplayBuffer(100, 2)
    collector = Collector(agent, envs, buffer)
    agent.run_training(
        OffPolicyTrainerParams(
            training_collector=collector,
            max_epochs=1,
            epoch_num_steps=6 * world.horizon,
            collection_step_num_env_steps=2 * world.horizon,
            batch_size=4,
            update_step_num_gradient_steps_per_sample=0.25,
            verbose=False,
            show_progress=False,
        )
    )
    for name in world.make().reset(seed=0)[1]:
        require(name in buffer.info, f"{name} in the replay buffer")


CHECKS = (
    Check("`DummyVectorEnv`", dummy),
    Check("`SubprocVectorEnv`", subprocesses, dreams_only=True, processes=True),
    Check('`SubprocVectorEnv(context="spawn")`', fresh_processes, FRESH, processes=True),
    Check("`Collector`, `VectorReplayBuffer`, `DQN` learns", learn),
)
