"""Checks of what a new collection is told, before any process is started."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.policies import AGENT, AgentLoader, make_policy, require_loader
from dreamenv.rollouts.settings import CollectSettings
from dreamenv.rollouts.spaces import NO_PICTURE

# MiniGrid's observations, which are declared as images, are at most 25 cells wide and end at 10.
SMALL_FRAME, MOST_SEEN_CODE = 32, 10


def check_settings(settings: CollectSettings) -> None:
    """Refuse what is wrong, and what would have no effect.

    Raises:
        RolloutError: says what and why.
        MissingDependencyError: a policy needs a package that is not installed.
    """
    _check_policies(settings.policies, settings.loader)
    _check_infos(settings.record_info)
    find_environment(settings.env_id)
    _check_episode_steps(settings)


def find_environment(env_id: str) -> None:
    """Import the module of an environment, if the id names one, and look the id up.

    Raises:
        RolloutError: there is no such module or id.
    """
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        gymnasium.spec(name)
    except (gymnasium.error.Error, ImportError) as error:
        raise RolloutError(
            f"{error} Write 'module:id' for an id that is registered when a module is imported."
        ) from None


def env_limit(env_id: str, env_kwargs: Mapping[str, Any]) -> int | None:
    """Steps after which the environment itself cuts an episode off; None: never."""
    limit = env_kwargs.get("max_episode_steps")
    if limit is None:
        limit = gymnasium.spec(env_id.rpartition(":")[2]).max_episode_steps
    return None if limit == -1 else limit


def require_picture(frames: np.ndarray) -> None:
    """Refuse small grids of codes that their space calls images: no picture is so dark throughout.

    Raises:
        RolloutError: the message names the wrapper that helps.
    """
    if min(frames.shape[1:3]) < SMALL_FRAME and (most := int(frames.max())) <= MOST_SEEN_CODE:
        raise RolloutError(f"an observation {frames.shape[1:]} of values up to {most} {NO_PICTURE}")


def identify_agents(
    policies: Iterable[str], loader: AgentLoader | None
) -> dict[str, dict[str, str]]:
    """Tell what identifies each of the policies that are agents.

    Raises:
        UntrustedAgentError: one is a file that could run code, and is not trusted.
        CheckpointError: there is no such agent, or no such checkpoint.
        RolloutError: a memory is named, but no agent; or nothing loads agents.
    """
    agents = [spec for spec in policies if spec.startswith(AGENT)]
    if not agents:
        if loader is not None and loader.memory:
            raise RolloutError("--agent-memory is for agents; no policy is one (agent:PATH)")
        return {}
    found = require_loader(loader, agents[0]).identify([s.removeprefix(AGENT) for s in agents])
    return dict(zip(agents, found, strict=True))


def _check_policies(policies: Mapping[str, float], loader: AgentLoader | None) -> None:
    weights = policies.values()
    if not policies or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
        raise RolloutError(f"policies need weights above 0: {dict(policies)}")
    for spec, weight in policies.items():
        make_policy(spec, loader)
        if weight == 0:
            raise RolloutError(
                f"the policy {spec!r} has weight 0 and would never act; leave it out"
            )


def _check_infos(keys: Sequence[str]) -> None:
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise RolloutError(f"the info {twice[0]!r} is to be recorded twice; name it once")
    for key in keys:
        if not all(part.strip(".") for part in key.split("/")):
            raise RolloutError(f"the info {key!r} cannot be recorded: its name is no file name")


def _check_episode_steps(settings: CollectSettings) -> None:
    steps = settings.max_episode_steps
    if steps is None:
        return
    if steps < 1:
        raise RolloutError(f"episodes need at least 1 step, not {steps}")
    limit = env_limit(settings.env_id, settings.env_kwargs)
    if limit is not None and steps > limit:
        raise RolloutError(
            f"--max-episode-steps {steps} would have no effect: {settings.env_id} itself ends "
            f"episodes after {limit} steps; to change that limit give --env-kwargs "
            f"'{{\"max_episode_steps\": {steps}}}' instead"
        )
