"""Episodes whose every entry follows from the seed and the step, and the check that it does."""

from __future__ import annotations

import numpy as np
from counting_env import ACTIONS, frame_of, reward_of, step_of
from gymnasium.spaces import Box, Discrete

from dreamenv.rollouts.episode import Episode

SHAPE = (8, 8, 3)
OBSERVATIONS = Box(0, 255, SHAPE, np.uint8)
DISCRETE = Discrete(ACTIONS)


def action_of(step: int) -> int:
    """Action of step number `step`."""
    return (7 * step + 3) % ACTIONS


def counting_episode(
    steps: int, seed: int = 0, shape: tuple[int, int, int] = SHAPE, terminated: bool = True
) -> Episode:
    """An episode that counts to `steps` and ends there, terminated or truncated."""
    last = np.arange(steps) == steps - 1
    return Episode(
        observation=np.stack([frame_of(t, seed, shape) for t in range(steps + 1)]),
        action=np.array([action_of(t) for t in range(steps)], np.int64),
        reward=np.array([reward_of(t) for t in range(steps)], np.float32),
        terminated=last & terminated,
        truncated=last & (not terminated),
        seed=seed,
        policy="counting",
    )


def assert_same_episode(stored: Episode, sent: Episode) -> None:
    """Every field equal, in value and type."""
    for name in ("observation", "action", "reward", "terminated", "truncated"):
        a, b = getattr(stored, name), getattr(sent, name)
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert (stored.seed, stored.policy) == (sent.seed, sent.policy)
    assert sorted(stored.info) == sorted(sent.info)
    for key, values in sent.info.items():
        np.testing.assert_array_equal(stored.info[key], values, err_msg=key)


def assert_counts(frames: np.ndarray, first: int) -> None:
    """Frames are numbered `first`, `first + 1`, ..."""
    assert [step_of(frame) for frame in frames] == list(range(first, first + len(frames)))
