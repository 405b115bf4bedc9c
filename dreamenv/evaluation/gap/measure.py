"""The gap report: how far one may trust what happens to an agent in a dream.

`docs/gap.md` is the protocol.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import dreamenv
from dreamenv.agents.loading import require_trust
from dreamenv.core.environment_ids import find_spec
from dreamenv.core.statistics import CONFIDENCE, RESAMPLES, mean_interval, ratio_interval
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.evaluation.gap.agents import GapAgent, gap_agents
from dreamenv.evaluation.gap.config import GapConfig
from dreamenv.evaluation.gap.dream_player import dream_again
from dreamenv.evaluation.gap.episodes import PlayCache, Plays
from dreamenv.evaluation.gap.exploitation import Exploitation
from dreamenv.evaluation.gap.full_episodes import play_transfer, real_world
from dreamenv.evaluation.gap.paired_episodes import Dreams, PairedPlays, play_pairs
from dreamenv.evaluation.gap.ranking import FEWEST, Ranking
from dreamenv.evaluation.gap.starts import GapSpawns, choose_spawns
from dreamenv.evaluation.gap.worker_pool import RealCrew
from dreamenv.evaluation.gap.worlds import dream_arguments, require_limit
from dreamenv.evaluation.metrics.film_strip import paid_strip
from dreamenv.evaluation.metrics.foresight import Foresight, measure_foresight
from dreamenv.evaluation.metrics.held_out_data import draw_clips
from dreamenv.evaluation.metrics.open_loop import CONTEXT, Clips
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.windows import Windows

AROUND = 5
"""Steps shown before and after a reward that the real environment does not confirm."""


@dataclass(frozen=True)
class GapReport:
    """Everything measured."""

    result: dict[str, Any]
    """Plain data, as it stands in the JSON."""
    strips: dict[str, list[np.ndarray]] = field(default_factory=dict, repr=False)
    """Agent → pictures (height, width, 3) uint8 of where the dream pays and the real world not."""
    clips: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    """Name of a set of clips → a picture of the first ones, real above dreamt."""


def measure_gap(config: GapConfig, kept: Path | None = None) -> GapReport:
    """Measure all that a gap report says.

    Args:
        config: what to measure.
        kept: folder for what was played, from which a killed report goes on; None keeps nothing.

    Raises:
        ConfigError: the two environments, the spawns or the numbers do not fit each other.
        CheckpointError: no such agent or checkpoint, or an agent of other spaces.
        UntrustedAgentError: an agent is a saved one, and `trust_agent` was not given.
        RolloutError: the rollouts do not fit the world model.
        MissingDependencyError: a part of the real environment is not installed.
        DreamEnvError: a process of the real environment died.
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
    if config.rollouts is not None and config.clips:  # found out now rather than after all plays
        Windows(RolloutStore(config.rollouts), _watched(spawns) + config.clip_horizon)
    require_limit(spec, int(spawns.steps_before.max()) + config.horizon)
    dreams = Dreams(config, arguments, spawns)
    dream = dreams.of("frame")
    actions, trust = dream.single_action_space, config.trust_agent
    agents = gap_agents(config.agents, config.population, actions, trust)
    with ExitStack() as stack:
        world = real_world(config, config.real, config.horizon, arguments, dream)
        crew = stack.enter_context(RealCrew(world, config.workers))
        cache = None if kept is None else PlayCache(kept)
        pairs = play_pairs(config, agents, spawns, dreams, world, crew, cache)
        reached = spawns.select(pairs.reached)
        transfer = play_transfer(config, arguments, dream, crew, cache)
    foresight = _foresight(config, dream, spawns, pairs, agents)
    exploitation = _exploitation(config, reached, pairs)
    ranking = _ranking(config, reached, pairs, agents) if len(agents) >= FEWEST else None
    result = {
        "dreamenv": dreamenv.__version__,
        "dream": {
            "id": config.dream,
            "weights_sha256": dream.loaded.fingerprint,
            "model_trained_on": dream.loaded.env_id,
            "denoising_passes": dream.denoising_steps or dream.loaded.model.config.sampler.steps,
            "reward": dream.reward,
        },
        "real": {"id": config.real, "kwargs": config.real_kwargs},
        "spawns": _about_spawns(config, spawns, pairs),
        "steps_per_episode": config.horizon,
        "seed": config.seed,
        "interval": f"{CONFIDENCE:.0%} percentile bootstrap, {RESAMPLES} resamples, by episode",
        "agents": [_returns(agent, pairs, reached, config.seed) for agent in agents],
        "ranking": None if ranking is None else ranking.to_json(),
        "open_loop": {name: part.to_json() for name, part in foresight.items()},
        "exploitation": {name: part.to_json() for name, part in exploitation.items()},
        "transfer": transfer,
    }
    strips = {
        agent.label: _strips(config, agent, pairs, exploitation[agent.label], dreams)
        for agent in agents
        if agent.label in exploitation
    }
    return GapReport(result, strips, {name: part.picture() for name, part in foresight.items()})


def _watched(spawns: GapSpawns) -> int:
    """Frames watched of clips of rollouts: as many as spawns have, where those are short."""
    return min(CONTEXT, spawns.spawns.frames.shape[1])


def _foresight(
    config: GapConfig,
    dream: DreamVectorEnv,
    spawns: GapSpawns,
    pairs: PairedPlays,
    agents: list[GapAgent],
) -> dict[str, Foresight]:
    """Name → how well clips are foretold: of the agents in full, and of the rollouts."""
    reached = spawns.select(pairs.reached)
    context = spawns.spawns.frames.shape[1]
    clips: dict[str, tuple[Clips, int]] = {}
    for agent in agents:
        if agent.in_full and config.clips:
            clips[agent.label] = _own_clips(reached, pairs.real[agent.label], config), context
    if config.rollouts is not None and config.clips:
        length = _watched(spawns) + config.clip_horizon
        size = dream.loaded.model.config.frame_size
        drawn = draw_clips(RolloutStore(config.rollouts), config.clips, length, size, config.seed)
        clips["rollouts"] = drawn, _watched(spawns)
    return {
        name: measure_foresight(
            dream.loaded.model,
            part,
            spawns.spawns.frames.mean((0, 1), np.float64),
            dream.loaded.trust(dream.denoising_steps),
            dream.denoising_steps,
            watched,
            config.seed,
            progress=config.progress,
        )
        for name, (part, watched) in clips.items()
        if len(part)
    }


def _exploitation(
    config: GapConfig, spawns: GapSpawns, pairs: PairedPlays
) -> dict[str, Exploitation]:
    """Label → dreamt rewards beside those of the same actions in the real environment."""
    return {
        label: Exploitation(
            pairs.dream[label].rewards[pairs.reached],
            np.concatenate([play.rewards for play in plays]),
            spawns.groups,
            config.tolerance,
            config.seed,
        )
        for label, plays in pairs.replayed.items()
    }


def _ranking(
    config: GapConfig, spawns: GapSpawns, pairs: PairedPlays, agents: list[GapAgent]
) -> Ranking:
    labels = [agent.label for agent in agents]
    return Ranking(
        labels,
        np.stack([pairs.dream[label].returns[pairs.reached] for label in labels]),
        np.stack([pairs.real[label].returns for label in labels]),
        spawns.groups,
        config.seed,
    )


def _about_spawns(config: GapConfig, spawns: GapSpawns, pairs: PairedPlays) -> dict[str, Any]:
    sources = spawns.spawns.sources
    refused = np.setdiff1d(np.arange(len(spawns)), pairs.reached)
    return {
        **spawns.about,
        "asked": config.spawns,
        "drawn": len(spawns),
        "reached": len(pairs.reached),
        "exactly": int((pairs.differences[pairs.reached] == 0).sum()),
        "episodes": len(np.unique(spawns.groups[pairs.reached])),
        "tolerance_grey_levels": config.match_tolerance,
        "refused": [
            {"spawn": int(i), "seed": sources[i]["seed"], "difference": float(pairs.differences[i])}
            for i in refused
        ],
        "steps_from_reset": {
            "mean": float(spawns.steps_before.mean()),
            "max": int(spawns.steps_before.max()),
        },
        "policies": sorted({str(source.get("policy")) for source in sources}),
        "ended_near_a_reward": sum(source.get("near_reward") is not None for source in sources),
    }


def _returns(agent: GapAgent, pairs: PairedPlays, spawns: GapSpawns, seed: int) -> dict[str, Any]:
    """Paired returns of one agent, and how they came step by step."""
    dream, real = pairs.dream[agent.label].rewards[pairs.reached], pairs.real[agent.label].rewards
    groups = spawns.groups
    earned = {"dream": dream.sum(1), "real": real.sum(1)}
    earned["dream_minus_real"] = earned["dream"] - earned["real"]
    varied = np.ptp(earned["dream"]) > 0 and np.ptp(earned["real"]) > 0
    alike = float(np.corrcoef(earned["dream"], earned["real"])[0, 1]) if varied else None
    trust = pairs.dream[agent.label].trust[pairs.reached]
    told = np.isfinite(trust)
    return {
        "agent": agent.label,
        "spec": agent.spec,
        "kind": agent.kind,
        "observation": agent.observation,
        "in_full": agent.in_full,
        "return": {
            **{
                name: mean_interval(values, groups, seed=seed).to_json()
                for name, values in earned.items()
            },
            "correlation_over_spawns": alike,
            "dream_episodes": earned["dream"].tolist(),
            "real_episodes": earned["real"].tolist(),
        },
        "cumulative_reward": {
            name: mean_interval(np.cumsum(rewards, 1), groups, seed=seed).to_json()
            for name, rewards in (("dream", dream), ("real", real))
        }
        if agent.in_full
        else None,
        "trust": ratio_interval(np.where(told, trust, 0.0), told, groups, seed=seed).to_json()
        if agent.in_full and told.any()
        else None,
    }


def _own_clips(spawns: GapSpawns, real: Plays, config: GapConfig) -> Clips:
    """An agent's real episodes, behind the spawns that they began from, in model time."""
    watched, steps = spawns.spawns, config.clip_horizon
    whole = np.flatnonzero(real.lengths >= steps)[: config.clips]
    taken = real.actions[whole, :steps].reshape(len(whole), steps, *watched.actions.shape[2:])
    before = np.zeros((len(whole), watched.actions.shape[1]))
    return Clips(
        np.concatenate([watched.frames[whole], real.frames[whole, :steps]], 1),
        np.concatenate([watched.actions[whole], taken], 1),
        np.concatenate([before, real.rewards[whole, :steps]], 1),
        spawns.groups[whole],
    )


def _strips(
    config: GapConfig, agent: GapAgent, pairs: PairedPlays, case: Exploitation, dreams: Dreams
) -> list[np.ndarray]:
    """Pictures of the largest rewards that the real environment does not confirm."""
    pictures = []
    for episode, step in case.worst(config.strips):
        frames, _ = dream_again(
            dreams.of(agent.observation),
            pairs.dream[agent.label],
            int(pairs.reached[episode]),
            config.seed,
        )
        part = slice(max(0, step - AROUND), step + AROUND + 1)
        pictures.append(
            paid_strip(
                frames[part],
                pairs.replayed[agent.label][episode].frames[0, part],
                case.dream[episode, part],
                case.real[episode, part],
                part.start + 1,
            )
        )
    return pictures
