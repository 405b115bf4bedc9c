"""Film strips: real frames, and below them the same steps as dreamt by several samplers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from dreamenv.evaluation.life.lives import Film

GAP, LABELS, HEADER, SCALE = 2, 76, 18, 2
"""Pixels, at scale 1, between frames, for names, for the numbers of steps; and the scale."""


def life_strip(films: Mapping[str, Film]) -> np.ndarray:
    """Draw the clips of films of equal steps below each other.

    Args:
        films: name of a row → frames. The real ones are those of the first film.

    Returns:
        (height, width, 3) uint8.
    """
    first = next(iter(films.values()))
    clips, count, height, width = first.real.shape[:4]
    rows = {"real": first.real} | {name: film.dreamt for name, film in films.items()}
    row, column = height + GAP, width + GAP
    tall = len(rows) * row + 3 * GAP
    size = (LABELS + count * column) * SCALE, (HEADER + clips * tall) * SCALE
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)

    def text(x: float, y: float, words: str, anchor: str) -> None:
        draw.text((x * SCALE, y * SCALE), words, "black", font_size=11 * SCALE, anchor=anchor)

    for place, step in enumerate(first.steps):
        text(LABELS + place * column + width / 2, HEADER / 2, f"+{step}", "mm")
    for clip in range(clips):
        for line, (name, frames) in enumerate(rows.items()):
            top = HEADER + clip * tall + line * row
            text(LABELS - 5, top + height / 2, name, "rm")
            for place in range(count):
                corner = (LABELS + place * column) * SCALE, top * SCALE
                picture.paste(_enlarged(frames[clip, place]), corner)
    return np.asarray(picture)


def _enlarged(frame: np.ndarray) -> Image.Image:
    """A frame (H, W, 1 or 3) as a picture, enlarged."""
    image = Image.fromarray(np.repeat(frame, 3 // frame.shape[-1], -1))
    size = image.width * SCALE, image.height * SCALE
    return image.resize(size, Image.Resampling.NEAREST)
