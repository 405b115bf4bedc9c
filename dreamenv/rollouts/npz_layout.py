"""The layout of rollouts as `.npz` files, which NumPy alone reads: written and read here.

A folder with `rollouts.json` (environment and spaces) and `episode-NNNNNN.npz`, an episode of T
steps each: `observation` (T+1, H, W, C), `action`, `reward`, `terminated`, `truncated` (T, ...),
`info/KEY` (T+1, ...), `policy`, `seed` if it is known, and `provenance` as JSON if there is any.
Time is as everywhere in this package: `action[t]` leads from `observation[t]` to
`observation[t+1]`. Nothing is lost.
"""

from __future__ import annotations

import json
from typing import IO, Any

import numpy as np

from dreamenv.rollouts.episode import Episode

DESCRIPTION = "rollouts.json"
FORMAT, VERSION = "dreamenv-npz", 1
STEPS = ("action", "reward", "terminated", "truncated")
INFO = "info/"


def file_name(index: int) -> str:
    """The file of an episode."""
    return f"episode-{index:06d}.npz"


def write_episode(file: IO[bytes], episode: Episode) -> None:
    """Write one episode."""
    arrays: dict[str, Any] = {"observation": episode.observation}
    arrays |= {name: getattr(episode, name) for name in STEPS}
    arrays |= {INFO + key: values for key, values in episode.info.items()}
    arrays["policy"] = np.array(episode.policy)
    if episode.seed is not None:
        arrays["seed"] = np.array(episode.seed, np.int64)
    if episode.provenance is not None:
        arrays["provenance"] = np.array(json.dumps(episode.provenance.to_plain()))
    np.savez_compressed(file, **arrays)
