"""Frames as files: PNG or JPEG for a page, GIF or MP4 for everybody else."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dreamenv.agents.videos import encode_gif
from dreamenv.core.errors import MissingDependencyError

LOSSLESS = 128 * 128
"""Pixels up to which a picture is sent as PNG; larger ones are JPEG, an eighth of the size."""
LEAST_SIDE = 256
"""Pixels of a film's shorter side, reached by enlarging small frames."""
GAP = 4
"""Pixels between the pictures of two worlds that are shown side by side."""


def encode(frame: NDArray[np.uint8], lossless: bool = False) -> bytes:
    """A frame (H, W, 1 or 3) as PNG, or as JPEG if it is large and need not be lossless."""
    small = lossless or frame.shape[0] * frame.shape[1] <= LOSSLESS
    buffer = io.BytesIO()
    image = Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)
    if small:
        image.save(buffer, "PNG", compress_level=1)
    else:
        image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def decode(picture: bytes) -> NDArray[np.uint8]:
    """The frame in a picture that `encode` has made, (H, W, 1 or 3)."""
    with Image.open(io.BytesIO(picture)) as image:
        frame = np.asarray(image)
    return frame[..., None] if frame.ndim == 2 else frame


def side_by_side(frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Frames of any sizes as one picture (H, W, 3), the lower ones enlarged by whole factors."""
    height = max(frame.shape[0] for frame in frames)
    parts: list[NDArray[np.uint8]] = []
    for frame in frames:
        factor = max(1, height // frame.shape[0])
        large = frame.repeat(factor, 0).repeat(factor, 1)
        if large.shape[-1] == 1:
            large = large.repeat(3, -1)
        padding = np.zeros((height - large.shape[0], *large.shape[1:]), np.uint8)
        parts += [np.concatenate([large, padding]), np.zeros((height, GAP, 3), np.uint8)]
    return np.concatenate(parts[:-1], 1)


def film(frames: Sequence[NDArray[np.uint8]], kind: str, fps: float) -> bytes:
    """Frames (H, W, 3) of one size as a film.

    Args:
        frames: at least one.
        kind: "gif" or "mp4".
        fps: frames per second.

    Raises:
        MissingDependencyError: MP4 without imageio-ffmpeg.
    """
    factor = max(1, round(LEAST_SIDE / min(frames[0].shape[:2])))
    large = [frame.repeat(factor, 0).repeat(factor, 1) for frame in frames]
    if kind == "gif":
        return encode_gif(large, fps=fps)
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingDependencyError(
            'MP4 needs imageio-ffmpeg; run: pip install "dreamenv[play]", or save a GIF'
        ) from error
    even = [frame[: len(frame) // 2 * 2, : frame.shape[1] // 2 * 2] for frame in large]
    height, width = even[0].shape[:2]
    with tempfile.TemporaryDirectory(prefix="dreamenv-") as folder:
        path = Path(folder) / "film.mp4"
        writer = imageio_ffmpeg.write_frames(
            str(path), (width, height), fps=fps, quality=8, macro_block_size=2
        )
        writer.send(None)
        for frame in even:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        return path.read_bytes()
