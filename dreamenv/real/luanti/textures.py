"""Pictures of the blocks of `Luanti-v0`, made from a few colours and fixed noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 16
"""Pixels along a side."""

GRAINY = {
    "grass": (96, 158, 62),
    "sand": (216, 198, 138),
    "snow": (232, 238, 244),
    "rock": (112, 112, 116),
    "leaves": (44, 104, 44),
    "hedge": (58, 128, 52),
    "cobble": (138, 132, 126),
    "trunk": (104, 78, 50),
    "rings": (150, 118, 76),
}
"""Colour (r, g, b) of blocks that differ from pixel to pixel."""
PAINTED = {
    "red": (196, 40, 36),
    "white": (244, 244, 244),
    "purple": (134, 56, 170),
    "orange": (232, 128, 32),
    "black": (36, 34, 38),
    "curtain_red": (255, 0, 0),
    "curtain_blue": (0, 0, 255),
    "white_pixel": (255, 255, 255),
}
"""Colour of what is all of one piece: pillars, and what only the lock-step looks at."""
MARKED = {"gold": (250, 208, 40), "cyan": (30, 214, 220)}
"""Colour of the two marked blocks, which have a dark frame."""


def write_textures(folder: Path) -> None:
    """Write one PNG per name."""
    random = np.random.default_rng(0)
    pictures = {name: grains(colour, random) for name, colour in GRAINY.items()}
    pictures |= {name: flat(colour) for name, colour in PAINTED.items()}
    pictures |= {name: framed(flat(colour)) for name, colour in MARKED.items()}
    pictures |= {
        "brick": joints(grains((158, 74, 58), random), 4, 8),
        "planks": joints(grains((172, 134, 84), random), 4, SIZE),
    }
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / f"dreamenv_{name}.png")


def flat(colour: tuple[int, int, int]) -> np.ndarray:
    """One colour, (16, 16, 3) uint8."""
    return np.full((SIZE, SIZE, 3), colour, np.uint8)


def grains(colour: tuple[int, int, int], random: np.random.Generator) -> np.ndarray:
    """A colour whose brightness differs from pixel to pixel."""
    brightness = random.uniform(0.8, 1.15, (SIZE, SIZE, 1))
    return np.clip(brightness * colour, 0, 255).astype(np.uint8)


def framed(picture: np.ndarray) -> np.ndarray:
    """The picture with a dark frame of two pixels."""
    inside = picture[2:-2, 2:-2].copy()
    picture = picture // 4
    picture[2:-2, 2:-2] = inside
    return picture


def joints(picture: np.ndarray, high: int, long: int) -> np.ndarray:
    """The picture cut into courses of stones, every other one shifted by half a stone."""
    picture[::high] //= 2
    for course, row in enumerate(range(0, SIZE, high)):
        picture[row : row + high, (course % 2) * (long // 2) % SIZE :: long] //= 2
    return picture
