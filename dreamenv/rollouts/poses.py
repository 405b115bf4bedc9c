"""Poses: where frames were seen from, by the infos recorded with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dreamenv.core.errors import RolloutError
from dreamenv.real.plugin import family_of
from dreamenv.rollouts.store import RolloutStore


def such_as(env_id: str) -> str:
    """ ", such as ID": a relative of this environment that tells its pose, if there is one."""
    family = family_of(env_id)
    return f" ({family.with_pose})" if family and family.with_pose else ""


def read_poses(store: RolloutStore, episode: int, keys: Sequence[str]) -> np.ndarray:
    """The pose of every frame of an episode, (T+1, dims) float32, from recorded infos.

    Raises:
        RolloutError: the store does not have them.
    """
    info = store.read_info(episode)
    missing = [key for key in keys if key not in info]
    if missing or not keys:
        raise RolloutError(
            f"{store.path} holds no info {missing[0] if missing else '(none named)'!r}, so poses "
            f"are unknown; it has {sorted(info) or 'none'}: collect from an environment that "
            f"tells them{such_as(store.env_id)} with --record-info {' '.join(keys)}"
        )
    parts = [info[key].reshape(len(info[key]), -1).astype(np.float32) for key in keys]
    return np.concatenate(parts, 1)
