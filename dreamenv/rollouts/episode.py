"""One recorded episode, and the checks it must pass before it is stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from dreamenv.core.action_rows import row_type
from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.actions import outside_categories
from dreamenv.rollouts.integrity import is_safe_name
from dreamenv.rollouts.provenance import Provenance
from dreamenv.rollouts.spaces import ActionSpace


@dataclass
class Episode:
    """An episode, or a stretch of one, of T steps and T+1 observations.

    Step t leads from `observation[t]` to `observation[t+1]`; `action[t]`, `reward[t]` and the two
    flags belong to that step.

    Attributes:
        observation: (T+1, H, W, C) uint8.
        action: (T, ...) rows of the action space (`dreamenv.core.action_rows`): (T,) int64 for
            Discrete; for Box in its shape and dtype.
        reward: (T,) float32.
        terminated: (T,) bool, True only where the environment reached a terminal state.
        truncated: (T,) bool, True only where a time limit cut the episode.
        seed: what `env.reset(seed=)` was given; None if nobody knows.
        policy: name of the policy that acted; "" if nobody knows.
        info: optional numeric arrays of T+1 rows, one per observation.
        provenance: where the episode was taken from; None if it was recorded here.
    """

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    seed: int | None = None
    policy: str = ""
    info: dict[str, np.ndarray] = field(default_factory=dict)
    provenance: Provenance | None = None

    def __len__(self) -> int:
        """Number of steps T."""
        return len(self.reward)


def check_episode(
    episode: Episode, name: str, observation_space: Box, action_space: ActionSpace
) -> None:
    """Check shapes, types and values before anything is written.

    Args:
        episode: a whole episode.
        name: how messages call it, such as "episode 12 (seed 345)".
        observation_space: uint8 image Box (H, W, C).
        action_space: that of the environment.

    Raises:
        RolloutError: something does not fit; the message names the episode and the step.
    """
    steps = len(episode.reward)
    if steps == 0:
        raise RolloutError(f"{name} has no steps; store episodes of at least one step")
    frames = episode.observation
    if frames.dtype != np.uint8:
        raise RolloutError(
            f"{name}, step 0: frames are {frames.dtype}, not uint8; rollouts are stored losslessly "
            "as uint8, so convert them in the environment"
        )
    action_shape, _ = row_type(action_space)
    expected = {
        "observation": (frames, (steps + 1, *observation_space.shape)),
        "action": (episode.action, (steps, *action_shape)),
        "reward": (episode.reward, (steps,)),
        "terminated": (episode.terminated, (steps,)),
        "truncated": (episode.truncated, (steps,)),
    }
    for field_name, (array, shape) in expected.items():
        if array.shape != shape:
            raise RolloutError(f"{name}: {field_name} has shape {array.shape}, expected {shape}")
    for key, array in episode.info.items():
        if not is_safe_name(key):
            raise RolloutError(f"{name}: info {key!r} cannot be the name of a folder; rename it")
        if len(array) != steps + 1 or array.dtype.kind not in "biuf":
            raise RolloutError(
                f"{name}: info {key!r} must be numeric with {steps + 1} rows, "
                f"not {array.dtype} of shape {array.shape}"
            )
    _check_values(episode, name, action_space)


def _check_values(episode: Episode, name: str, action_space: ActionSpace) -> None:
    def refuse(bad: np.ndarray, what: str, values: np.ndarray) -> None:
        if bad.any():
            step = int(np.argmax(bad))
            raise RolloutError(f"{name}, step {step}: {what} {values[step]}; nothing was stored")

    steps = len(episode)
    refuse(~np.isfinite(episode.reward), "the reward is", episode.reward)
    bad = ~np.isfinite(episode.action.reshape(steps, -1)).all(axis=1)
    refuse(bad, "the action is", episode.action)
    refuse(
        outside_categories(action_space, episode.action),
        f"{action_space} does not contain action",
        episode.action,
    )
    early_end = (episode.terminated | episode.truncated)[:-1]
    refuse(early_end, "the episode continues after an end, flags", episode.terminated)


def impossible(
    steps: dict[str, np.ndarray], record: dict[str, Any], action_space: ActionSpace
) -> str:
    """Name what in the stored steps of an episode no writer could have stored; "" if nothing.

    Args:
        steps: `action`, `reward`, `terminated` and `truncated`, (T, …).
        record: what the journal says of the episode: `return` and `reward_events`.
        action_space: of the environment.
    """
    rewards, actions = steps["reward"].astype(np.float64), steps["action"]
    if not np.isfinite(rewards).all():
        return "a reward is no number"
    rounding = 1e-6 * (1 + np.abs(rewards).sum())
    if (
        np.count_nonzero(rewards) != record["reward_events"]
        or abs(rewards.sum() - record["return"]) > rounding
    ):
        return "its rewards have another sum"
    if not np.isfinite(actions).all():
        return "an action is no number"
    if outside_categories(action_space, actions).any():
        return f"an action is not in {action_space}"
    if (steps["terminated"] | steps["truncated"])[:-1].any():
        return "it goes on after its end"
    return ""
