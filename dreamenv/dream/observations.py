"""Observations and infos of the slots of a batch, which nothing writes into later."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamenv.dream.slots import Slots

Observation = Any
"""uint8 frames, or a dictionary of `frame` and `memory`; as the observation space says."""
INFOS = ("spawn", "uncertainty", "trust")
"""Keys of info; without a calibration there is no trust."""


def observations_of(slots: Slots, kind: str) -> Observation:
    """The present observations of all slots.

    Args:
        slots: the dreams.
        kind: one of `dreamenv.dream.spaces.OBSERVATIONS`.
    """
    if kind == "frame":
        return slots.frames.copy()
    return {"frame": slots.frames.copy(), "memory": slots.memory.copy()}


def final_observations(slots: Slots, ended: NDArray[np.bool_], kind: str) -> NDArray[np.object_]:
    """The present observation of each slot that ended, None elsewhere, (slots,).

    Args:
        slots: the dreams.
        ended: (slots,): whose episode ended.
        kind: one of `dreamenv.dream.spaces.OBSERVATIONS`.
    """
    final = np.full(len(slots), None, object)
    for i in np.flatnonzero(ended):
        frame = slots.frames[i].copy()
        final[i] = frame if kind == "frame" else {"frame": frame, "memory": slots.memory[i].copy()}
    return final


def infos_of(slots: Slots, mask: NDArray[np.bool_], with_trust: bool) -> dict[str, Any]:
    """The info of the slots of `mask`; always the same keys, so that anyone can batch it.

    Args:
        slots: the dreams.
        mask: (slots,): which the info is about.
        with_trust: whether there is a calibration of trust.
    """
    info: dict[str, Any] = {}
    for name in INFOS if with_trust else INFOS[:-1]:
        info |= {name: getattr(slots, name).copy(), f"_{name}": mask.copy()}
    return info
