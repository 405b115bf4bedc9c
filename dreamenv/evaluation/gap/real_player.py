"""Playing agents in the real environment: from a spawn, or through whole episodes.

One process owns one copy of the environment. At a spawn it is brought there once, by seed and
actions; every agent and every list of recorded actions then plays from there. Where the
environment has `get_state` and `set_state`, as Memory Maze does, it goes back to the spawn by
them; otherwise the seed and the actions are repeated each time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from dreamenv.agents.loading import Agent, load_agent
from dreamenv.core.action_rows import action_of
from dreamenv.core.errors import ConfigError
from dreamenv.dream.memory import WithMemory
from dreamenv.evaluation.gap.episodes import Episodes
from dreamenv.evaluation.gap.real_world import RealWorld
from dreamenv.real.replayed import SpawnedEnv
from dreamenv.world_model.preprocessing import fit_frames


@dataclass(frozen=True)
class Part:
    """One agent, or one list of actions, at a spawn."""

    seed: int = 0
    """Seed of the agent's randomness."""
    agent: str | None = None
    observation: str = "frame"
    """What the agent observes: "frame" or "memory"."""
    actions: np.ndarray | None = None
    """(h, …) to take instead."""
    frames: int = 0
    """How many of the frames arrived at to keep."""


@dataclass(frozen=True)
class Visit:
    """A spawn, and what is played from there."""

    index: int
    source: dict[str, Any]
    last_frame: np.ndarray
    """(H, W, C) uint8: what the environment must show there."""
    parts: list[Part]


@dataclass(frozen=True)
class Visited:
    """What came of a visit."""

    index: int
    difference: float
    """Mean difference of grey levels between the frame found and the spawn's."""
    episodes: list[Episodes] = field(default_factory=list)
    """One episode for each part; none at all if the difference is too large."""


@dataclass(frozen=True)
class WholeEpisode:
    """An agent and the seed of one full episode."""

    place: tuple[int, int]
    """Given back with the result."""
    agent: str
    observation: str
    seed: int
    steps: int


class RevisitedEnv(gymnasium.Wrapper):
    """A `SpawnedEnv` that goes back to the spawn it was last at without repeating the way."""

    def __init__(self, env: SpawnedEnv) -> None:
        super().__init__(env)
        self._source: dict[str, Any] | None = None
        self._there: tuple[Any, Any, dict[str, Any]] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As `SpawnedEnv`; exact, because the environment's whole state is put back."""
        source, real = (options or {}).get("source"), self.env.unwrapped
        if source is not None and source is self._source and self._there is not None:
            state, observation, info = self._there
            real.set_state(state)  # type: ignore[attr-defined]
            return observation.copy(), dict(info)
        self._source = self._there = None
        observation, info = self.env.reset(seed=seed, options=options)
        if source is not None and hasattr(real, "get_state") and hasattr(real, "set_state"):
            self._source, self._there = source, (real.get_state(), observation.copy(), dict(info))
        return observation, info


class RealPlayer:
    """One copy of the environment, and the agents loaded so far."""

    def __init__(self, world: RealWorld) -> None:
        self.world = world
        self._env = RevisitedEnv(SpawnedEnv(world.make()))
        self._with_memory: WithMemory | None = None
        self._agents: dict[str, Agent] = {}

    def visit(self, visit: Visit) -> Visited:
        """Go to a spawn and play every part from there.

        Raises:
            ConfigError: the environment ended an episode by itself, or paid no number.
        """
        # The same object at every reset, by which the environment knows that it was there.
        options = {"source": visit.source}
        frame, _ = self._env.reset(options=options)
        shown = fit_frames(np.asarray(frame), self.world.size).astype(np.float64)
        difference = float(np.abs(shown - visit.last_frame).mean())
        if difference > self.world.tolerance:
            return Visited(visit.index, difference)
        episodes = [self._play(part, options) for part in visit.parts]
        return Visited(visit.index, difference, episodes)

    def whole_episode(self, episode: WholeEpisode) -> tuple[tuple[int, int], Episodes]:
        """One episode from `reset(seed)`."""
        part = Part(episode.seed, episode.agent, episode.observation)
        return episode.place, self._play(part, None, episode.steps)

    def close(self) -> None:
        """Free the environment."""
        self._env.close()

    def _play(
        self, part: Part, options: dict[str, Any] | None, steps: int | None = None
    ) -> Episodes:
        horizon = self.world.horizon if steps is None else steps
        env = self._observed(part.observation)
        agent = None
        if part.agent is not None:
            agent = self._agent(part.agent)
            agent.reset(part.seed)
        observation, _ = env.reset(seed=part.seed if options is None else None, options=options)
        rewards = np.zeros((1, horizon))
        actions: list[Any] = []
        frames: list[Any] = []
        length = horizon
        for t in range(horizon):
            if agent is None:
                assert part.actions is not None
                action = part.actions[t]
            else:
                action = agent.act(self._batch(observation), np.array([t == 0]))[0]
            given = action_of(env.action_space, action)
            observation, reward, terminated, truncated, _ = env.step(given)
            if not np.isfinite(float(reward)):
                raise ConfigError(
                    f"{self.world.spec.id} paid {reward} in step {t}, which is no number"
                )
            rewards[0, t] = reward
            actions.append(np.asarray(action))
            if len(frames) < part.frames:
                frames.append(self._frame(observation))
            if terminated:
                length = t + 1
                break
            if truncated and t + 1 < horizon:
                raise ConfigError(
                    f"{self.world.spec.id} cut an episode off after {t + 1} steps, but {horizon} "
                    f"are to be played in both worlds; choose a horizon of at most {t + 1}"
                )
        actions += [actions[-1]] * (horizon - len(actions))
        blank = np.zeros_like(self._frame(observation))
        frames += [blank] * (part.frames - len(frames))
        return Episodes(
            rewards,
            np.stack(actions)[None],
            np.array([length]),
            np.array(frames, np.uint8).reshape(1, part.frames, *blank.shape),
            np.full((1, horizon), np.nan),
        )

    def _observed(self, observation: str) -> gymnasium.Env:
        if observation != "memory":
            return self._env
        if self._with_memory is None:
            self._with_memory = WithMemory(self._env, self.world.checkpoint)
        return self._with_memory

    def _agent(self, spec: str) -> Agent:
        if spec not in self._agents:
            self._agents[spec] = load_agent(
                spec,
                self._env.action_space,
                seed=0,
                trust=True,  # the report has asked before it plays
            )
        return self._agents[spec]

    def _batch(self, observation: Any) -> Any:
        """One observation as a batch of one, frames of the model's size."""
        if isinstance(observation, dict):
            return {name: np.asarray(value)[None] for name, value in observation.items()}
        return self._frame(observation)[None]

    def _frame(self, observation: Any) -> np.ndarray:
        frame = observation["frame"] if isinstance(observation, dict) else observation
        return np.array(fit_frames(np.asarray(frame), self.world.size))
