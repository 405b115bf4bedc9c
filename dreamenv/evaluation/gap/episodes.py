"""Episodes of one agent in one world: what it did and was paid, from each of several spawns."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.core.errors import UnreadableFileError
from dreamenv.core.files import atomic_write_bytes, atomic_write_text
from dreamenv.core.reading import read_bytes, read_npz

MOST_BYTES = 2**33
"""Most bytes of one file of episodes, unpacked."""


@dataclass(frozen=True)
class Episodes:
    """Episodes, n of them, of at most h steps.

    After an episode's end rewards are 0 and trust is NaN.
    """

    rewards: np.ndarray
    """(n, h) float64."""
    actions: np.ndarray
    """(n, h, …) as the environment took them; after an end the last one once more."""
    lengths: np.ndarray
    """(n,) steps until the environment terminated, or h."""
    frames: np.ndarray
    """(n, f, H, W, C) uint8: the first f ≤ h frames that were arrived at, of the model's size."""
    trust: np.ndarray
    """(n, h): the dream's trust in each frame; NaN where nobody told."""

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.rewards)

    def select(self, index: np.ndarray) -> Episodes:
        """The episodes of some indices."""
        return Episodes(*(getattr(self, field.name)[index] for field in fields(Episodes)))

    @property
    def returns(self) -> np.ndarray:
        """The plain sum of each episode's rewards, (n,)."""
        return self.rewards.sum(1)


def join_episodes(parts: Sequence[Episodes]) -> Episodes:
    """Several episodes, one after the other."""
    names = [field.name for field in fields(Episodes)]
    return Episodes(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class EpisodeCache:
    """Episodes on disk, each under the name of what decides it, so that a killed report goes on.

    Args:
        folder: of the files; made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, key: dict[str, Any]) -> Episodes | None:
        """Episodes saved under `key`, plain data; None if there are none, or they are damaged."""
        try:
            names = [field.name for field in fields(Episodes)]
            return Episodes(*read_npz(self._path(key), names, MOST_BYTES).values())
        except (FileNotFoundError, UnreadableFileError):  # it is made again
            return None

    def save(self, key: dict[str, Any], episodes: Episodes) -> None:
        """Keep episodes for `load` with an equal key."""
        buffer = io.BytesIO()
        arrays = {field.name: getattr(episodes, field.name) for field in fields(Episodes)}
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        atomic_write_bytes(self._path(key), buffer.getvalue())

    def load_number(self, key: dict[str, Any]) -> float | None:
        """The number that `save_number` saved; None as for `load`."""
        try:
            return float(read_bytes(self._path(key, "txt"), 100))
        except (OSError, ValueError):
            return None

    def save_number(self, key: dict[str, Any], value: float) -> None:
        """Keep a number for `load_number` with an equal key."""
        atomic_write_text(self._path(key, "txt"), repr(value))

    def _path(self, key: dict[str, Any], suffix: str = "npz") -> Path:
        return self.folder / f"{digest(key)[:32]}.{suffix}"


def digest(value: Any) -> str:
    """SHA-256 of plain data."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
