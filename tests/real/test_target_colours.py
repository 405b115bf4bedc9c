"""Colours keep their name under shading, and nothing else in the maze has one."""

from __future__ import annotations

import numpy as np
import pytest

from dreamenv.real.memory_maze.target_colours import (
    NAMES,
    NO_COLOUR,
    RGB,
    chromaticity,
    inside_border,
    name_colour,
    nearest_colour,
)

EVERY_TARGET = np.arange(len(RGB))


@pytest.mark.parametrize("light", [0.2, 0.6, 1.0])
def test_targets_are_named_in_any_light(light: float) -> None:
    np.testing.assert_array_equal(name_colour(RGB * light, len(RGB)), EVERY_TARGET)
    np.testing.assert_array_equal(nearest_colour(RGB * light / 255, len(RGB)), EVERY_TARGET)


@pytest.mark.parametrize("pixel", [(37, 47, 57), (20, 25, 30), (128, 128, 128), (0, 0, 0)])
def test_floor_and_greys_have_no_target_colour(pixel: tuple[int, int, int]) -> None:
    assert name_colour(np.array(pixel), len(RGB)) == NO_COLOUR
    assert nearest_colour(np.array(pixel), 2) in (0, 1)


def test_only_the_colours_of_the_maze_are_named() -> None:
    blue = RGB[NAMES.index("blue")]
    assert name_colour(blue, 3) == 2
    assert name_colour(blue, 2) == NO_COLOUR
    assert nearest_colour(blue, 2) == NAMES.index("green")


def test_chromaticity_is_the_shares_of_the_channels() -> None:
    pixels = np.array([[10, 30, 60], [0, 0, 0], [-1, 1, 3]])
    expected = [[0.1, 0.3, 0.6], [1 / 3, 1 / 3, 1 / 3], [0, 0.25, 0.75]]
    np.testing.assert_allclose(chromaticity(pixels), expected)


@pytest.mark.parametrize(("side", "width"), [(64, 2), (32, 1), (96, 3), (16, 1)])
def test_the_border_is_two_pixels_of_sixty_four(side: int, width: int) -> None:
    inside = inside_border((side, side))
    assert not inside[:width].any() and not inside[:, -width:].any()
    assert inside[width:-width, width:-width].all()
