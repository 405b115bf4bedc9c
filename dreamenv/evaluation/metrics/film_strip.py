"""A picture of clips: real frames above the ones dreamt under the same actions."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

WATCHED = 3
"""Context frames shown of each clip: the last ones."""
PICKS = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 24, 32)
"""Imagined steps shown."""
GAP, LABELS, HEADER = 2, 52, 18
"""Pixels, at scale 1, between frames, for the names of the rows, and above the frames."""


def film_strip(real: np.ndarray, dreamt: np.ndarray, context: int, scale: int = 2) -> np.ndarray:
    """Draw clips below each other, each as two rows: real frames above the ones dreamt.

    Left of the line, between the rows, are the last of the frames that were watched.

    Args:
        real: (n, context + horizon, H, W, 1 or 3) uint8.
        dreamt: (n, horizon, H, W, 1 or 3) uint8.
        context: frames that were watched before dreaming.
        scale: pixels of the picture per pixel of a frame.

    Returns:
        (height, width, 3) uint8.
    """
    clips, horizon, height, width = dreamt.shape[:4]
    picks = [step for step in PICKS if step <= horizon]
    watched = min(WATCHED, context)
    step_x = width + GAP
    past = watched * step_x + LABELS
    tall = 2 * height + GAP
    size = past + len(picks) * step_x, HEADER + clips * (tall + 4 * GAP)
    picture = Image.new("RGB", (size[0] * scale, size[1] * scale), "white")
    draw = ImageDraw.Draw(picture)

    def text(x: float, y: float, words: str, anchor: str) -> None:
        draw.text((x * scale, y * scale), words, "black", font_size=11 * scale, anchor=anchor)

    def paste(frame: np.ndarray, x: int, y: int) -> None:
        _paste(picture, frame, x, y, scale)

    text(watched * step_x / 2, HEADER / 2, f"last {watched} of {context} watched", "mm")
    for column, step in enumerate(picks):
        text(past + column * step_x + width / 2, HEADER / 2, f"+{step}", "mm")
    for clip in range(clips):
        top = HEADER + clip * (tall + 4 * GAP)
        for column in range(watched):
            frame = real[clip, context - watched + column]
            paste(frame, column * step_x, top + (tall - height) // 2)
        line = (watched * step_x + 5) * scale
        draw.line([line, top * scale, line, (top + tall) * scale], "gray", scale)
        text(past - 5, top + height / 2, "real", "rm")
        text(past - 5, top + height + GAP + height / 2, "dreamt", "rm")
        for column, step in enumerate(picks):
            paste(real[clip, context + step - 1], past + column * step_x, top)
            paste(dreamt[clip, step - 1], past + column * step_x, top + height + GAP)
    return np.asarray(picture)


def paid_strip(
    dreamt: np.ndarray,
    real: np.ndarray,
    dream_rewards: np.ndarray,
    real_rewards: np.ndarray,
    first: int,
    scale: int = 2,
) -> np.ndarray:
    """Draw consecutive frames of a dream above the real ones under the same actions.

    What was paid on arriving at a frame stands below it.

    Args:
        dreamt: (t, H, W, 1 or 3) uint8.
        real: (t, H, W, 1 or 3) uint8.
        dream_rewards: (t,).
        real_rewards: (t,).
        first: number of the first step.
        scale: pixels of the picture per pixel of a frame.

    Returns:
        (height, width, 3) uint8.
    """
    count, height, width = dreamt.shape[:3]
    row = height + HEADER
    size = LABELS + count * (width + GAP), HEADER + 2 * row
    picture = Image.new("RGB", (size[0] * scale, size[1] * scale), "white")
    draw = ImageDraw.Draw(picture)

    def text(x: float, y: float, words: str, colour: str, anchor: str) -> None:
        draw.text((x * scale, y * scale), words, colour, font_size=11 * scale, anchor=anchor)

    for number in range(count):
        x = LABELS + number * (width + GAP)
        text(x + width / 2, HEADER / 2, f"+{first + number}", "black", "mm")
        for line, (frames, rewards) in enumerate(((dreamt, dream_rewards), (real, real_rewards))):
            top = HEADER + line * row
            _paste(picture, frames[number], x, top, scale)
            if rewards[number]:
                words = f"paid {rewards[number]:.2g}"
                text(x + width / 2, top + height + HEADER / 2, words, "red", "mm")
    for line, name in enumerate(("dreamt", "real")):
        text(LABELS - 5, HEADER + line * row + height / 2, name, "black", "rm")
    return np.asarray(picture)


def _paste(picture: Image.Image, frame: np.ndarray, x: int, y: int, scale: int) -> None:
    """Put a frame (H, W, 1 or 3), enlarged, where `x` and `y` are at scale 1."""
    image = Image.fromarray(np.repeat(frame, 3 // frame.shape[-1], -1))
    size = image.width * scale, image.height * scale
    enlarged = image.resize(size, Image.Resampling.NEAREST)
    picture.paste(enlarged, (x * scale, y * scale))
