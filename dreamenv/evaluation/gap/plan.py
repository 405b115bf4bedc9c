"""A gap report's configuration, resolved: everything that it names is found, loaded and checked."""

from __future__ import annotations

from dataclasses import dataclass

from dreamenv.agents.finding import require_trust
from dreamenv.core.environment_ids import find_spec
from dreamenv.evaluation.gap.agents import GapAgent, gap_agents
from dreamenv.evaluation.gap.config import GapConfig
from dreamenv.evaluation.gap.dreams import Dreams, dream_arguments
from dreamenv.evaluation.gap.foretold import Foretelling
from dreamenv.evaluation.gap.full_episodes import FullEpisodes, plan_full_episodes
from dreamenv.evaluation.gap.paired_episodes import Pairing
from dreamenv.evaluation.gap.real_world import RealWorld, find_real_world, require_limit
from dreamenv.evaluation.gap.starts import GapSpawns, choose_spawns
from dreamenv.rollouts.store import RolloutStore


@dataclass(frozen=True)
class GapPlan:
    """A resolved gap report: what it plays and measures. What is below knows no configuration."""

    agents: list[GapAgent]
    spawns: GapSpawns
    dreams: Dreams
    """Dreams from the spawns, with the loaded world model."""
    world: RealWorld
    pairing: Pairing
    foretelling: Foretelling
    full: FullEpisodes | None
    """Full episodes for the transfer; None where none were asked for."""


def plan_gap(config: GapConfig) -> GapPlan:
    """Find, load and check all that `config` names; nothing is played yet.

    Raises:
        ConfigError: the two environments, the spawns or the numbers do not fit each other.
        CheckpointError: no such agent or checkpoint, or an agent of other spaces.
        UntrustedAgentError: an agent is a zip, and `trust_agent` was not given.
        RolloutError: the rollouts do not fit the world model.
        MissingDependencyError: a part of a real environment is not installed.
    """
    contenders = [contender.agent for contender in config.transfer]
    require_trust([*config.agents, *config.population, *contenders], config.trust_agent)
    spec = find_spec(config.real)
    arguments = dream_arguments(config.dream, config.dream_kwargs)
    spawns = choose_spawns(
        arguments["checkpoint"],
        config.spawns,
        config.rollouts,
        config.latest_start,
        config.near_rewards,
        config.seed,
    )
    require_limit(spec, int(spawns.steps_before.max()) + config.horizon)
    dreams = Dreams(config.dream, arguments, spawns.spawns, config.horizon)
    store = None if config.rollouts is None else RolloutStore(config.rollouts)
    foretelling = Foretelling(dreams, spawns, config.clips, config.clip_horizon, config.seed, store)
    agents = gap_agents(config.agents, config.population, dreams.actions, config.trust_agent)
    world = find_real_world(
        config.real, config.real_kwargs, dreams, config.horizon, config.match_tolerance
    )
    full = plan_full_episodes(
        config.transfer,
        config.transfer_real or (config.real,),
        config.real_horizon,
        config.real_episodes,
        config.seed,
        world,
        dreams,
        config.trust_agent,
    )
    pairing = Pairing(agents, spawns, config.seed, foretelling.frames, config.exploitation)
    return GapPlan(agents, spawns, dreams, world, pairing, foretelling, full)
