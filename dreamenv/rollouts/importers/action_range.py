"""The range of a data set's actions, where nothing says from which space they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.importers.columns import Column
from dreamenv.rollouts.spaces import ActionSpace, require_action_space


class ActionRange:
    """The smallest and largest value of every dimension, found in one pass over all actions."""

    def __init__(self) -> None:
        self._low: np.ndarray | None = None
        self._high: np.ndarray | None = None
        self._dtype = np.dtype(np.bool_)

    def add(self, column: Column) -> None:
        """Take notice of some actions, (rows, ...).

        Raises:
            RolloutError: one is no number, or has another shape than those before.
        """
        values = column.values
        if values.dtype.kind not in "biuf":
            raise column.error(f"holds no numbers but {values.dtype}")
        if not len(values):
            return
        column.refuse(~np.isfinite(values), "is no finite action")
        low, high = values.min(0), values.max(0)
        if self._low is None or self._high is None:
            self._low, self._high = low, high
        elif low.shape != self._low.shape:
            raise column.error(f"has rows of shape {low.shape}, those before {self._low.shape}")
        else:
            self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        self._dtype = np.promote_types(self._dtype, values.dtype)

    def space(self) -> ActionSpace:
        """The smallest space that holds them.

        Whole numbers, one each, are Discrete, from 0 or the least of them on; several, none below
        0, are MultiDiscrete. Others are a box: from −1 to 1 if all lie there, as is the custom;
        else from the least to the greatest. A dimension in which nothing ever changes gets 1/2 on
        either side.

        Raises:
            RolloutError: there were no actions, or no model can take them.
        """
        if self._low is None or self._high is None:
            raise RolloutError("there are no actions in it")
        if self._dtype.kind in "biu" and self._low.size == 1:
            start = min(0, int(self._low.item()))
            return require_action_space(Discrete(int(self._high.item()) - start + 1, start=start))
        if self._dtype.kind in "biu" and self._low.min() >= 0:
            return require_action_space(MultiDiscrete(self._high.astype(np.int64) + 1))
        dtype = self._dtype if self._dtype.kind == "f" else np.dtype(np.float32)
        low: Any = self._low.astype(dtype)
        high: Any = self._high.astype(dtype)
        if self._dtype.kind == "f" and (low >= -1).all() and (high <= 1).all():
            low, high = np.full_like(low, -1), np.full_like(high, 1)
        still = low == high
        low, high = np.where(still, low - 0.5, low), np.where(still, high + 0.5, high)
        return require_action_space(Box(low.astype(dtype), high.astype(dtype), dtype=dtype.type))
