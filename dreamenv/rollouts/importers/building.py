"""Episodes put together from a data set's columns, and steps whose last frame nobody recorded."""

from __future__ import annotations

import numpy as np

from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.importers.source import REPEAT


def build(
    frames: np.ndarray,
    action: np.ndarray,
    reward: np.ndarray | None = None,
    terminated: np.ndarray | None = None,
    truncated: np.ndarray | None = None,
    info: dict[str, np.ndarray] | None = None,
    policy: str = "",
    seed: int | None = None,
) -> Episode:
    """An episode of the frames (T+1, ...) and of what belongs to the T steps between them.

    Without rewards they are 0. Without `truncated` an episode that does not terminate was cut where
    its recording ends, as by a time limit.
    """
    steps = len(action)
    none = np.zeros(steps, np.bool_)
    terminated = none if terminated is None else terminated
    if truncated is None:
        truncated = none.copy()
        truncated[-1:] = not terminated[-1:].any()
    reward = np.zeros(steps, np.float32) if reward is None else reward
    return Episode(frames, action, reward, terminated, truncated, seed, policy, info or {})


class LastSteps:
    """The last step of every episode of formats that do not record the frame it leads to.

    Args:
        mode: "drop" such steps; or "repeat" the last frame, so that their rewards and ends are
            kept, at the price of a frame that was not seen.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._steps = self._rewards = self._ends = 0

    def frames(self, recorded: np.ndarray) -> np.ndarray:
        """The frames of the episode, or other rows beside them, by those recorded."""
        if self.mode != REPEAT:
            return recorded
        return np.concatenate([recorded, recorded[-1:]])

    def count(self, reward: float = 0.0, ends: bool = False) -> None:
        """Note what belongs to a last step."""
        self._steps += 1
        self._rewards += reward != 0
        self._ends += ends

    def notes(self) -> list[str]:
        """What was done, in a line."""
        if not self._steps:
            return []
        of = f"{self._rewards} with a reward and {self._ends} with an end"
        if self.mode == REPEAT:
            return [
                f"{self._steps} last steps, {of}, lead to a frame that was not recorded: the frame "
                "before was repeated"
            ]
        return [
            f"{self._steps} last steps, {of}, lead to a frame that was not recorded, and were "
            "left out; --last-step repeat keeps them by repeating the frame before"
        ]
