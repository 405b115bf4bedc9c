"""skrl: its wrapper around single and vector environments, PPO."""

from __future__ import annotations

import tempfile
from typing import Any

import gymnasium
import torch
from skrl.agents.torch.ppo import PPO
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, Model
from skrl.trainers.torch import SequentialTrainer
from torch import Tensor, nn

from benchmarks.clients.checks import Check, World, require

PACKAGES = ("skrl",)


class Policy(CategoricalMixin, Model):
    """A linear policy."""

    def __init__(self, observations: gymnasium.Space, actions: gymnasium.Space) -> None:
        Model.__init__(self, observation_space=observations, action_space=actions, device="cpu")
        CategoricalMixin.__init__(self)
        self.layer = nn.Linear(self.num_observations, self.num_actions)

    def compute(self, inputs: dict[str, Tensor], role: str = "") -> tuple[Tensor, dict]:
        """Logits."""
        return self.layer(inputs["observations"] / 255), {}


class Value(DeterministicMixin, Model):
    """A linear value."""

    def __init__(self, observations: gymnasium.Space, actions: gymnasium.Space) -> None:
        Model.__init__(self, observation_space=observations, action_space=actions, device="cpu")
        DeterministicMixin.__init__(self)
        self.layer = nn.Linear(self.num_observations, 1)

    def compute(self, inputs: dict[str, Tensor], role: str = "") -> tuple[Tensor, dict]:
        """Values."""
        return self.layer(inputs["observations"] / 255), {}


def train(made: Any, world: World) -> None:
    """PPO on a wrapped environment, through ends of episodes."""
    env = wrap_env(made, verbose=False)
    spaces = env.observation_space, env.action_space
    with tempfile.TemporaryDirectory() as folder:
        agent = PPO(
            models={"policy": Policy(*spaces), "value": Value(*spaces)},
            memory=RandomMemory(memory_size=world.horizon, num_envs=env.num_envs, device="cpu"),
            observation_space=spaces[0],
            action_space=spaces[1],
            device="cpu",
            cfg={
                "rollouts": world.horizon,
                "learning_epochs": 1,
                "experiment": {"directory": folder, "checkpoint_interval": 0, "write_interval": 0},
            },
        )
        before = agent.policy.layer.weight.clone()
        cfg = {"timesteps": 2 * world.horizon + 1, "headless": True, "disable_progressbar": True}
        SequentialTrainer(env=env, agents=agent, cfg=cfg).train()
    require(not torch.equal(before, agent.policy.layer.weight), "it learnt")


def single(world: World) -> None:
    """One environment."""
    train(world.make(), world)


def own_vector(world: World) -> None:
    """The id's own vector environment."""
    train(world.make_vec(2), world)


def sync_vector(world: World) -> None:
    """Gymnasium's vector of single environments."""
    train(world.make_vec(2, "sync"), world)


CHECKS = (
    Check("`wrap_env(make(id))`, `PPO` learns", single),
    Check("`wrap_env(make_vec(id))`, `PPO` learns", own_vector, dreams_only=True),
    Check('`wrap_env(make_vec(id, vectorization_mode="sync"))`, `PPO` learns', sync_vector),
)
