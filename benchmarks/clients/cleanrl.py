"""CleanRL's way: one file, a `SyncVectorEnv` of thunks with wrappers, a PPO written out.

CleanRL is no library to import: these loops have the structure of its `ppo.py` and
`ppo_atari.py`, with small networks and a few updates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import (
    FlattenObservation,
    FrameStackObservation,
    GrayscaleObservation,
    RecordEpisodeStatistics,
    ResizeObservation,
)
from torch import Tensor, nn
from torch.distributions import Categorical

from benchmarks.clients.checks import Check, World, require

PACKAGES = ("gymnasium", "torch")
NUM_ENVS, STEPS, UPDATES = 2, 6, 2


class Agent(nn.Module):
    """A policy and a value on a shared network."""

    def __init__(self, network: nn.Module, width: int, actions: int) -> None:
        super().__init__()
        self.network = network
        self.actor, self.critic = nn.Linear(width, actions), nn.Linear(width, 1)

    def act(self, observations: Tensor, action: Tensor | None = None) -> tuple[Tensor, ...]:
        """Actions, their log-probabilities, entropy and values."""
        hidden = self.network(observations / 255.0)
        chances = Categorical(logits=self.actor(hidden))
        action = chances.sample() if action is None else action
        log_prob, entropy = chances.log_prob(action), chances.entropy()
        return action, log_prob, entropy, self.critic(hidden).flatten()


def ppo(envs: Any, agent: Agent) -> list[tuple[float, int]]:
    """Collect and update a few times; returns return and length of the episodes that ended."""
    optimizer = torch.optim.Adam(agent.parameters(), lr=2.5e-4, eps=1e-5)
    shape = envs.single_observation_space.shape
    observations = torch.zeros(STEPS, NUM_ENVS, *shape)
    actions, log_probs, rewards, dones, values = torch.zeros(5, STEPS, NUM_ENVS)
    episodes: list[tuple[float, int]] = []
    seen, _ = envs.reset(seed=1)
    seen, done = torch.Tensor(seen), torch.zeros(NUM_ENVS)
    for _ in range(UPDATES):
        for step in range(STEPS):
            observations[step], dones[step] = seen, done
            with torch.no_grad():
                action, log_probs[step], _, values[step] = agent.act(seen)
            actions[step] = action
            seen, reward, terminated, truncated, infos = envs.step(action.cpu().numpy())
            rewards[step] = torch.tensor(reward)
            seen, done = torch.Tensor(seen), torch.Tensor(terminated | truncated)
            episodes += ended_episodes(infos)
        update(agent, optimizer, observations, actions, log_probs, rewards, dones, values)
    envs.close()
    return episodes


def ended_episodes(infos: dict[str, Any]) -> list[tuple[float, int]]:
    """As CleanRL reads `RecordEpisodeStatistics`, in either mode of autoreset."""
    told = infos.get("final_info", infos)
    if "episode" not in told:
        return []
    ended = np.flatnonzero(told["_episode"])
    return [(float(told["episode"]["r"][i]), int(told["episode"]["l"][i])) for i in ended]


def update(
    agent: Agent,
    optimizer: torch.optim.Optimizer,
    observations: Tensor,
    actions: Tensor,
    log_probs: Tensor,
    rewards: Tensor,
    dones: Tensor,
    values: Tensor,
) -> None:
    """One epoch of clipped PPO with generalised advantages."""
    advantages, last = torch.zeros_like(rewards), torch.zeros(NUM_ENVS)
    for t in reversed(range(STEPS - 1)):
        going_on = 1.0 - dones[t + 1]
        delta = rewards[t] + 0.99 * values[t + 1] * going_on - values[t]
        last = advantages[t] = delta + 0.99 * 0.95 * going_on * last
    _, new, entropy, value = agent.act(observations.flatten(0, 1), actions.flatten())
    ratio, advantage = (new - log_probs.flatten()).exp(), advantages.flatten()
    gain = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
    value_loss = ((value - (advantages + values).flatten()) ** 2).mean()
    loss = value_loss / 2 - gain - 0.01 * entropy.mean()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
    optimizer.step()
    require(torch.isfinite(loss), "the loss is a number")


def train(
    world: World,
    wrap: Callable[[gymnasium.Env], gymnasium.Env],
    network: Callable[[tuple[int, ...]], nn.Module],
    mode: AutoresetMode,
) -> None:
    """Make environments by thunks, train, and look at the episodes told of."""

    def thunk() -> gymnasium.Env:
        env = wrap(RecordEpisodeStatistics(world.make()))
        env.action_space.seed(1)
        return env

    torch.manual_seed(1)
    envs = SyncVectorEnv([thunk for _ in range(NUM_ENVS)], autoreset_mode=mode)
    actions = int(envs.single_action_space.n)  # type: ignore[attr-defined]
    episodes = ppo(envs, Agent(network(envs.single_observation_space.shape or ()), 32, actions))
    require(episodes, "episodes ended")
    require(all(length == world.horizon for _, length in episodes), f"lengths, told {episodes}")


def dense(shape: tuple[int, ...]) -> nn.Module:
    """A network for flat observations."""
    return nn.Sequential(nn.Linear(shape[0], 32), nn.Tanh())


def convolutional(shape: tuple[int, ...]) -> nn.Module:
    """A network for a stack of grey frames, (stack, height, width)."""
    layers = nn.Sequential(nn.Conv2d(shape[0], 4, 8, 4), nn.ReLU(), nn.Flatten())
    width = layers(torch.zeros(1, *shape)).shape[1]
    return nn.Sequential(layers, nn.Linear(width, 32), nn.ReLU())


def stacked(env: gymnasium.Env) -> gymnasium.Env:
    """Grey frames, stacked by four."""
    return FrameStackObservation(GrayscaleObservation(env), 4)


def resized(env: gymnasium.Env) -> gymnasium.Env:
    """Grey frames of 84 × 84 pixels, stacked by four."""
    return FrameStackObservation(GrayscaleObservation(ResizeObservation(env, (84, 84))), 4)


def flat_loop(world: World) -> None:
    """`ppo.py`, in both modes of autoreset."""
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        train(world, FlattenObservation, dense, mode)


def atari_loop(world: World) -> None:
    """`ppo_atari.py`, without what is Atari's own."""
    train(world, stacked, convolutional, AutoresetMode.SAME_STEP)


def resized_atari_loop(world: World) -> None:
    """`ppo_atari.py` with its frames of 84 × 84 pixels."""
    train(world, resized, convolutional, AutoresetMode.NEXT_STEP)


CHECKS = (
    Check("a loop as `ppo.py`, both autoreset modes", flat_loop),
    Check("a loop as `ppo_atari.py`: grey frames, stacked", atari_loop),
    Check("the same on frames of 84 × 84", resized_atari_loop, needs=("cv2",)),
)
