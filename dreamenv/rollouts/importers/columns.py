"""A column of a data set's file; whatever is wrong in it is told with file, field and index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete

from dreamenv.core.action_rows import row_type
from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.actions import outside_categories
from dreamenv.rollouts.spaces import ActionSpace, require_image_space
from dreamenv.rollouts.timing import Stands, between

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Column:
    """Rows of one field of one file.

    Attributes:
        file: it is from.
        name: of the field.
        values: (rows, ...).
        first: index in the file of the first of them.
    """

    file: str
    name: str
    values: np.ndarray
    first: int = 0

    def __len__(self) -> int:
        """Number of rows; what has no rows, such as a single number, has none."""
        return len(self.values) if self.values.ndim else 0

    def refuse(self, bad: np.ndarray, what: str) -> None:
        """Raise for the first row that is bad.

        Args:
            bad: (rows,) or (rows, ...) bool.
            what: is wrong with it.

        Raises:
            RolloutError: some row is bad.
        """
        rows = bad.any(tuple(range(1, bad.ndim)))
        if rows.any():
            row = int(np.argmax(rows))
            shown = np.array2string(np.asarray(self.values[row]), threshold=8)
            raise self.error(f"{what}: {shown}", row)

    def error(self, what: str, row: int | None = None) -> RolloutError:
        """An error that names the file, the field and, if it is about a row, the index."""
        index = "" if row is None else f"[{self.first + row}]"
        return RolloutError(f"{self.file}: {self.name}{index} {what}")

    def beside(self, frames: int) -> Column:
        """The column itself, which has a row for each of so many frames.

        Raises:
            RolloutError: it has not.
        """
        if len(self) != frames:
            raise self.error(
                f"has {len(self)} rows, but there are {frames} frames; the file is cut short or "
                "of another layout"
            )
        return self

    def steps(self, frames: int, stands: Stands) -> Column:
        """The rows that belong to the steps between so many frames.

        Raises:
            RolloutError: the column has neither as many rows as there are frames nor one less.
        """
        try:
            values = between(self.values, frames, stands)
        except ValueError:
            self.beside(frames)
            raise
        return replace(self, values=values, first=self.first + stands.first(len(self), frames))

    def scalars(self) -> Column:
        """The column without dimensions of size 1 behind the first.

        Raises:
            RolloutError: a row is more than one number.
        """
        if self.values.size != len(self):
            raise self.error(f"has rows of shape {self.values.shape[1:]}, not one number each")
        return replace(self, values=self.values.reshape(len(self)))

    def rewards(self) -> np.ndarray:
        """(rows,) float32, all finite."""
        column = self.scalars()
        column._require_numbers()
        values = column.values.astype(np.float64)
        column.refuse(~np.isfinite(values) | (abs(values) > _FLOAT32_MAX), "is no finite reward")
        return values.astype(np.float32)

    def flags(self) -> np.ndarray:
        """(rows,) bool."""
        column = self.scalars()
        column._require_numbers()
        column.refuse(~np.isin(column.values, (0, 1)), "is neither true nor false")
        return column.values.astype(np.bool_)

    def one_hot(self) -> np.ndarray:
        """(rows,) int64: which of (rows, n) entries is 1."""
        if self.values.ndim != 2:
            raise self.error(f"has shape {self.values.shape}, not one one-hot vector a row")
        self._require_numbers()
        ones = self.values == 1
        self.refuse((ones.sum(1) != 1) | ((self.values == 0).sum(1) != ones.shape[1] - 1),
                    "is no one-hot vector")  # fmt: skip
        return ones.argmax(1).astype(np.int64)

    def actions(self, space: ActionSpace) -> np.ndarray:
        """The actions as rows of their space (`dreamenv.core.action_rows`).

        Raises:
            RolloutError: one is no category of the space, or has another shape, or is no number.
        """
        self._require_numbers()
        if isinstance(space, Discrete):
            column = self.scalars()
            values = column.values
            last = int(space.start) + int(space.n) - 1
            whole = values.astype(np.int64) == values
            column.refuse(~whole | (values < space.start) | (values > last), f"is not in {space}")
            return values.astype(np.int64)
        shape, dtype = row_type(space)
        if self.values.size != len(self) * int(np.prod(shape)):
            raise self.error(f"has rows of shape {self.values.shape[1:]}, the space has {shape}")
        values = self.values.reshape(len(self), *shape)
        self.refuse(~np.isfinite(values), "is no finite action")
        self.refuse(outside_categories(space, values), f"is not in {space}")
        return values.astype(dtype)

    def frames(self, space: Box | None = None) -> np.ndarray:
        """(rows, H, W, C) uint8; grey frames may lack the channel.

        Args:
            space: of the data set's frames, once it is known.
        """
        values = self.values[..., None] if self.values.ndim == 3 else self.values
        if values.dtype != np.uint8 or values.ndim != 4 or values.shape[3] not in (1, 3):
            raise self.error(
                f"is {values.dtype} of shape {self.values.shape}, but frames are uint8 "
                "(rows, H, W, 3), or grey"
            )
        if space is not None and values.shape[1:] != space.shape:
            raise self.error(f"has frames of {values.shape[1:]}, those before have {space.shape}")
        return values

    def _require_numbers(self) -> None:
        if self.values.dtype.kind not in "biuf":
            raise self.error(f"holds no numbers but {self.values.dtype}")


def frame_space(frames: np.ndarray) -> Box:
    """The observation space of frames (rows, H, W, C).

    Raises:
        RolloutError: they are too small to be pictures.
    """
    return require_image_space(Box(0, 255, frames.shape[1:], np.uint8))


def infos_of(columns: Mapping[str, Column], frames: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """The columns that can be infos, numbers with a row per frame, and the names of the others."""
    kept: dict[str, Any] = {}
    left = []
    for name, column in columns.items():
        if column.values.dtype.kind in "biuf" and len(column) == frames:
            kept[name] = column.values
        else:
            left.append(name)
    return kept, left
