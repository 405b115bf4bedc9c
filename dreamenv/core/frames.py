"""The one path from frames of any size to those of another, for real and imagined alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dreamenv.core.errors import ConfigError

RESIZE = "area"
"""How frames are resized: every pixel is the mean of the area that it covers."""


def fit_frames(frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize uint8 frames (…, h, w, c) to `size` = (H, W) by area averaging; equal sizes pass."""
    if frames.dtype != np.uint8 or frames.ndim < 3 or frames.shape[-1] not in (1, 3):
        raise ConfigError(
            f"frames must be uint8 (…, height, width, 1 or 3), got {frames.dtype} {frames.shape}"
        )
    if frames.shape[-3:-1] == tuple(size):
        return frames
    from PIL import Image

    flat = frames.reshape(-1, *frames.shape[-3:])
    fitted = np.empty((len(flat), *size, frames.shape[-1]), np.uint8)
    for i, frame in enumerate(flat):
        image = Image.fromarray(frame.squeeze(-1) if frame.shape[-1] == 1 else frame)
        resized = image.resize((size[1], size[0]), Image.Resampling.BOX)
        fitted[i] = np.asarray(resized).reshape(fitted.shape[1:])
    return fitted.reshape(*frames.shape[:-3], *fitted.shape[1:])
