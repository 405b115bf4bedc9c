"""The real environment's side of turns and closed loops, place by place."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dreamenv.core.environment_ids import find_spec
from dreamenv.core.errors import ConfigError
from dreamenv.dream.spawns import Spawns
from dreamenv.evaluation.gap.episodes import Episodes
from dreamenv.evaluation.gap.real_player import Part, RealPlayer, Visit
from dreamenv.evaluation.gap.real_world import RealWorld
from dreamenv.evaluation.life.turns import Turn
from dreamenv.evaluation.metrics.similarity import psnr_of


class RealPlaces:
    """One copy of the real environment, brought to the places where dreams begin.

    Args:
        env_id: of the real environment.
        checkpoint: for agents that observe the model's memory, with its `fingerprint`.
        fingerprint: of the checkpoint's weights.
        size: of the model's frames.
        horizon: steps that agents play.
        tolerance: mean difference of grey levels up to which a frame is that of the place.
        image_key: entry of the environment's observations that frames are.
        kwargs: arguments of the environment.
    """

    def __init__(
        self,
        env_id: str,
        checkpoint: str,
        fingerprint: str,
        size: tuple[int, int],
        horizon: int,
        tolerance: float = 0.0,
        image_key: str = "",
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        world = RealWorld(
            *(find_spec(env_id), kwargs or {}, checkpoint, fingerprint),
            *(size, horizon, tolerance, image_key),
        )
        self._player, self._world = RealPlayer(world), world

    def turn(self, spawns: Spawns, index: int, turns: Sequence[Turn]) -> dict[str, float]:
        """Turn away and back at one place: steps → dB of the last frame against the first.

        Raises:
            ConfigError: the environment shows another frame there.
        """
        found = {}
        for turn in turns:
            part = Part(actions=turn.actions, frames=len(turn.actions))
            frames = self._play(spawns, index, part, len(turn.actions)).frames[0]
            pair = frames[-1:], frames[turn.first][None]
            alike = psnr_of(*pair)
            found[str(turn.steps)] = float(alike[0])
        return found

    def play(
        self, spawns: Spawns, index: int, agents: Sequence[str], seed: int
    ) -> dict[str, list[list[float]]]:
        """Play from one place: agent → [step, reward] of each step that paid, counted from 0.

        Raises:
            ConfigError: the environment shows another frame there, or ends an episode by itself.
        """
        own = int(np.random.SeedSequence([seed, index]).generate_state(1)[0] >> 1)
        found = {}
        for agent in agents:
            part = Part(own, agent)
            rewards = self._play(spawns, index, part, self._world.horizon).rewards[0]
            found[agent] = [[int(t), float(rewards[t])] for t in np.flatnonzero(rewards)]
        return found

    def close(self) -> None:
        """Free the environment."""
        self._player.close()

    def _play(self, spawns: Spawns, index: int, part: Part, steps: int) -> Episodes:
        source, frame = spawns.sources[index], spawns.frames[index, -1]
        self._player.world = dataclasses.replace(self._world, horizon=steps)
        visited = self._player.visit(Visit(0, source, frame, [part]))
        if not visited.episodes:
            raise ConfigError(
                f"{self._world.spec.id} shows another frame than the rollouts at the place of seed "
                f"{source['seed']} (mean difference of grey levels {visited.difference:.2f}): they "
                "are of another environment, of another version or renderer of it, or made with "
                f"other arguments than --real-kwargs {self._world.kwargs}; for another renderer "
                "allow for it with --match-tolerance, or do without it with --no-real"
            )
        return visited.episodes[0]
