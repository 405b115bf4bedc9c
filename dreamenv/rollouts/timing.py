"""The contract of time: to which frame an action, a reward and a flag belong. Written here alone.

Stored: `action[t]`, `reward[t]`, `terminated[t]` belong to the step from frame t to frame t + 1.
Model time: at frame t they are those of the step that led *to* frame t. No step led to the frame
where an episode, or a memory of it, begins: its reward is 0, it is no terminal state, and its
action is `no_action`: −1 for discrete actions, NaN in every dimension for those of a box.
Data sets: a column with a row per frame says of itself where it stands (`Stands`); `between` and
`per_frame` are the only ways across that border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamenv.rollouts.actions import to_model
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.spaces import ActionSpace


class Stands(Enum):
    """The step that row t of a data set's column belongs to, beside frame t."""

    LEADS = "leads"
    """The step that led to frame t; row 0 says nothing."""
    FOLLOWS = "follows"
    """The step that begins at frame t; beside the last frame it leads to a frame not recorded."""

    def first(self, rows: int, frames: int) -> int:
        """Number of the row that belongs to the first step, of a column of `rows` rows."""
        return int(self is Stands.LEADS and rows == frames)


def between(rows: NDArray, frames: int, stands: Stands) -> NDArray:
    """The T rows that belong to the steps between T + 1 frames, as they are stored here.

    Args:
        rows: (T + 1, ...), one beside each frame; or (T, ...), which are between them already.
        frames: T + 1.
        stands: where they stand.

    Raises:
        ValueError: there are more or fewer rows.
    """
    if len(rows) not in (frames - 1, frames):
        raise ValueError(f"{len(rows)} rows do not belong to {frames} frames")
    first = stands.first(len(rows), frames)
    return rows[first : first + frames - 1]


def per_frame(between: NDArray, stands: Stands, nothing: Any = 0) -> NDArray:
    """The inverse: T + 1 rows beside T + 1 frames, with `nothing` where no step belongs.

    Args:
        between: (T, ...), of the steps between the frames.
        stands: where the rows are to stand.
        nothing: value of the row that no step belongs to.
    """
    empty = np.full((1, *between.shape[1:]), nothing, between.dtype)
    parts = [empty, between] if stands is Stands.LEADS else [between, empty]
    return np.concatenate(parts)


def no_action(dtype: np.dtype) -> Any:
    """The value that says "no action led here" among actions as a model takes them.

    Args:
        dtype: of the actions: integers for discrete ones, floats for those of a box.
    """
    return np.nan if dtype.kind == "f" else -1


def is_first(actions: NDArray, discrete: bool) -> NDArray[np.bool_]:
    """Frames that no action led to, (...) bool, by their actions (...) or (..., dims)."""
    return actions < 0 if discrete else np.isnan(actions).any(-1)


def led_by(between: NDArray, time: int = 0) -> NDArray:
    """The action that led to each of T + 1 frames, by the T actions between them.

    Args:
        between: (..., T, ...) as a model takes them (`dreamenv.rollouts.actions.to_model`).
        time: the dimension of T.

    Returns:
        (..., T + 1, ...) of the same dtype; `no_action` at the first frame.
    """
    shape = list(between.shape)
    shape[time] = 1
    first = np.full(shape, no_action(between.dtype), between.dtype)
    return np.concatenate([first, between], time)


def beginning(actions: NDArray, time: int = 0) -> NDArray:
    """Actions in model time as a memory that begins with them takes them.

    Args:
        actions: (..., T, ...) that led to each of T frames; stays as it is.
        time: the dimension of T.

    Returns:
        A copy with `no_action` at the first frame.
    """
    actions = actions.copy()
    np.moveaxis(actions, time, 0)[0] = no_action(actions.dtype)
    return actions


@dataclass(frozen=True)
class Window:
    """Consecutive frames of one episode in model time, L of them; several are stacked in front."""

    frames: NDArray
    """(L, H, W, C) uint8."""
    action: NDArray
    """(L,) int64 counted from 0, or (L, dims) float32 for a box: the one that led to each frame."""
    reward: NDArray
    """(L,) float32 received on arriving at each frame."""
    terminated: NDArray
    """(L,) bool: the frame is a terminal state."""

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.frames)

    @property
    def is_first(self) -> NDArray[np.bool_]:
        """(L,) bool: no action led to this frame."""
        return is_first(self.action, self.action.dtype.kind != "f")

    def part(self, start: int, length: int, stride: int = 1) -> Window:
        """The window of `length` frames from `start` on, `stride` apart, where a memory begins.

        No action leads to its first frame. What was received on frames that a stride leaves out
        belongs to the frame that follows them.
        """
        index = start + stride * np.arange(length)
        between = index[:, None] - np.arange(stride)
        inside = between >= 0
        return Window(
            self.frames[start : start + stride * (length - 1) + 1 : stride],
            beginning(self.action[index]),
            (self.reward[between.clip(min=0)] * inside).sum(1, dtype=self.reward.dtype),
            self.terminated[index],
        )


def model_time(stretch: Episode, space: ActionSpace) -> Window:
    """Shift a stretch of T steps and T + 1 observations to model time.

    Args:
        stretch: as recorded.
        space: of its actions.
    """
    return Window(
        stretch.observation,
        led_by(to_model(space, stretch.action)),
        np.concatenate([np.zeros(1, np.float32), stretch.reward], dtype=np.float32),
        np.concatenate([np.zeros(1, np.bool_), stretch.terminated], dtype=np.bool_),
    )


def stack(windows: Sequence[Window]) -> Window:
    """Windows of equal length as one, (B, L, ...) arrays."""
    return Window(
        np.stack([window.frames for window in windows]),
        np.stack([window.action for window in windows]),
        np.stack([window.reward for window in windows]),
        np.stack([window.terminated for window in windows]),
    )
