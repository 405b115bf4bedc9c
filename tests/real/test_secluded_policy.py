"""The secluded policy sees targets, then stays where they cannot be seen."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium.spaces import Discrete

from dreamenv.core.errors import ConfigError
from dreamenv.real.memory_maze.env import MemoryMazeEnv
from dreamenv.real.memory_maze.secluded_policy import (
    SMALLEST,
    SecludedPolicy,
    hidden_cells,
    largest_region,
)
from dreamenv.real.memory_maze.target_sightings import geometric_mask

# The target is in the left room; a wall with a door to its right.
_LAYOUT = np.array(
    [
        [1, 1, 1, 0, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 0, 1, 1, 1],
    ],
    np.uint8,
)
_HIDING = 60
"""Steps for which the policy stays out of sight."""


def test_cells_are_hidden_where_walls_are_in_every_line_of_sight() -> None:
    hidden = hidden_cells(_LAYOUT, np.array([2.5, 0.5]))
    # Through the door one looks from the upper right at the lower left, not along the wall.
    expected = np.zeros((3, 7), bool)
    expected[0, 4:] = True
    np.testing.assert_array_equal(hidden[0], expected[0])
    assert not hidden[:, :3].any() and not hidden[2, 4]
    assert not hidden_cells(np.ones((3, 3)), np.array([1.5, 1.5])).any()


def test_the_largest_region_hangs_together_by_sides() -> None:
    cells = np.array([[1, 1, 0, 1], [0, 0, 1, 1], [1, 0, 0, 1]])
    expected = [[0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]]
    np.testing.assert_array_equal(largest_region(cells), expected)
    assert not largest_region(np.zeros((2, 2))).any()


def test_a_target_is_approached_and_then_not_seen_for_long() -> None:
    env = MemoryMazeEnv(7)
    policy, steps = SecludedPolicy(_HIDING), 4 * _HIDING
    frame, _ = env.reset(seed=3)
    policy.reset(env, 0)
    truths = []
    for _ in range(steps):
        truths.append(env.ground_truth())
        frame = env.step(policy.act(frame))[0]
    env.close()
    position, direction = (
        np.array([truth[key] for truth in truths]) for key in ("agent_pos", "agent_dir")
    )
    longest = []
    for target in truths[0]["targets_pos"]:
        mask = geometric_mask(position, direction, target, truths[0]["maze_layout"], (64, 64))
        seen = np.flatnonzero(mask.any((1, 2)))
        gaps = np.diff(np.append(seen, steps))
        longest.append(gaps.max())
        if gaps.max() > _HIDING:  # one that it hides from was touched first
            before = seen[gaps.argmax()]
            near = np.linalg.norm(position[: before + 1] - target, axis=1)
            assert near.min() < 1
    assert max(longest) > _HIDING
    assert len(np.unique(position.astype(int), axis=0)) > SMALLEST


def test_where_nothing_hides_it_wanders() -> None:
    cells = np.full((3, 3), 1, np.uint8)
    truth = {
        "agent_pos": np.array([0.5, 0.5]),
        "agent_dir": np.array([1.0, 0.0]),
        "maze_layout": cells,
        "targets_pos": np.array([[1.5, 1.5], [2.5, 2.5]]),
    }
    inner = SimpleNamespace(ground_truth=lambda: truth)
    env = SimpleNamespace(unwrapped=inner, action_space=Discrete(6), **vars(inner))
    policy = SecludedPolicy()
    policy.reset(env, 0)  # type: ignore[arg-type]
    assert {policy.act(np.zeros(1)) for _ in range(50)} - {0}


def test_it_must_hide_for_some_time() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        SecludedPolicy(0)
