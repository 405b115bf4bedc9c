"""Full episodes of real environments, played by agents that are to be compared: the transfer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamenv.core.environment_ids import find_spec
from dreamenv.core.errors import ConfigError
from dreamenv.core.progress import progress_bar
from dreamenv.evaluation.gap.agents import GapAgent, gap_agents
from dreamenv.evaluation.gap.dreams import Dreams
from dreamenv.evaluation.gap.episodes import EpisodeCache
from dreamenv.evaluation.gap.paired_episodes import PROTOCOL
from dreamenv.evaluation.gap.real_player import RealPlayer, WholeEpisode
from dreamenv.evaluation.gap.real_world import RealWorld, find_real_world, require_limit
from dreamenv.evaluation.gap.transfer import Contender, Transfer, with_baseline
from dreamenv.evaluation.gap.worker_pool import PlayerPool


@dataclass(frozen=True)
class Venue:
    """A real environment to play full episodes in."""

    env_id: str
    """Its Gymnasium id as it was typed."""
    world: RealWorld
    steps: int
    """Steps of an episode."""


@dataclass(frozen=True)
class FullEpisodes:
    """A plan of full episodes: who plays them, and where."""

    contenders: list[Contender]
    agents: list[GapAgent]
    """Those of the contenders, in their order."""
    venues: list[Venue]
    count: int
    """Episodes of each agent in each of them."""
    seed: int
    """Seed of the first episode; the others follow."""


def plan_full_episodes(
    contenders: Sequence[Contender],
    env_ids: Sequence[str],
    steps: int | None,
    count: int,
    seed: int,
    here: RealWorld,
    dreams: Dreams,
    trust: bool,
) -> FullEpisodes | None:
    """Find the agents and environments of full episodes; None where there is no contender.

    Args:
        contenders: agents, beside one that acts at random.
        env_ids: of real environments.
        steps: of a full episode; None for each environment's own limit.
        count: episodes of each agent in each environment.
        seed: of the first of them.
        here: the real environment of the report.
        dreams: which the agents and environments must fit.
        trust: saved agents may run their authors' code.

    Raises:
        ConfigError: an environment does not fit the dream, or has no time limit and none is given.
        CheckpointError: no such agent, or one of other actions.
        UntrustedAgentError: one is a saved agent, and its author is not trusted.
    """
    if not contenders:
        return None
    everyone = with_baseline(list(contenders))
    agents = [gap_agents([contender.agent], [], dreams.actions, trust)[0] for contender in everyone]
    venues = []
    for env_id in env_ids:
        spec = find_spec(env_id)
        length = steps or spec.max_episode_steps
        if length is None:
            raise ConfigError(f"{env_id} has no limit of its own: give --real-horizon")
        require_limit(spec, length)
        world = here
        if spec is not here.spec:
            world = find_real_world(env_id, here.kwargs, dreams, length, here.tolerance)
        venues.append(Venue(env_id, world, length))
    return FullEpisodes(everyone, agents, venues, count, seed)


def play_full_episodes(
    full: FullEpisodes,
    here: RealWorld,
    pool: PlayerPool,
    cache: EpisodeCache | None = None,
    *,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Play every full episode of a plan; what came of each real environment, as plain data.

    Args:
        full: who plays where.
        here: the report's own real environment.
        pool: plays there; for another environment one as large is made.
        cache: what was played before, and is kept; None keeps nothing.
        progress: show progress bars.

    Raises:
        DreamEnvError: a process of a real environment died.
    """
    found = []
    for venue in full.venues:
        with ExitStack() as stack:
            there = pool
            if venue.world is not here:
                there = stack.enter_context(PlayerPool(venue.world, pool.workers, pool.backend))
            returns = _play(full, venue.world, venue.steps, there, cache, progress)
        transfer = Transfer(venue.env_id, venue.steps, full.contenders, returns, full.seed)
        found.append(transfer.to_json())
    return found


def _play(
    full: FullEpisodes,
    world: RealWorld,
    steps: int,
    pool: PlayerPool,
    cache: EpisodeCache | None,
    progress: bool,
) -> np.ndarray:
    """Returns of all episodes in one real environment, (contenders, episodes)."""
    returns = np.full((len(full.agents), full.count), np.nan)
    tasks, keys = [], {}
    for row, agent in enumerate(full.agents):
        for column in range(full.count):
            seed = full.seed + column
            key = {
                "protocol": PROTOCOL,
                "real": world.spec.id,
                "kwargs": world.kwargs,
                "agent": agent.identity,
                "memory": world.fingerprint if agent.observation == "memory" else None,
                "size": world.size,
                "seed": seed,
                "steps": steps,
            }
            known = None if cache is None else cache.load(key)
            if known is not None:
                returns[row, column] = known.returns[0]
                continue
            keys[row, column] = key
            tasks.append(WholeEpisode((row, column), agent.spec, agent.observation, seed, steps))
    title = f"real: full episodes of {world.spec.id}"
    bar = progress_bar(title=title, unit="episode", total=len(tasks), show=progress)
    for place, episode in pool.run(RealPlayer.whole_episode, tasks):
        returns[place] = episode.returns[0]
        if cache is not None:
            cache.save(keys[place], episode)
        bar.update()
    bar.close()
    return returns
