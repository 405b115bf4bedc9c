"""Agents to score: saved Stable-Baselines3 ones and scripted ones that learnt nothing.

An agent acts in N episodes at once. It keeps its memory of each by itself and drops it where an
episode starts, so the same object plays in a dream and in a simulator.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from gymnasium import spaces

from dreamenv.agents.agent_files import load_from_file
from dreamenv.agents.blueprint import algorithms
from dreamenv.agents.finding import (
    MOST_BYTES,
    find_agent,
    is_pickled,
    is_scripted,
    require_trust,
    scripted_families,
)
from dreamenv.agents.saved_agent import SavedAgent
from dreamenv.agents.scripted import Observation, RandomAgent
from dreamenv.agents.zips import algorithm_of
from dreamenv.core.errors import CheckpointError, ConfigError, UnreadableFileError
from dreamenv.core.reading import read_bytes

if TYPE_CHECKING:
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecEnv

STICKINESS, FORWARD_SHARE = 0.9, 0.6


class Agent(Protocol):
    """Anything that chooses actions for N episodes at a time."""

    name: str
    observation: str
    """What a dream shows it: "frame", or "memory" if it was trained with that."""

    def act(self, observation: Observation, episode_start: np.ndarray) -> np.ndarray:
        """Choose the next action of each episode.

        Args:
            observation: (N, H, W, C) uint8, or a dictionary of arrays: `frame` and, for agents
                trained with it, `memory`.
            episode_start: (N,) bool, True where the observation is the first of its episode.

        Returns:
            (N, ...) actions; (N,) int64 for a Discrete space.
        """
        ...

    def reset(self, seed: int | None = None) -> None:
        """Forget everything, the random state included: what follows is as if newly loaded.

        Args:
            seed: to be newly loaded with, from now on; None for the last one.
        """
        ...


def load_agent(
    spec: str | Path,
    action_space: spaces.Space,
    seed: int,
    *,
    observation_space: spaces.Space | None = None,
    deterministic: bool = False,
    trust: bool = False,
) -> Agent:
    """Make the agent that `spec` names.

    Args:
        spec: "random" (uniform); "sticky" or "sticky:0.8" (repeats its last action with that
            probability); "forward" or "forward:0.6" (that share of action 1, else another at
            random); a scripted agent of a family of environments, such as "wall" (forward to a
            wall, then turns) or "seek" (the same, but steers to the target asked for); or the
            path of a file that `save_agent` or `dreamenv train-agent` wrote, or of the folder of
            a run; or that of a zip saved by PPO or RecurrentPPO. Stable-Baselines3 zips hold
            pickled Python objects, and unpickling runs whatever code their author put there: see
            `trust`.
        action_space: of the environment to act in.
        seed: of the agent's own randomness; the global generators are left alone.
        observation_space: if given, it is compared with the agent's at once; otherwise the first
            observation is.
        deterministic: take the most probable action instead of sampling.
        trust: the author of a zip may run code on this machine. Nothing in a zip is unpickled
            without; scripted agents and files of `save_agent` need no trust.

    Raises:
        UntrustedAgentError: `spec` is a zip, and `trust` was not given.
        CheckpointError: no such file, not an agent, or one of another action or observation space.
        ConfigError: a share that is not a probability, or a scripted agent that does not know
            these actions.
        MissingDependencyError: Stable-Baselines3 or sb3-contrib is not installed.
    """
    if is_scripted(spec):
        return _scripted(str(spec), action_space, seed)
    path = find_agent(spec)
    # On the CPU: the network is small, and one seed then acts alike with and without a GPU.
    model = load_sb3(path, trust=trust)
    if model.action_space != action_space:
        raise CheckpointError(
            f"the agent {path} chooses actions from {model.action_space}, but the environment "
            f"takes {action_space}; choose an agent trained in an environment with these actions"
        )
    agent = SavedAgent(model, path, seed, deterministic)
    if observation_space is not None:
        agent.check(observation_space)
    return agent


def _scripted(spec: str, action_space: spaces.Space, seed: int) -> Agent:
    name, _, argument = spec.partition(":")
    if name == "sticky":
        stickiness = _probability(name, argument, STICKINESS)
        return RandomAgent(spec, action_space, seed, stickiness)
    if name == "forward":
        if not isinstance(action_space, spaces.Discrete) or action_space.n < 2:
            raise ConfigError(
                f"{name} takes action 1 most of the time, which {action_space} does not have; "
                "take random or sticky"
            )
        share = _probability(name, argument, FORWARD_SHARE)
        return RandomAgent(spec, action_space, seed, forward=share)
    if argument:
        raise ConfigError(f"{name} takes no number, so write just {name!r} and not {spec!r}")
    if name == "random":
        return RandomAgent(spec, action_space, seed)
    family = scripted_families()[name]
    made: Agent = family.load(family.agents[name])(spec, action_space, seed)
    return made


def _probability(name: str, text: str, default: float) -> float:
    try:
        value = float(text or default)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name}:{text} is not a probability; write for example {name}:0.9")
    return value


def load_sb3(
    spec: str | Path,
    *,
    trust: bool = False,
    env: VecEnv | None = None,
    device: str = "cpu",
) -> PPO | RecurrentPPO:
    """The ordinary Stable-Baselines3 agent of a saved one, of either kind of file.

    Its own `save` then writes a zip for programs that know only those.

    Args:
        spec: path of a file or of a run folder.
        trust: the author of a zip may run code on this machine; files of `save_agent` need none.
        env: to go on training in; without it the agent can act.
        device: of its network.

    Raises:
        UntrustedAgentError: it is a zip, and `trust` was not given.
        CheckpointError: no such file, not an agent, damaged, or of other spaces than `env`.
        MissingDependencyError: Stable-Baselines3 or sb3-contrib is not installed.
    """
    path = find_agent(spec)
    if not is_pickled(path):
        return load_from_file(path, device, env)
    data = _read(path)
    algorithm = algorithm_of(path, data)
    require_trust([path], trust)
    kind = algorithms()[algorithm]
    try:
        loaded: PPO | RecurrentPPO = kind.load(io.BytesIO(data), env=env, device=device)
    except Exception as error:  # unpickling raises whatever it meets
        if env is not None and isinstance(error, ValueError):
            raise CheckpointError(
                f"{path} cannot be continued in this environment: {error}"
            ) from error
        raise CheckpointError(f"the agent {path} cannot be loaded: {error!r}") from error
    return loaded


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path, MOST_BYTES)
    except UnreadableFileError as error:
        raise CheckpointError(f"{error}; copy or train the agent again") from error
