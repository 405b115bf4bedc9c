"""Playing one episode of an environment and recording it, checked step by step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from dreamenv.core.action_rows import action_of, row_type
from dreamenv.core.errors import DreamEnvError
from dreamenv.rollouts.actions import fit_actions
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.failure import RESET, EpisodeError, raised
from dreamenv.rollouts.policies import Policy
from dreamenv.rollouts.spaces import require_action_space, require_image_space

# Without any limit a never-ending episode would fill the memory before anything is stored.
UNLIMITED_STEPS = 100_000
_FLOAT32_MAX = float(np.finfo(np.float32).max)

Watch = Callable[[int, Any], None]
"""Called before every step with its number and its action; before the reset with `RESET`, None."""


def record_episode(
    env: gymnasium.Env,
    policy: Policy,
    seed: int,
    policy_seed: int,
    max_episode_steps: int | None = None,
    record_info: tuple[str, ...] = (),
    watch: Watch | None = None,
) -> Episode:
    """Play one episode and return it.

    Args:
        env: an environment with uint8 (H, W, C) observations.
        policy: chooses the actions.
        seed: given to `env.reset`.
        policy_seed: given to `policy.reset`.
        max_episode_steps: cut here; the last step is then marked truncated.
        record_info: keys of the infos to record.
        watch: see `Watch`.

    Raises:
        EpisodeError: the environment or the policy failed, or what came back cannot be recorded:
            a frame or an action outside its space, a reward that is no finite number, a flag that
            is neither true nor false, an info that is missing or changes its shape, no end.
        DreamEnvError: the policy is not made for this environment, or a package is missing.
    """
    frame_space = require_image_space(env.observation_space)
    action_space = require_action_space(env.action_space)
    _, action_dtype = row_type(action_space)
    bounded = bool((frame_space.low > 0).any() or (frame_space.high < 255).any())
    if watch is not None:
        watch(RESET, None)
    try:
        observation, info = env.reset(seed=seed)
    except DreamEnvError as error:
        if isinstance(error, ImportError):
            raise
        raise raised(error, RESET) from error
    except (Exception, SystemExit) as error:
        raise raised(error, RESET) from error
    observations = [_frame(observation, frame_space, bounded, RESET, None)]
    infos = [_pick(info, record_info, RESET, None)]
    actions: list[np.ndarray] = []
    rewards: list[float] = []
    terminations: list[bool] = []
    truncations: list[bool] = []
    with _guarded(RESET):
        policy.reset(env, policy_seed)
    while True:
        step = len(rewards)
        with _guarded(step):
            chosen = policy.act(observation)
        action = fit_actions(action_space, chosen)
        if action is None:
            raise EpisodeError(
                f"the policy {policy.name!r} chose {chosen!r}, which is not in {action_space}", step
            )
        # What is stored is what the environment is given, so that it can be played again. It is a
        # copy, because some environments scale the action that they are given in place.
        taken = action.copy()
        given = action_of(action_space, action)
        if watch is not None:
            watch(step, taken)
        try:
            observation, reward, terminated, truncated, info = env.step(given)
        except (Exception, SystemExit) as error:
            raise raised(error, step, taken) from error
        observations.append(_frame(observation, frame_space, bounded, step, taken))
        rewards.append(_reward(reward, step, taken))
        terminations.append(_flag("terminated", terminated, step, taken))
        truncations.append(_flag("truncated", truncated, step, taken))
        infos.append(_pick(info, record_info, step, taken))
        actions.append(taken)
        truncations[-1] |= step + 1 == max_episode_steps
        if terminations[-1] or truncations[-1]:
            break
        if step + 1 >= UNLIMITED_STEPS and max_episode_steps is None:
            raise EpisodeError(
                f"the episode did not end within {UNLIMITED_STEPS} steps; give --max-episode-steps",
                step,
                taken,
            )
    return Episode(
        observation=np.stack(observations),
        action=np.stack(actions).astype(action_dtype),
        reward=np.array(rewards, np.float32),
        terminated=np.array(terminations, np.bool_),
        truncated=np.array(truncations, np.bool_),
        seed=seed,
        policy=policy.name,
        info={key: _stack(key, [row[key] for row in infos], actions) for key in record_info},
    )


@contextlib.contextmanager
def _guarded(step: int) -> Iterator[None]:
    """Whatever a policy raises, except on purpose, is its failure in this episode."""
    try:
        yield
    except DreamEnvError:
        raise
    except Exception as error:
        raise raised(error, step) from error


def _frame(observation: Any, space: Box, bounded: bool, step: int, action: Any) -> np.ndarray:
    # A copy: the environment may return the same buffer every time.
    frame = _array("the frame", observation, step, action)
    if frame.shape != space.shape or frame.dtype != np.uint8:
        raise EpisodeError(
            f"the frame is {frame.dtype} of shape {frame.shape}, but the environment's "
            f"observation space says {space.dtype} of shape {space.shape}",
            step,
            action,
        )
    if bounded and not space.contains(frame):
        raise EpisodeError(
            f"the frame has values {frame.min()} to {frame.max()}, outside the environment's "
            f"observation space {space}",
            step,
            action,
        )
    return frame


def _array(what: str, value: Any, step: int, action: Any) -> np.ndarray:
    try:
        return np.array(value)
    except ValueError as error:  # nested lists of different lengths
        raise EpisodeError(f"{what} is no array: {error}", step, action) from error


def _reward(value: Any, step: int, action: Any) -> float:
    array = _array("the reward", value, step, action)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise EpisodeError(f"the reward is no number but {value!r}", step, action)
    reward = float(array.item())
    stored = float(np.float32(reward)) if abs(reward) < _FLOAT32_MAX else float("nan")
    if not np.isfinite(stored):
        raise EpisodeError(f"the reward is {reward}, no finite float32", step, action)
    if reward.is_integer() and stored != reward:
        raise EpisodeError(
            f"the reward {reward:.0f} is too large to be exact in float32; scale rewards down",
            step,
            action,
        )
    return reward


def _flag(name: str, value: Any, step: int, action: Any) -> bool:
    array = _array(name, value, step, action)
    if array.size != 1 or array.dtype.kind not in "biu" or array.item() not in (0, 1):
        raise EpisodeError(f"{name} is neither true nor false but {value!r}", step, action)
    return bool(array.item())


def _pick(
    info: dict[str, Any], keys: tuple[str, ...], step: int, action: Any
) -> dict[str, np.ndarray]:
    picked = {}
    for key in keys:
        if key not in info:
            raise EpisodeError(
                f"there is no info {key!r} to record; it has {', '.join(sorted(info)) or 'none'}",
                step,
                action,
            )
        picked[key] = _array(f"info {key!r}", info[key], step, action)
        if picked[key].dtype.kind not in "biuf":
            raise EpisodeError(
                f"info {key!r} is not numeric but {type(info[key]).__name__}; leave it out of "
                "--record-info",
                step,
                action,
            )
    return picked


def _stack(key: str, rows: Sequence[np.ndarray], actions: Sequence[np.ndarray]) -> np.ndarray:
    for row, values in enumerate(rows):
        if values.shape != rows[0].shape:
            raise EpisodeError(
                f"info {key!r} has shape {values.shape}, but had {rows[0].shape} before; leave it "
                "out of --record-info or give it one shape in the environment",
                row - 1,
                actions[row - 1],
            )
    return np.stack(rows)
