"""A collection worker: a process that owns one environment and sends back finished episodes."""

from __future__ import annotations

import contextlib
import faulthandler
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import gymnasium

from dreamenv.core.errors import DreamEnvError, RolloutError
from dreamenv.core.interruption import leave_signals_to_parent
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.failure import EpisodeError, Failure, failure_of
from dreamenv.rollouts.pictures import FrameObservation, as_recorded
from dreamenv.rollouts.policies import Policy, make_policy
from dreamenv.rollouts.progress import Progress
from dreamenv.rollouts.recording import record_episode
from dreamenv.rollouts.settings import CollectSettings
from dreamenv.rollouts.spaces import require_action_space


def run_worker(
    connection: Connection, settings: CollectSettings, progress: Progress, dump: Path
) -> None:
    """Record the episodes whose indices arrive on `connection`, until it is closed.

    Sends ("ready", *what it has made) once (`dreamenv.rollouts.worker_pool.Made`), then ("done",
    Episode or Failure) for each, or ("error", message) if there is no point in going on.

    Args:
        connection: to the parent.
        settings: what to record.
        progress: where to note every step.
        dump: file for the stack of a process that crashes, or is asked for it by SIGUSR1.
    """
    leave_signals_to_parent()  # a worker stops when its pipe closes
    with open(dump, "w", encoding="utf-8") as file:
        faulthandler.enable(file, all_threads=False)
        if hasattr(faulthandler, "register"):  # not on Windows
            faulthandler.register(signal.SIGUSR1, file, all_threads=False)
        try:
            _serve(connection, settings, progress)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass  # the parent is gone, and with it the reason to go on
        except Exception as error:
            known = isinstance(error, DreamEnvError)
            with contextlib.suppress(BrokenPipeError):
                text = str(error) if known else f"{type(error).__name__}: {error}"
                connection.send(("error", text))
        finally:
            faulthandler.disable()
            if hasattr(faulthandler, "unregister"):
                faulthandler.unregister(signal.SIGUSR1)


def _serve(connection: Connection, settings: CollectSettings, progress: Progress) -> None:
    env = _make(settings)
    try:
        policies = _policies(settings, env)
        picture = env.picture.told if isinstance(env, FrameObservation) else None
        connection.send(("ready", env.observation_space, env.action_space, picture))
        while (index := connection.recv()) is not None:
            result = _record(env, policies, settings, index, progress)
            connection.send(("done", result))
            if isinstance(result, Failure):
                # Whatever the failure left behind must not reach the next episode.
                with contextlib.suppress(Exception):
                    env.close()
                env = _make(settings)
    finally:
        env.close()


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
    progress: Progress,
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
            progress.note,
        )
    except EpisodeError as error:
        return failure_of(error, index, seed, spec)
    episode.policy = spec
    return episode
