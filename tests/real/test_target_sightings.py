"""Targets are found where geometry and colour agree; the real simulator draws the same."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from dreamenv.real.memory_maze.target_colours import RGB
from dreamenv.real.memory_maze.target_sightings import geometric_mask, target_sightings

ROOM = np.ones((7, 7), np.uint8)
SIZE = (64, 64)
AHEAD = np.array([3.5, 5.5])


def mask_from(
    x: float, y: float, degrees: float = 90, layout: np.ndarray = ROOM, target: np.ndarray = AHEAD
) -> np.ndarray:
    """Pixels of the target seen from (x, y) under a heading, 90 being up."""
    heading = np.array([[np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]])
    return geometric_mask(np.array([[x, y]]), heading, target, layout, SIZE)[0]


def test_a_target_straight_ahead_is_in_the_middle_below_the_horizon() -> None:
    mask = mask_from(3.5, 3.5)
    assert mask.sum() > 40
    np.testing.assert_array_equal(mask, mask[:, ::-1])
    assert not mask[:30].any()


def test_its_size_falls_with_the_square_of_its_distance() -> None:
    near, far = mask_from(3.5, 3.5).sum(), mask_from(3.5, 1.5).sum()
    assert 3 < near / far < 5


def test_turning_left_moves_it_to_the_right() -> None:
    columns = [np.nonzero(mask_from(3.5, 3.5, degrees))[1].mean() for degrees in (75, 90, 105)]
    assert columns[0] < columns[1] - 5 < columns[2] - 10


@pytest.mark.parametrize("degrees", [-90, 0, 180, 270])
def test_it_is_not_seen_by_looking_elsewhere(degrees: float) -> None:
    assert not mask_from(3.5, 3.5, degrees).any()


def test_walls_hide_it_wholly_or_in_part() -> None:
    wall = ROOM.copy()
    wall[4, 3] = 0
    assert not mask_from(3.5, 3.2, layout=wall).any()
    # Past the wall's edge only the left half can be seen.
    wall = ROOM.copy()
    wall[4, 4:] = 0
    half = np.array([4.0, 5.5])
    free, hidden = mask_from(4.0, 3.5, target=half), mask_from(4.0, 3.5, layout=wall, target=half)
    assert 0.4 * free.sum() < hidden.sum() < 0.6 * free.sum()
    assert not hidden[:, 33:].any()


def test_colour_must_agree_with_geometry() -> None:
    position, direction = np.full((4, 2), 3.5), np.array([[0.0, 1.0]] * 4)
    geometry = geometric_mask(position, direction, AHEAD, ROOM, SIZE)
    frames = np.full((4, *SIZE, 3), 40, np.uint8)
    frames[0][geometry[0]] = RGB[1] * 0.5
    frames[1] = RGB[1] * 0.5  # a wall of the target's colour all over
    frames[2][geometry[2]] = RGB[0] * 0.5  # another target in front of it
    found = target_sightings(frames, position, direction, AHEAD, 1, ROOM)
    np.testing.assert_array_equal(found.mask[:2], geometry[:2])
    assert not found.mask[2:].any()
    assert found.pixels.tolist() == [geometry[0].sum()] * 2 + [0, 0]
    assert found.seen.all()  # as to being out of sight, geometry alone is enough to doubt it


def test_touching_a_target_counts_as_a_trace_of_it() -> None:
    position = np.array([[3.5, 5.2], [3.5, 4.9]])
    direction = np.array([[0.0, -1.0]] * 2)
    frames = np.zeros((2, *SIZE, 3), np.uint8)
    found = target_sightings(frames, position, direction, AHEAD, 0, ROOM)
    assert not found.mask.any()
    assert found.seen.tolist() == [True, False]


@pytest.mark.skipif(
    importlib.util.find_spec("memory_maze") is None, reason="Memory Maze is not installed"
)
def test_the_real_maze_draws_targets_where_geometry_says() -> None:
    from dreamenv.real.memory_maze.simulator import MazeSimulator

    simulator = MazeSimulator(7)
    agreeing = expected = 0
    for seed in (3, 4):  # they begin in view of a target
        frames, truths = [simulator.reset(seed)], [simulator.ground_truth()]
        for _ in range(19):  # once round, in steps of 18 degrees
            frames.append(simulator.step(2)[0])
            truths.append(simulator.ground_truth())
        position, direction = (
            np.array([truth[key] for truth in truths]) for key in ("agent_pos", "agent_dir")
        )
        for index, target in enumerate(truths[0]["targets_pos"]):
            layout = truths[0]["maze_layout"]
            geometry = geometric_mask(position, direction, target, layout, SIZE)
            seen = target_sightings(np.array(frames), position, direction, target, index, layout)
            # Of a far target the edge, where colours mix, is the larger part.
            near = geometry.sum((1, 2)) > 40
            agreeing += int(seen.pixels[near].sum())
            expected += int(geometry[near].sum())
    simulator.close()
    assert expected > 500
    assert agreeing > 0.85 * expected
