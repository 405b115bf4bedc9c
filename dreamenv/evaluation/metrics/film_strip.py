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
    sheet = _Sheet(*size, scale)
    sheet.text(watched * step_x / 2, HEADER / 2, f"last {watched} of {context} watched")
    for column, step in enumerate(picks):
        sheet.text(past + column * step_x + width / 2, HEADER / 2, f"+{step}")
    for clip in range(clips):
        top = HEADER + clip * (tall + 4 * GAP)
        for column in range(watched):
            frame = real[clip, context - watched + column]
            sheet.paste(frame, column * step_x, top + (tall - height) // 2)
        sheet.line(watched * step_x + 5, top, tall)
        sheet.text(past - 5, top + height / 2, "real", anchor="rm")
        sheet.text(past - 5, top + height + GAP + height / 2, "dreamt", anchor="rm")
        for column, step in enumerate(picks):
            sheet.paste(real[clip, context + step - 1], past + column * step_x, top)
            sheet.paste(dreamt[clip, step - 1], past + column * step_x, top + height + GAP)
    return np.asarray(sheet.picture)


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
    sheet = _Sheet(*size, scale)
    for number in range(count):
        x = LABELS + number * (width + GAP)
        sheet.text(x + width / 2, HEADER / 2, f"+{first + number}")
        for line, (frames, rewards) in enumerate(((dreamt, dream_rewards), (real, real_rewards))):
            top = HEADER + line * row
            sheet.paste(frames[number], x, top)
            if rewards[number]:
                words = f"paid {rewards[number]:.2g}"
                sheet.text(x + width / 2, top + height + HEADER / 2, words, "red")
    for line, name in enumerate(("dreamt", "real")):
        sheet.text(LABELS - 5, HEADER + line * row + height / 2, name, anchor="rm")
    return np.asarray(sheet.picture)


class _Sheet:
    """A white picture to draw on; all places and lengths are given at scale 1."""

    def __init__(self, width: int, height: int, scale: int) -> None:
        self.scale = scale
        self.picture = Image.new("RGB", (width * scale, height * scale), "white")
        self._draw = ImageDraw.Draw(self.picture)

    def text(
        self, x: float, y: float, words: str, colour: str = "black", anchor: str = "mm"
    ) -> None:
        """Write words about a place; `anchor` as in Pillow."""
        place, size = (x * self.scale, y * self.scale), 11 * self.scale
        self._draw.text(place, words, colour, font_size=size, anchor=anchor)

    def line(self, x: int, top: int, length: int) -> None:
        """Draw a grey line downwards."""
        ends = [x * self.scale, top * self.scale, x * self.scale, (top + length) * self.scale]
        self._draw.line(ends, "gray", self.scale)

    def paste(self, frame: np.ndarray, x: int, y: int) -> None:
        """Put a frame (H, W, 1 or 3) with its upper left corner at a place."""
        image = Image.fromarray(np.repeat(frame, 3 // frame.shape[-1], -1))
        size = image.width * self.scale, image.height * self.scale
        enlarged = image.resize(size, Image.Resampling.NEAREST)
        self.picture.paste(enlarged, (x * self.scale, y * self.scale))
