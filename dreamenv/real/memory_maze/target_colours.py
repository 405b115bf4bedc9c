"""The colours of Memory Maze's targets, as they look in frames.

Target i of every maze has colour i of one list (`memory_maze.maze.TARGET_COLORS`); only where it
lies differs from maze to maze. Light in the maze is white and without highlights, so shading
multiplies all three channels alike and leaves their shares, the chromaticity, as they are.
A target's pixels were found within 0.01 of its chromaticity. Walls can have it too: red walls are
of exactly the first target's red. Colour alone therefore does not tell where a target is.
"""

from __future__ import annotations

import numpy as np

RGB = np.array(
    [
        [170, 38, 30],
        [99, 170, 88],
        [39, 140, 217],
        [93, 105, 199],
        [220, 193, 59],
        [220, 128, 107],
    ],
    np.float64,
)
"""Colour of target 0, 1, …; up to the brightness."""
NAMES = ("red", "green", "blue", "purple", "yellow", "salmon")
SAME_COLOUR = 0.03
"""A real frame's pixel shows a colour if its chromaticity is nearer than this."""
NEAR_COLOUR = 0.1
"""A dreamt target has a colour if its chromaticity is nearer than this; the floor's is not."""
NO_COLOUR = -1
_DARK = 1 / 255


def chromaticity(pixels: np.ndarray) -> np.ndarray:
    """Shares of red, green and blue (…, 3) in pixels (…, 3) of any range; black is grey."""
    pixels = np.maximum(np.asarray(pixels, np.float64), 0)
    total = pixels.sum(-1, keepdims=True)
    return np.where(total > _DARK, pixels / np.maximum(total, _DARK), 1 / 3)


def colour_distances(pixels: np.ndarray, targets: int) -> np.ndarray:
    """Euclidean distance (…, targets) of chromaticity from pixels (…, 3) to each target colour."""
    known = chromaticity(RGB[:targets])
    return np.linalg.norm(chromaticity(pixels)[..., None, :] - known, axis=-1)


def nearest_colour(pixels: np.ndarray, targets: int) -> np.ndarray:
    """Which of the first `targets` colours pixels (…, 3) are nearest to; integers (…)."""
    return colour_distances(pixels, targets).argmin(-1)


def name_colour(pixels: np.ndarray, targets: int) -> np.ndarray:
    """As `nearest_colour`, but `NO_COLOUR` where none is within `NEAR_COLOUR`."""
    distances = colour_distances(pixels, targets)
    return np.where(distances.min(-1) < NEAR_COLOUR, distances.argmin(-1), NO_COLOUR)


def inside_border(size: tuple[int, int]) -> np.ndarray:
    """Pixels (H, W) that show the maze; the 2 of 64 at each edge show the prompted colour."""
    height, width = size
    rows, columns = -(-height // 32), -(-width // 32)
    inside = np.zeros(size, np.bool_)
    inside[rows : height - rows, columns : width - columns] = True
    return inside
