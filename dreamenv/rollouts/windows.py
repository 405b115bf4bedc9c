"""Windows of rollouts in model time. The only place where the time contract is converted.

Stored: `action[t]`, `reward[t]`, `terminated[t]` belong to the step from frame t to frame t+1.
Model time: at frame t they are those of the step that led *to* frame t.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from gymnasium.spaces import Discrete

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.actions import to_model
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.spaces import ActionSpace
from dreamenv.rollouts.store import RolloutStore

# Stands for "no action led here" where actions are indices; Box actions are 0 there.
START_TOKEN = -1


def model_time(
    episode: Episode, space: ActionSpace, preceding_action: np.ndarray | int | None = None
) -> dict[str, np.ndarray]:
    """Shift a stretch of T steps and T+1 observations to model time.

    Args:
        episode: the stretch, as recorded.
        space: of its actions.
        preceding_action: the action that led to its first frame; None at an episode's start.

    Returns:
        frames (T+1, H, W, C) uint8;
        action (T+1,) int64, or (T+1, dims) float32 for Box: the one that led to each frame, as
        `dreamenv.rollouts.actions.to_model` gives it;
        reward (T+1,) float32 and terminated (T+1,) bool: received on arriving at each frame;
        is_first (T+1,) bool: no action led to this frame.
        At the first frame reward is 0, terminated False, and action the preceding one; without
        one it is `START_TOKEN` (Box: zeros) and is_first is True.
    """
    frames = len(episode) + 1
    taken = to_model(space, episode.action)
    action = np.zeros((frames, *taken.shape[1:]), taken.dtype)
    action[1:] = taken
    is_first = np.zeros(frames, np.bool_)
    if preceding_action is not None:
        action[0] = to_model(space, np.asarray(preceding_action))
    else:
        is_first[0] = True
        if isinstance(space, Discrete):
            action[0] = START_TOKEN
    reward = np.zeros(frames, np.float32)
    reward[1:] = episode.reward
    terminated = np.zeros(frames, np.bool_)
    terminated[1:] = episode.terminated
    return {
        "frames": episode.observation,
        "action": action,
        "reward": reward,
        "terminated": terminated,
        "is_first": is_first,
    }


def length_of_most(store: RolloutStore, frames: int, least: int = 1, stride: int = 1) -> int:
    """The most frames, up to `frames`, `stride` steps apart, that half of the episodes have.

    Raises:
        RolloutError: half of the episodes have not even `least`.
    """
    have = np.sort(store.lengths // stride + 1)
    found = min(frames, int(have[len(have) // 2])) if len(have) else 0
    if found < least:
        raise RolloutError(
            f"half of the {len(have)} episodes of {store.path} should have at least {least} frames "
            f"{stride} step{'s' * (stride > 1)} apart, but have {found}; collect longer episodes"
        )
    return found


class Windows:
    """All stretches of `length` consecutive frames of one episode each, in model time.

    Args:
        store: where they are read from.
        length: frames per window, at least 1.
        episodes: indices of the episodes to use (default: all). Shorter ones are skipped.

    Attributes:
        num_windows: how many there are; an episode of T steps has T + 2 - length.

    Raises:
        RolloutError: no episode is long enough, or an index is out of range.
    """

    def __init__(
        self, store: RolloutStore, length: int, episodes: Iterable[int] | None = None
    ) -> None:
        if length < 1:
            raise RolloutError(f"a window needs at least 1 frame, not {length}")
        self.store = store
        self.length = length
        everything = range(store.num_episodes)
        chosen = np.array(everything if episodes is None else list(episodes), np.int64)
        if chosen.size and not (0 <= chosen.min() and chosen.max() < store.num_episodes):
            raise RolloutError(f"{store.path} has only episodes 0..{store.num_episodes - 1}")
        counts = store.lengths[chosen] + 2 - length
        self._episodes, counts = chosen[counts > 0], counts[counts > 0]
        if not counts.size:
            longest = int(store.lengths[chosen].max()) + 1 if chosen.size else 0
            raise RolloutError(
                f"{store.path}: none of {chosen.size} episodes has {length} frames (the longest "
                f"has {longest}); use shorter windows or collect longer episodes"
            )
        self._ends = np.cumsum(counts)
        self.num_windows = int(self._ends[-1])

    def locate(self, index: int) -> tuple[int, int]:
        """Episode and first frame of window `index` in [0, num_windows)."""
        if not 0 <= index < self.num_windows:
            raise RolloutError(f"there are windows 0..{self.num_windows - 1}, not {index}")
        slot = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[slot - 1]) if slot else 0
        return int(self._episodes[slot]), index - before

    def read(self, episode: int, start: int) -> dict[str, np.ndarray]:
        """Read frames `start`..`start + length - 1` of an episode.

        Returns:
            L = length; frames (L, H, W, C) uint8, action (L,) int64 counted from 0 or (L, dims)
            float32, reward (L,) float32, terminated (L,) bool, is_first (L,) bool, as in
            `model_time`; the step into the window's first frame is included where there is one.

        Raises:
            RolloutError: the window does not lie inside the episode.
        """
        # One step more at the front: it carries what was received on arriving at frame `start`.
        front = min(start, 1)
        stretch = self.store.read(episode, start - front, start + self.length - 1)
        converted = model_time(stretch, self.store.action_space)
        return {name: values[front:] for name, values in converted.items()}

    def sample(self, rng: np.random.Generator, batch: int) -> dict[str, np.ndarray]:
        """Draw `batch` windows, every one equally likely; arrays as in `read`, stacked (B, L, ...).

        Within a window frames are in order; no window crosses an episode's end.
        """
        drawn = rng.integers(self.num_windows, size=batch)
        windows = [self.read(*self.locate(int(index))) for index in drawn]
        return {name: np.stack([w[name] for w in windows]) for name in windows[0]}
