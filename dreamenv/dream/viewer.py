"""`Window`: shows dreams while they are dreamt, for `render_mode="human"`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamenv.core.errors import MissingDependencyError

LEAST_WIDTH = 512
"""Pixels; small frames are enlarged by a whole factor up to here."""


class Window:
    """A window of pygame, opened with the first frames.

    Args:
        title: in the window's frame.
        fps: the most frames per second; showing waits for the time to come.

    Raises:
        MissingDependencyError: pygame is not installed.
    """

    def __init__(self, title: str, fps: int) -> None:
        try:
            import pygame
        except ImportError as error:
            raise MissingDependencyError(
                "render_mode 'human' needs pygame; run: pip install \"dreamenv[play]\""
            ) from error
        self._pygame, self._title, self._fps = pygame, title, fps
        self._surface: Any = None
        self._clock = pygame.time.Clock()

    def show(self, frames: NDArray[np.uint8]) -> None:
        """Show frames (n, H, W, C) side by side, in rows."""
        picture, pygame = tile(frames), self._pygame
        zoom = max(1, LEAST_WIDTH // picture.shape[1])
        size = zoom * picture.shape[1], zoom * picture.shape[0]
        if self._surface is None:
            pygame.display.init()
            pygame.display.set_caption(self._title)
            self._surface = pygame.display.set_mode(size)
        image = pygame.surfarray.make_surface(picture.swapaxes(0, 1))
        self._surface.blit(pygame.transform.scale(image, size), (0, 0))
        pygame.event.pump()  # or the window manager takes the program for dead
        pygame.display.flip()
        self._clock.tick(self._fps)

    def close(self) -> None:
        """Close the window, if it was opened."""
        if self._surface is not None:
            self._pygame.display.quit()
            self._surface = None


def tile(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames (n, H, W, 1 or 3) as one picture (rows · H, columns · W, 3), about square."""
    count, height, width, _ = frames.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * columns, height, width, 3), np.uint8)
    sheet[:count] = frames
    grid = sheet.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, 3)
