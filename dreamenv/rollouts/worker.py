"""A collection worker: a process that owns one environment and sends back finished episodes."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete

from dreamenv.core.errors import DreamEnvError, RolloutError
from dreamenv.rollouts.actions import fit_actions
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.policies import Policy, make_policy
from dreamenv.rollouts.spaces import (
    NO_PICTURE,
    action_array_type,
    require_action_space,
    require_image_space,
)

# Progress is reported every so many steps; a message costs about as much as rendering a pixel.
STEPS_PER_REPORT = 50
# Without any limit a never-ending episode would fill the memory before anything is stored.
UNLIMITED_STEPS = 100_000
SEED_RANGE = 2**31
# MiniGrid's observations, which are declared as images, are at most 25 cells wide and end at 10.
SMALL_FRAME, MOST_SEEN_CODE = 32, 10
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class CollectSettings:
    """What decides the episodes of a collection: episode i is a function of these and i.

    Attributes:
        env_id: Gymnasium id, "module:id" to import a module first.
        policies: policy specs and their weights.
        seed: of the whole collection.
        env_kwargs: keyword arguments of `gymnasium.make`.
        max_episode_steps: cut episodes here (truncated), None for the environment's own limit.
        record_info: keys of numeric, fixed-shape infos to record.
    """

    env_id: str
    policies: dict[str, float]
    seed: int
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None
    record_info: tuple[str, ...] = ()


def episode_seed(seed: int, index: int) -> int:
    """Reset seed of episode `index`: a hash of `seed`, plus the index, modulo 2**31.

    Adding the index, rather than hashing it too, makes a repetition within a store impossible.
    """
    base = int(np.random.SeedSequence(seed).generate_state(1)[0])
    return (base + index) % SEED_RANGE


def draw_policy(policies: dict[str, float], seed: int) -> tuple[str, int]:
    """Choose an episode's policy by weight, and the seed of its actions, from the reset seed."""
    rng = np.random.default_rng([seed, 1])
    weights = np.array(list(policies.values()), np.float64)
    name = list(policies)[int(rng.choice(len(weights), p=weights / weights.sum()))]
    return name, int(rng.integers(SEED_RANGE))


def record_episode(
    env: gymnasium.Env,
    policy: Policy,
    seed: int,
    policy_seed: int,
    max_episode_steps: int | None = None,
    record_info: tuple[str, ...] = (),
    report: Callable[[int], None] | None = None,
) -> Episode:
    """Play one episode and return it.

    Args:
        env: an environment with uint8 (H, W, C) observations.
        policy: chooses the actions.
        seed: given to `env.reset`.
        policy_seed: given to `policy.reset`.
        max_episode_steps: cut here; the last step is then marked truncated.
        record_info: keys of the infos to record.
        report: called now and then with the number of steps since the last call.

    Raises:
        RolloutError: a recorded info is missing or changes its shape, the policy acts outside the
            action space, or no end is in sight.
    """
    space = require_action_space(env.action_space)
    observation, info = env.reset(seed=seed)
    policy.reset(env, policy_seed)
    # Copies: an environment may return the same buffer at every step.
    observations, infos = [np.array(observation)], [_pick(info, record_info, 0)]
    actions: list[np.ndarray] = []
    rewards: list[float] = []
    terminations: list[bool] = []
    truncations: list[bool] = []
    while True:
        steps = len(rewards) + 1
        chosen = policy.act(observation)
        action = fit_actions(space, chosen)
        if action is None:
            raise RolloutError(
                f"step {steps}: policy {policy.name!r} chose {chosen!r}, which is not in {space}"
            )
        # What is stored is what the environment is given, so that it can be played again.
        actions.append(action.copy())
        observation, reward, terminated, truncated, info = env.step(
            action.item() if isinstance(space, Discrete) else action
        )
        truncated = truncated or steps == max_episode_steps
        observations.append(np.array(observation))
        rewards.append(float(reward))
        terminations.append(bool(terminated))
        truncations.append(bool(truncated))
        infos.append(_pick(info, record_info, steps))
        if report is not None and steps % STEPS_PER_REPORT == 0:
            report(STEPS_PER_REPORT)
        if terminated or truncated:
            break
        if steps >= UNLIMITED_STEPS and max_episode_steps is None:
            raise RolloutError(
                f"an episode did not end within {steps} steps; give --max-episode-steps"
            )
    return Episode(
        observation=np.stack(observations),
        action=np.stack(actions).astype(action_array_type(space)[1]),
        reward=np.array(rewards, np.float32),
        terminated=np.array(terminations, np.bool_),
        truncated=np.array(truncations, np.bool_),
        seed=seed,
        policy=policy.name,
        info={key: _stack_info(key, [row[key] for row in infos]) for key in record_info},
    )


def run_worker(connection: Connection, settings: CollectSettings) -> None:
    """Record the episodes whose indices arrive on `connection`, until None arrives.

    Sends ("ready", observation space, action space, step limit) once, then ("steps", index, n) and
    ("episode", index, Episode), or ("error", message).
    """
    # Ctrl-C reaches the whole process group, but the parent decides what happens then: a worker
    # stops when its pipe closes. A handler that does nothing, unlike SIG_IGN, is not passed on to
    # the processes that an environment may start.
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        _serve(connection, settings)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone, and with it the reason to go on
    except Exception as error:
        known = isinstance(error, DreamEnvError)
        with contextlib.suppress(BrokenPipeError):
            text = str(error) if known else f"{type(error).__name__}: {error}"
            connection.send(("error", text))


def _serve(connection: Connection, settings: CollectSettings) -> None:
    env = gymnasium.make(settings.env_id, **settings.env_kwargs)
    with contextlib.closing(env):
        require_image_space(env.observation_space)
        require_action_space(env.action_space)
        policies = {spec: make_policy(spec) for spec in settings.policies}
        limit = settings.max_episode_steps or (env.spec.max_episode_steps if env.spec else None)
        connection.send(("ready", env.observation_space, env.action_space, limit))
        while (index := connection.recv()) is not None:
            seed = episode_seed(settings.seed, index)
            spec, policy_seed = draw_policy(settings.policies, seed)
            episode = record_episode(
                env,
                policies[spec],
                seed,
                policy_seed,
                settings.max_episode_steps,
                settings.record_info,
                partial(_report, connection, index),
            )
            _require_picture(episode.observation)
            episode.policy = spec
            connection.send(("episode", index, episode))


def _require_picture(frames: np.ndarray) -> None:
    """Refuse small grids of codes that their space calls images: no picture is so dark throughout.

    Raises:
        RolloutError: the message names the wrapper that helps.
    """
    if min(frames.shape[1:3]) < SMALL_FRAME and (most := int(frames.max())) <= MOST_SEEN_CODE:
        raise RolloutError(f"an observation {frames.shape[1:]} of values up to {most} {NO_PICTURE}")


def _report(connection: Connection, index: int, steps: int) -> None:
    connection.send(("steps", index, steps))


def _pick(info: dict[str, Any], keys: tuple[str, ...], step: int) -> dict[str, np.ndarray]:
    missing = [key for key in keys if key not in info]
    if missing:
        raise RolloutError(
            f"observation {step} has no info {missing[0]!r} to record; "
            f"it has {', '.join(sorted(info)) or 'none'}"
        )
    return {key: np.array(info[key]) for key in keys}


def _stack_info(key: str, rows: list[np.ndarray]) -> np.ndarray:
    if len({row.shape for row in rows}) > 1 or rows[0].dtype.kind not in "biuf":
        raise RolloutError(
            f"info {key!r} is not a numeric array of one shape; leave it out of --record-info"
        )
    return np.stack(rows)
