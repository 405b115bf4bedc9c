"""Frames as rollouts keep them, uint8 (H, W, C), out of whatever an environment shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space, Tuple
from numpy.typing import NDArray

from dreamenv.core.errors import RolloutError
from dreamenv.core.frames import fit_frames
from dreamenv.rollouts.spaces import MOST_CODE, NO_PICTURE, SMALLEST_FRAME, require_image_space

CHANNELS = (1, 3)
PICTURE = "picture"
"""Name of what a store's metadata tell of the picture that its frames were taken from."""
ROUNDING = 1e-3
"""Floats may lie beyond their bounds by this share of the range."""


@dataclass(frozen=True)
class Picture:
    """How the frame is read from an observation: which entry, channel order, range of values."""

    key: str
    """Path of the entry, such as `camera/front`; "" for the observation itself."""
    shown: Box
    """The space of the entry."""
    layout: str
    """`last`, `first` or `none`: where the channels are."""

    @staticmethod
    def of(space: Space, key: str = "") -> Picture:
        """The picture in observations of a space.

        Args:
            space: of one observation.
            key: of the entry to take from a `Dict` (or number, from a `Tuple`); it may be left out
                where one entry alone is a picture.

        Raises:
            RolloutError: there is no such entry, or it is no picture, or several could be meant.
        """
        if isinstance(space, Dict | Tuple):
            entries = dict(_entries(space))
            if not key:
                key = _only_picture(space, entries)
            if key not in entries:
                raise RolloutError(
                    f"there is no image {key!r} among the observations: there are "
                    f"{', '.join(map(repr, entries))}; choose one as --image-key"
                )
            return _read(entries[key], key)
        if key:
            raise RolloutError(
                f"there is no image {key!r} to choose from observations {space}: leave out "
                "--image-key, or make the environment with observations of several parts"
            )
        return _read(space, "")

    @property
    def space(self) -> Box:
        """That of the frames: uint8 (H, W, C)."""
        if self.is_plain:
            return self.shown
        shape = self.shown.shape
        if self.layout == "first":
            shape = (*shape[1:], shape[0])
        elif self.layout == "none":
            shape = (*shape, 1)
        return Box(0, 255, shape, np.uint8)

    @property
    def is_plain(self) -> bool:
        """Whether observations are frames as they come."""
        return not self.key and self.layout == "last" and self.shown.dtype == np.uint8

    @property
    def told(self) -> dict[str, str]:
        """What a rollout store notes of it, as plain data."""
        low, high = self._range
        values = f"{self.shown.dtype} from {low:g} to {high:g}"
        return {"key": self.key, "shown": f"{self.shown.shape} {values}"}

    @cached_property
    def _range(self) -> tuple[float, float]:
        return float(self.shown.low.min()), float(self.shown.high.max())

    def __call__(self, observation: Any) -> NDArray[np.uint8]:
        """The frame (…, H, W, C) uint8 of an observation, or of a batch of them.

        Raises:
            RolloutError: a float lies outside the bounds that the space names, or is none.
        """
        for name in self.key.split("/") if self.key else ():
            observation = observation[int(name) if isinstance(observation, tuple | list) else name]
        frames = np.asarray(observation)
        if self.layout == "first":
            frames = np.moveaxis(frames, -3, -1)
        elif self.layout == "none":
            frames = frames[..., None]
        return frames if self.shown.dtype == np.uint8 else self._scaled(frames)

    def _scaled(self, frames: NDArray) -> NDArray[np.uint8]:
        low, high = self._range
        unit = (frames.astype(np.float64) - low) / (high - low)
        if not ((unit >= -ROUNDING) & (unit <= 1 + ROUNDING)).all():
            raise RolloutError(
                f"a picture has values {frames.min()} to {frames.max()}, outside the "
                f"{low:g} to {high:g} that the observation space names; mend the space, or the "
                "values with a gymnasium.wrappers.TransformObservation wrapper"
            )
        return np.rint(unit.clip(0, 1) * 255).astype(np.uint8)


class FrameObservation(gymnasium.ObservationWrapper):
    """An environment, observed as rollouts of it are recorded: by uint8 frames (H, W, C).

    Takes an entry of a `Dict`, moves channels last, gives grey pictures a channel, scales floats
    to bytes by the bounds of their space, and resizes if asked to.

    Args:
        env: any environment that shows pictures.
        key: of the entry to take, as `Picture.of` takes it.
        size: height and width, by default those that come.

    Attributes:
        picture: what is read.

    Raises:
        RolloutError: there is no picture, or none of that key.
    """

    def __init__(
        self, env: gymnasium.Env, key: str = "", size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(env)
        self.picture = Picture.of(env.observation_space, key)
        self.size = None if size is None else (int(size[0]), int(size[1]))
        space = self.picture.space
        if self.size is not None and self.size != space.shape[:2]:
            space = Box(0, 255, (*self.size, space.shape[2]), np.uint8)
        self.observation_space = space

    def observation(self, observation: Any) -> NDArray[np.uint8]:
        """The frame of an observation."""
        frame = self.picture(observation)
        return frame if self.size is None else fit_frames(frame, self.size)


def as_recorded(env: gymnasium.Env, key: str = "") -> gymnasium.Env:
    """The environment itself where it shows frames as they are recorded, else a wrapper around it.

    Raises:
        RolloutError: as of `FrameObservation`.
    """
    return env if Picture.of(env.observation_space, key).is_plain else FrameObservation(env, key)


def _entries(space: Space, path: str = "") -> Any:
    """Path and space of every leaf of nested observations."""
    if not isinstance(space, Dict | Tuple):
        yield path, space
        return
    parts = space.spaces.items() if isinstance(space, Dict) else enumerate(space.spaces)
    for name, part in parts:
        yield from _entries(part, f"{path}/{name}".lstrip("/"))


def _only_picture(space: Space, entries: dict[str, Space]) -> str:
    found = []
    for key, entry in entries.items():
        try:
            _read(entry, key)
        except RolloutError:
            continue
        found.append(key)
    if len(found) == 1:
        return found[0]
    if found:
        raise RolloutError(
            f"several parts of the observations are pictures ({', '.join(map(repr, found))}): "
            "choose one as --image-key (in Python: dreamenv.FrameObservation(env, key))"
        )
    raise RolloutError(
        f"rollouts need an image observation, and no part of {space} is one; render frames with a "
        "gymnasium.wrappers.AddRenderObservation wrapper"
    )


def _read(space: Space, key: str) -> Picture:
    where = f"the observation {key!r}" if key else "the observation"
    if not isinstance(space, Box) or len(space.shape) < 2 or space.dtype.kind not in "iuf":
        raise RolloutError(
            f"rollouts need an image observation, and {where} is {space}; render frames with a "
            "gymnasium.wrappers.AddRenderObservation wrapper"
        )
    layout = _layout(space.shape)
    if layout is None:
        raise RolloutError(
            f"rollouts need frames of 1 or 3 channels and {SMALLEST_FRAME} pixels at least, and "
            f"{where} has the shape {space.shape}: of several frames stacked show one (the world "
            "model remembers the others, and the stacking wrapper can stand around the dream); "
            "cut off what is no colour with a gymnasium.wrappers.TransformObservation wrapper"
        )
    low, high = float(space.low.min()), float(space.high.max())
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise RolloutError(
            f"{where} is {space.dtype} without bounds, so nobody knows what is black and what is "
            "white; name them with gymnasium.wrappers.TransformObservation(env, lambda o: o, "
            f"gymnasium.spaces.Box(0.0, 1.0, {space.shape}))"
        )
    if space.dtype.kind in "iu" and high - low <= MOST_CODE:
        raise RolloutError(f"{space} {NO_PICTURE}")
    picture = Picture(key, space, layout)
    if space.dtype == np.uint8:
        require_image_space(picture.space)
    return picture


def _layout(shape: tuple[int, ...]) -> str | None:
    """Where the channels of a picture are; None if it is none."""
    if len(shape) == 2:
        return "none" if min(shape) >= SMALLEST_FRAME else None
    if len(shape) != 3:
        return None
    if shape[-1] in CHANNELS and min(shape[:2]) >= SMALLEST_FRAME:
        return "last"
    if shape[0] in CHANNELS and min(shape[1:]) >= SMALLEST_FRAME:
        return "first"
    return None
