"""Playing full episodes of real environments, for transfer."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from tqdm import tqdm

from dreamenv.core.environment_ids import find_spec
from dreamenv.core.errors import ConfigError
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.evaluation.gap.agents import gap_agents
from dreamenv.evaluation.gap.config import GapConfig
from dreamenv.evaluation.gap.episodes import PlayCache
from dreamenv.evaluation.gap.paired_episodes import PROTOCOL
from dreamenv.evaluation.gap.real_player import RealPlayer, RealWorld, WholeEpisode
from dreamenv.evaluation.gap.transfer import Contender, Transfer, with_baseline
from dreamenv.evaluation.gap.worker_pool import RealCrew
from dreamenv.evaluation.gap.worlds import require_alike, require_limit


def real_world(
    config: GapConfig, real_id: str, horizon: int, arguments: dict[str, Any], dream: DreamVectorEnv
) -> RealWorld:
    """The real environment of an id, checked against the dream.

    Raises:
        ConfigError: other spaces, or arguments that it does not take.
        MissingDependencyError: a part of it is not installed.
    """
    spec = find_spec(real_id)
    world = RealWorld(
        spec,
        config.real_kwargs,
        str(arguments["checkpoint"]),
        dream.loaded.fingerprint,
        dream.loaded.model.config.frame_size,
        horizon,
        config.match_tolerance,
    )
    env = world.make()
    try:
        require_alike(spec, env.observation_space, env.action_space, dream)
    finally:
        env.close()
    return world


def play_transfer(
    config: GapConfig,
    arguments: dict[str, Any],
    dream: DreamVectorEnv,
    here: RealCrew,
    kept: PlayCache | None,
) -> list[dict[str, Any]] | None:
    """Full episodes of the contenders in every real environment asked for, as plain data.

    Args:
        config: of the report.
        arguments: of its dream.
        dream: made of them.
        here: plays in the report's own real environment.
        kept: what was played before.

    Raises:
        ConfigError: an environment does not fit the dream, or has no time limit and none is given.
        DreamEnvError: a process of a real environment died.
    """
    if not config.transfer:
        return None
    contenders = with_baseline(list(config.transfer))
    found = []
    for real_id in config.transfer_real or (config.real,):
        spec = find_spec(real_id)
        steps = config.real_horizon or spec.max_episode_steps
        if steps is None:
            raise ConfigError(f"{real_id} has no limit of its own: give --real-horizon")
        require_limit(spec, steps)
        with ExitStack() as stack:
            crew = here
            if real_id != config.real:
                there = real_world(config, real_id, steps, arguments, dream)
                crew = stack.enter_context(RealCrew(there, config.workers))
            returns = _whole_episodes(config, contenders, spec, steps, dream, crew, kept)
        found.append(Transfer(real_id, steps, contenders, returns, config.seed).to_json())
    return found


def _whole_episodes(
    config: GapConfig,
    contenders: list[Contender],
    spec: EnvSpec,
    steps: int,
    dream: DreamVectorEnv,
    crew: RealCrew,
    kept: PlayCache | None,
) -> np.ndarray:
    """Returns (contenders, episodes)."""
    returns = np.full((len(contenders), config.real_episodes), np.nan)
    tasks, keys = [], {}
    for row, contender in enumerate(contenders):
        actions, trust = dream.single_action_space, config.trust_agent
        agent = gap_agents([contender.agent], [], actions, trust)[0]
        for column in range(config.real_episodes):
            key = {
                "protocol": PROTOCOL,
                "real": spec.id,
                "kwargs": config.real_kwargs,
                "agent": agent.identity,
                "memory": dream.loaded.fingerprint if agent.observation == "memory" else None,
                "size": dream.loaded.model.config.frame_size,
                "seed": config.seed + column,
                "steps": steps,
            }
            known = None if kept is None else kept.load(key)
            if known is not None:
                returns[row, column] = known.returns[0]
                continue
            keys[row, column] = key
            seed = config.seed + column
            tasks.append(WholeEpisode((row, column), agent.spec, agent.observation, seed, steps))
    title = f"real: full episodes of {spec.id}"
    bar = tqdm(total=len(tasks), desc=title, unit="episode", disable=not config.progress)
    for place, play in crew.run(RealPlayer.whole_episode, tasks):
        returns[place] = play.returns[0]
        if kept is not None:
            kept.save(keys[place], play)
        bar.update()
    bar.close()
    return returns
