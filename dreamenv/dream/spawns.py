"""Spawns: short stretches of real frames, stored beside the weights, from which dreams begin.

A spawn is the stored thing; what the model remembers at its end is a start state
(`dreamenv.dream.start_states`). `dreamenv.dream.spawn_drawing` takes spawns from rollouts.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.core.errors import CheckpointError, ConfigError, UnreadableFileError
from dreamenv.core.files import atomic_write_bytes
from dreamenv.core.reading import parse_json, read_npz
from dreamenv.rollouts.timing import no_action
from dreamenv.world_model.checkpoint import read_config
from dreamenv.world_model.config import WorldModelConfig

SPAWNS = "spawns.npz"
MOST_BYTES = 2**30
"""Of all spawns of a checkpoint, unpacked: what a damaged file may ask for."""


@dataclass(frozen=True)
class Spawns:
    """Stretches of real frames from which episodes begin.

    Attributes:
        frames: (spawns, t, H, W, C) uint8.
        actions: (spawns, t) or (spawns, t, dims): the action that led to each frame, none to the
            first (`dreamenv.rollouts.timing`).
        sources: per spawn the real episode it was cut from. `seed` and `policy`: of the episode;
            `start`: the episode's step at the spawn's first frame; `actions`: all actions of the
            real environment from its reset to the spawn's last frame, so that
            `reset(seed=seed)` and these bring it there; `near_reward`: steps to the next reward
            of the recorded episode if the spawn was drawn for that, else None. Spawns stored by
            earlier versions lack the last two.
    """

    frames: np.ndarray
    actions: np.ndarray
    sources: list[dict[str, Any]]

    def __len__(self) -> int:
        """Number of spawns."""
        return len(self.frames)


def write_spawns(folder: str | Path, spawns: Spawns) -> None:
    """Write spawns into a checkpoint folder, in the place of those that are there.

    Raises:
        ConfigError: they are larger than a checkpoint may hold; what was stored stays.
    """
    if spawns.frames.nbytes > MOST_BYTES // 2:
        raise ConfigError(
            f"{len(spawns)} spawns of {spawns.frames.shape[1]} frames take "
            f"{spawns.frames.nbytes / 2**30:.1f} GiB, more than a checkpoint may hold; draw fewer "
            "or shorter ones"
        )
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        frames=spawns.frames,
        actions=spawns.actions,
        sources=np.array(json.dumps(spawns.sources)),
    )
    atomic_write_bytes(Path(folder) / SPAWNS, buffer.getvalue())


def load_spawns(folder: str | Path) -> Spawns:
    """Read the spawns of a checkpoint folder.

    Raises:
        CheckpointError: they are missing, damaged, or do not fit the model beside them.
    """
    path = Path(folder) / SPAWNS
    try:
        stored = read_npz(path, ("frames", "actions", "sources"), MOST_BYTES)
        sources = parse_json(str(stored["sources"]))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has no {SPAWNS}, so no dream can begin there; write one with "
            "dreamenv.dream.spawn_drawing.save_spawns(folder, rollouts, count, length)"
        ) from None
    except UnreadableFileError as error:
        raise CheckpointError(f"{path} is damaged ({error}); copy the checkpoint again") from error
    spawns = Spawns(stored["frames"], stored["actions"], sources)
    if not _fit(spawns, read_config(folder)[0]):
        raise CheckpointError(
            f"{path} does not fit the world model beside it: frames {spawns.frames.shape}, "
            f"actions {spawns.actions.shape}; write it anew with "
            "dreamenv.dream.spawn_drawing.save_spawns"
        )
    return spawns


def _fit(spawns: Spawns, config: WorldModelConfig) -> bool:
    """Whether a model can observe these spawns: shapes, dtypes, and actions that it knows."""
    frames, actions, known = spawns.frames, spawns.actions, config.actions
    shape = (*config.frame_size, config.frame_channels)
    dims = () if known.discrete else (len(known.low),)
    if (
        frames.dtype != np.uint8
        or frames.ndim != 5
        or 0 in frames.shape
        or frames.shape[2:] != shape
        or actions.shape != (*frames.shape[:2], *dims)
        or actions.dtype.kind not in ("i" if known.discrete else "f")
        or not isinstance(spawns.sources, list)
        or len(spawns.sources) != len(spawns)
        or not all(isinstance(source, dict) for source in spawns.sources)
    ):
        return False
    if known.discrete:
        return bool((actions[:, 0] == no_action(actions.dtype)).all()) and bool(
            ((0 <= actions[:, 1:]) & (actions[:, 1:] < known.n)).all()
        )
    first = 0 if config.conditioning == "pose" else 1
    return bool(np.isfinite(actions[:, first:]).all())
