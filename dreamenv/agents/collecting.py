"""Agents as policies that collect rollouts from the real environment."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import gymnasium
import numpy as np

from dreamenv.agents.finding import find_agent, is_scripted, require_trust
from dreamenv.agents.loading import Agent, load_agent
from dreamenv.core.errors import ConfigError, EnvironmentUsageError
from dreamenv.rollouts.collect import collect as record_rollouts

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class SavedAgents:
    """Loads the agents that collect rollouts (`dreamenv.rollouts.policies.AgentLoader`)."""

    trust: bool = False
    """Load zips of Stable-Baselines3, although they hold pickled objects, which run any code."""
    memory: str = ""
    """Checkpoint of the world model whose memory agents may observe; "" for none."""

    def identify(self, agents: Sequence[str]) -> list[dict[str, str]]:
        """See `agent_identity`.

        Raises:
            UntrustedAgentError: one is a file that could run code, and is not trusted.
            CheckpointError: there is no such agent, or no such checkpoint.
        """
        require_trust(agents, self.trust)
        return [agent_identity(agent, self.memory) for agent in agents]

    def policy(self, agent: str, identity: Mapping[str, str]) -> AgentPolicy:
        """The agent as a policy."""
        return AgentPolicy(agent, self.memory, self.trust, identity)


def _loading_agents(collecting: Callable[P, T]) -> Callable[P, T]:
    """Let a function that takes `agents` load agents if it is given none."""

    @functools.wraps(collecting)
    def with_agents(*args: P.args, **kwargs: P.kwargs) -> T:
        if kwargs.get("agents") is None:
            kwargs["agents"] = SavedAgents()
        return collecting(*args, **kwargs)

    return with_agents


collect = _loading_agents(record_rollouts)
"""`dreamenv.rollouts.collect.collect`, for which "agent:PATH" is a policy too."""


class AgentPolicy:
    """Acts as an agent does: saved by Stable-Baselines3, recurrent or not, or scripted.

    It samples its actions, by the seed of every episode. Frames are resized to those that it was
    trained on.

    Args:
        agent: as for `load_agent`.
        memory: checkpoint of the world model whose memory the agent may observe; "" for none.
        trust: load the agent although its file could run code.
        identity: what `agent_identity` must say of it when it is loaded; {} for anything.

    Attributes:
        uses_memory: whether it observes that memory; known once it is prepared.
    """

    def __init__(
        self,
        agent: str,
        memory: str = "",
        trust: bool = False,
        identity: Mapping[str, str] | None = None,
    ) -> None:
        self.name = f"agent:{agent}"
        self.uses_memory = False
        self._spec, self._checkpoint, self._trust = agent, memory, trust
        self._identity = identity
        self._agent: Agent | None = None

    def prepare(self, env: gymnasium.Env) -> None:
        """Load the agent.

        Raises:
            CheckpointError: there is none, it is damaged, or it is of another environment.
            UntrustedAgentError: it is a file, and not trusted.
            ConfigError: it observes memory and none is named, or it has changed since it was
                identified.
        """
        if self._identity and agent_identity(self._spec, self._checkpoint) != self._identity:
            raise ConfigError(f"the agent {self._spec} was replaced while it collected")
        agent = load_agent(self._spec, env.action_space, seed=0, trust=self._trust)
        self.uses_memory = agent.observation == "memory"
        if self.uses_memory:
            if not self._checkpoint:
                raise ConfigError(
                    f"the agent {self._spec} observes what a world model remembers; name the "
                    "checkpoint of its dreams with --agent-memory"
                )
            from dreamenv.dream.episode_memory import EpisodeMemory

            # The same on every machine, whatever it multiplies fast.
            self._memory = EpisodeMemory(1, self._checkpoint, "cpu", "float32")
            self._memory.require_same_spaces(env.observation_space, env.action_space)
        self._agent, self._space = agent, env.action_space

    def reset(self, env: gymnasium.Env, seed: int) -> None:
        """Begin an episode; the agent is loaded if it is not yet."""
        if self._agent is None:
            self.prepare(env)
        assert self._agent is not None
        self._agent.reset(seed)
        self._last: Any = None

    def act(self, observation: np.ndarray) -> Any:
        """The agent's action for the newest frame (H, W, C)."""
        if self._agent is None:
            raise EnvironmentUsageError("act() was called before reset(env, seed)")
        begins = self._last is None
        action = self._agent.act(self._shown(observation), np.array([begins]))[0]
        self._last = action
        return action

    def _shown(self, frame: np.ndarray) -> Any:
        if not self.uses_memory:
            size = getattr(self._agent, "frame_size", None)
            if size is not None and size != frame.shape[:2]:
                from dreamenv.world_model.preprocessing import fit_frames

                frame = fit_frames(frame, size)
            return frame[None]
        if self._last is None:
            from dreamenv.dream.episode_memory import context_of_one

            self._memory.begin([0], [context_of_one(frame, self._space)])
        else:
            self._memory.watch(frame[None], np.asarray(self._last)[None])
        return self._memory.show()


def agent_identity(agent: str, memory: str = "") -> dict[str, str]:
    """What changes when an agent does: the hash of its file and of the memory it observes.

    Raises:
        CheckpointError: there is no such agent or checkpoint.
    """
    if is_scripted(agent):
        return {"scripted": agent}
    identity = {"sha256": hashlib.sha256(find_agent(agent).read_bytes()).hexdigest()}
    if memory:
        from dreamenv.dream.trust import weights_sha256
        from dreamenv.world_model.checkpoint import checkpoint_folder, read_config

        read_config(checkpoint_folder(memory))  # says clearly what is missing
        identity["memory_sha256"] = weights_sha256(checkpoint_folder(memory))
    return identity
