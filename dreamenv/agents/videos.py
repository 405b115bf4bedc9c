"""Animated GIFs of what an agent saw."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

SMALLEST_SIDE = 128
"""Frames are enlarged by a whole factor until their shorter side has this many pixels."""
CAPTION_HEIGHT = 14


def encode_gif(
    frames: Sequence[np.ndarray], captions: Sequence[str] | None = None, fps: float = 12.0
) -> bytes:
    """Encode frames as a looping GIF, enlarged without smoothing.

    Args:
        frames: at least one (H, W), (H, W, 1), (H, W, 3) or channel-first (3, H, W) uint8 array;
            all of one size.
        captions: one line of text under each frame.
        fps: frames per second; GIF rounds the duration to hundredths of a second.

    Raises:
        ValueError: no frames, or frames that are not images.
    """
    if not len(frames):
        raise ValueError("a video needs at least one frame")
    if captions is not None and len(captions) != len(frames):
        raise ValueError(f"{len(frames)} frames but {len(captions)} captions")
    pixels = [_to_rgb(frame) for frame in frames]
    palette = _common_palette(pixels)
    images = [
        _draw(frame, captions[index] if captions is not None else None).quantize(
            # Dithering would make flat walls flicker from frame to frame.
            palette=palette,
            dither=Image.Dither.NONE,
        )
        for index, frame in enumerate(pixels)
    ]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / fps),
        loop=0,
    )
    return buffer.getvalue()


def _common_palette(frames: Sequence[np.ndarray]) -> Image.Image:
    """256 colours for all (H, W, 3) frames and white text; the file is half as large as with a
    palette for each frame."""
    rows = np.concatenate([np.full_like(frames[0][:1], 255), *frames])
    return Image.fromarray(rows).quantize(256, dither=Image.Dither.NONE)


def _draw(pixels: np.ndarray, caption: str | None) -> Image.Image:
    """One (H, W, 3) frame, enlarged, above its caption."""
    height, width = pixels.shape[:2]
    factor = max(1, -(-SMALLEST_SIDE // min(height, width)))
    size = (width * factor, height * factor)
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)
    if caption is None:
        return picture
    canvas = Image.new("RGB", (size[0], size[1] + CAPTION_HEIGHT))
    canvas.paste(picture)
    ImageDraw.Draw(canvas).text((3, size[1] + 1), caption, fill="white", font_size=10)
    return canvas


def _to_rgb(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, whichever of the accepted layouts the frame has."""
    if frame.ndim == 2:
        frame = frame[..., None]
    if frame.ndim == 3 and frame.shape[0] in (1, 3) and frame.shape[-1] not in (1, 3):
        frame = frame.transpose(1, 2, 0)
    if frame.ndim != 3 or frame.shape[-1] not in (1, 3) or frame.dtype != np.uint8:
        raise ValueError(f"not an image of bytes: shape {frame.shape}, type {frame.dtype}")
    return np.repeat(frame, 3, axis=-1) if frame.shape[-1] == 1 else np.ascontiguousarray(frame)
