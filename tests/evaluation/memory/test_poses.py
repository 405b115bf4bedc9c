"""Near, nearest, how long ago, and how much of the maze."""

from __future__ import annotations

import numpy as np

from dreamenv.evaluation.memory.poses import Nearness, ages, coverage, latest_sighting, nearest


def pose(x: float, y: float, degrees: float) -> list[float]:
    angle = np.radians(degrees)
    return [x, y, float(np.cos(angle)), float(np.sin(angle))]


WATCHED = np.array([[pose(1, 1, 0), pose(1, 1, 350), pose(2, 1, 90), pose(1.6, 1, 10)]], np.float32)


def test_near_needs_place_and_angle_and_takes_the_latest() -> None:
    asked = np.array(
        [
            [
                pose(1, 1, 10),  # near 0 and 1; 1 came later
                pose(1, 1, 15),  # near 0 only: 25 degrees from 1
                pose(2, 1.5, 110),  # exactly as far from 2 as allowed, in both ways
                pose(2, 1.51, 90),
                pose(2, 1, 180),
            ]
        ],
        np.float32,
    )
    latest = latest_sighting(asked, WATCHED, Nearness(0.5, 20))
    np.testing.assert_array_equal(latest, [[1, 0, 2, -1, -1]])
    np.testing.assert_array_equal(ages(latest, 4), [[3, 5, 4, 0, 0]])


def test_nearest_weighs_distance_against_angle() -> None:
    asked = np.array([[pose(1, 1, 1), pose(1.55, 1, 0), pose(2, 1, 45)]], np.float32)
    np.testing.assert_array_equal(nearest(asked, WATCHED), [[0, 3, 3]])
    twice = np.concatenate([WATCHED, WATCHED], 1)
    np.testing.assert_array_equal(nearest(asked, twice), [[4, 7, 7]])  # the later of equals


def test_coverage_counts_each_free_cell_once() -> None:
    layout = np.zeros((1, 3, 3), np.uint8)
    layout[0, 1, :] = 1
    layout[0, 0, 0] = 1
    walk = np.array([[pose(0.1, 1.2, 0), pose(0.9, 1.5, 90), pose(1.2, 1.5, 0)]], np.float32)
    np.testing.assert_allclose(coverage(walk, layout), [0.5])
