"""What lives in a worker of a collection: one environment, of which it records episodes."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import gymnasium

from dreamenv.core.errors import RolloutError
from dreamenv.core.worker_process import Note
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.failure import EpisodeError, Failure, failure_of
from dreamenv.rollouts.pictures import FrameObservation, as_recorded
from dreamenv.rollouts.policies import Policy, make_policy
from dreamenv.rollouts.recording import record_episode
from dreamenv.rollouts.settings import CollectSettings
from dreamenv.rollouts.spaces import require_action_space


class Made(NamedTuple):
    """What the workers of a collection have made."""

    frames: gymnasium.Space
    """The space of the frames that are recorded."""
    actions: gymnasium.Space
    picture: dict[str, str] | None
    """What frames are taken from (`Picture.told`), None if observations are frames."""


class Recorder:
    """An environment, and what acts in it.

    Args:
        settings: what to record.
        note: is told every step.

    Raises:
        Exception: no environment can be made, or a policy does not fit it.
    """

    def __init__(self, settings: CollectSettings, note: Note) -> None:
        self._settings, self._note = settings, note
        self._env = _make(settings)
        self._policies = _policies(settings, self._env)

    def told(self) -> Made:
        """What was made."""
        env = self._env
        picture = env.picture.told if isinstance(env, FrameObservation) else None
        return Made(env.observation_space, env.action_space, picture)

    def do(self, index: int) -> Episode | Failure:
        """Record episode `index`."""
        result = _record(self._env, self._policies, self._settings, index, self._note)
        if isinstance(result, Failure):
            # Whatever the failure left behind must not reach the next episode.
            with contextlib.suppress(Exception):
                self._env.close()
            self._env = _make(self._settings)
        return result

    def close(self) -> None:
        """Free the environment."""
        self._env.close()


def _make(settings: CollectSettings) -> gymnasium.Env:
    env = gymnasium.make(settings.env_id, **settings.env_kwargs)
    env = as_recorded(env, settings.image_key)
    require_action_space(env.action_space)
    return env


def _policies(settings: CollectSettings, env: gymnasium.Env) -> dict[str, Policy]:
    policies = {
        spec: make_policy(spec, settings.loader, settings.agents.get(spec))
        for spec in settings.policies
    }
    for policy in policies.values():
        # Agents are loaded before anything is recorded: what is wrong with them shows at once.
        if prepare := getattr(policy, "prepare", None):
            prepare(env)
    observes = any(getattr(policy, "uses_memory", False) for policy in policies.values())
    if settings.loader is not None and settings.loader.memory and not observes:
        raise RolloutError("no policy observes a world model's memory; leave out --agent-memory")
    return policies


def _record(
    env: gymnasium.Env,
    policies: dict[str, Policy],
    settings: CollectSettings,
    index: int,
    note: Note,
) -> Episode | Failure:
    seed, spec, policy_seed = settings.draw(index)
    try:
        episode = record_episode(
            env,
            policies[spec],
            seed,
            policy_seed,
            settings.max_episode_steps,
            settings.record_info,
            note,
        )
    except EpisodeError as error:
        return failure_of(error, index, seed, spec)
    episode.policy = spec
    return episode
