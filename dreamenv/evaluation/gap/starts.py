"""Where the paired episodes of a gap report begin, in both worlds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.core.errors import ConfigError
from dreamenv.dream.loading import load_for_dreaming
from dreamenv.dream.spawn_drawing import spawn_length, spawns_from_rollouts
from dreamenv.dream.spawns import Spawns
from dreamenv.evaluation.gap.episodes import digest
from dreamenv.rollouts.store import RolloutStore

LENGTH = 32
"""Frames of a spawn drawn from a store; fewer if half of its episodes have no more."""


@dataclass(frozen=True)
class GapSpawns:
    """Spawns, the stored starts of episodes, and where they are from."""

    spawns: Spawns
    about: dict[str, Any]
    """Plain data, without paths."""

    def __len__(self) -> int:
        """Number of spawns."""
        return len(self.spawns)

    @property
    def groups(self) -> np.ndarray:
        """Labels (n,), equal for spawns of one real episode, which do not vary by themselves."""
        seeds = [source["seed"] for source in self.spawns.sources]
        return np.unique(seeds, return_inverse=True)[1]

    @property
    def steps_before(self) -> np.ndarray:
        """Steps of the real environment from its reset to each spawn, (n,)."""
        return np.array([len(source["actions"]) for source in self.spawns.sources])

    def select(self, index: np.ndarray) -> GapSpawns:
        """The spawns of some indices."""
        spawns = self.spawns
        chosen = Spawns(
            spawns.frames[index], spawns.actions[index], [spawns.sources[i] for i in index]
        )
        return GapSpawns(chosen, self.about)

    def to_json(self, reached: np.ndarray, differences: np.ndarray) -> dict[str, Any]:
        """The spawns as a report describes them, in plain data.

        Args:
            reached: (n,) which of them the real environment could be brought to.
            differences: (all,) mean difference of grey levels between the frames found there and
                those of the spawns.
        """
        sources, refused = self.spawns.sources, np.setdiff1d(np.arange(len(self)), reached)
        return {
            **self.about,
            "drawn": len(self),
            "reached": len(reached),
            "exactly": int((differences[reached] == 0).sum()),
            "episodes": len(np.unique(self.groups[reached])),
            "refused": [
                {"spawn": int(i), "seed": sources[i]["seed"], "difference": float(differences[i])}
                for i in refused
            ],
            "steps_from_reset": {
                "mean": float(self.steps_before.mean()),
                "max": int(self.steps_before.max()),
            },
            "policies": sorted({str(source.get("policy")) for source in sources}),
            "ended_near_a_reward": sum(s.get("near_reward") is not None for s in sources),
        }

    def identity(self) -> str:
        """A hash that tells these spawns from others."""
        frames = hashlib.sha256(self.spawns.frames.tobytes()).hexdigest()
        return digest([frames, self.spawns.actions.tolist(), self.spawns.sources])


def choose_spawns(
    checkpoint: str | Path,
    count: int,
    rollouts: str | Path | None = None,
    latest_start: int | None = None,
    near_rewards: float = 0.0,
    seed: int = 0,
) -> GapSpawns:
    """Take spawns from a rollout store, or those of the checkpoint.

    Args:
        checkpoint: of the world model.
        count: how many, at most as many as the checkpoint has.
        rollouts: a store to draw from; None takes the checkpoint's own spawns.
        latest_start: step of the real episode at which a spawn begins at the latest; None for any.
        near_rewards: share of the spawns drawn from a store that end shortly before a reward.
        seed: of the draw.

    Raises:
        ConfigError: a number out of range; no spawn is left, or none says how to get there.
        RolloutError: the store does not fit the model, or has no such stretches.
        CheckpointError: the checkpoint is missing or damaged.
    """
    if count < 1:
        raise ConfigError(f"spawns must be at least 1, not {count}")
    loaded = load_for_dreaming(checkpoint)
    about: dict[str, Any] = {"latest_start": latest_start}
    if rollouts is not None:
        store = RolloutStore(rollouts)
        length = spawn_length(store, LENGTH)
        spawns = spawns_from_rollouts(
            loaded.folder, rollouts, count, length, seed, near_rewards, latest_start
        )
        about |= {
            "from": "rollouts",
            "near_rewards": near_rewards,
            "store": {"env_id": store.env_id, "episodes": store.num_episodes},
        }
        _require_seeds(spawns, rollouts)
        return GapSpawns(spawns, about)
    if near_rewards:
        raise ConfigError(
            "the share of spawns near rewards is drawn from rollouts: give --rollouts"
        )
    own = loaded.spawns
    if any("actions" not in source for source in own.sources):
        raise ConfigError(
            f"the spawns of {checkpoint} were stored by an earlier version and do not say how to "
            "bring the real environment there; give --rollouts, or write them anew with "
            "dreamenv.dream.spawn_drawing.save_spawns"
        )
    _require_seeds(own, checkpoint)
    begins = np.array([source["start"] for source in own.sources])
    usable = np.flatnonzero(begins <= (np.inf if latest_start is None else latest_start))
    if not len(usable):
        raise ConfigError(
            f"no spawn of {checkpoint} begins at step {latest_start} or before; the earliest "
            f"begins at {begins.min()}"
        )
    about |= {"from": "checkpoint"}
    return GapSpawns(own, about).select(usable[:count])


def _require_seeds(spawns: Spawns, place: str | Path) -> None:
    if any(source.get("seed") is None for source in spawns.sources):
        raise ConfigError(
            f"{place} has episodes of unknown reset seeds, so the real environment cannot be "
            "brought to where they begin; give --rollouts that dreamenv collect recorded"
        )
