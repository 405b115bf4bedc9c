"""The gap report: how far one may trust what happens to an agent in a dream.

`docs/gap.md` is the protocol.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import dreamenv
from dreamenv.core.statistics import CONFIDENCE, RESAMPLES
from dreamenv.evaluation.gap.agents import GapAgent
from dreamenv.evaluation.gap.config import GapConfig
from dreamenv.evaluation.gap.episodes import EpisodeCache
from dreamenv.evaluation.gap.exploitation import Exploitation
from dreamenv.evaluation.gap.foretold import Foretelling
from dreamenv.evaluation.gap.full_episodes import play_full_episodes
from dreamenv.evaluation.gap.life_panel import read_life
from dreamenv.evaluation.gap.paired_episodes import PairedEpisodes, play_pairs
from dreamenv.evaluation.gap.plan import GapPlan, plan_gap
from dreamenv.evaluation.gap.ranking import FEWEST, Ranking
from dreamenv.evaluation.gap.report import GapReport
from dreamenv.evaluation.gap.returns import Returns
from dreamenv.evaluation.gap.strips import unconfirmed_strips
from dreamenv.evaluation.gap.worker_pool import PlayerPool
from dreamenv.evaluation.metrics.open_loop_evaluation import OpenLoopEvaluation


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
    plan = plan_gap(config)
    life = None if config.life is None else read_life(config.life, plan.dreams.fingerprint)
    cache = None if kept is None else EpisodeCache(kept)
    if plan.world.resized:
        print(f"{config.real}: {plan.world.resized}", file=sys.stderr)
    seed, progress = config.seed, config.progress
    transfer = None
    with PlayerPool(plan.world, config.workers, config.where) as pool:
        pairs = play_pairs(plan.pairing, plan.dreams, plan.world, pool, cache, progress=progress)
        if plan.full is not None:
            transfer = play_full_episodes(plan.full, plan.world, pool, cache, progress=progress)
    groups = pairs.spawns.groups
    foretold = _foretold(plan.foretelling, plan.agents, pairs, progress)
    cases = _exploitation(pairs, config.tolerance, seed)
    ranking = _ranking(plan.agents, pairs, seed) if len(plan.agents) >= FEWEST else None
    result = {
        "dreamenv": dreamenv.__version__,
        "dream": plan.dreams.about(),
        "real": {"id": config.real, "kwargs": config.real_kwargs, "frames": plan.world.resized},
        "spawns": plan.spawns.to_json(pairs.reached, pairs.differences)
        | {"asked": config.spawns, "tolerance_grey_levels": config.match_tolerance},
        "steps_per_episode": config.horizon,
        "seed": seed,
        "interval": f"{CONFIDENCE:.0%} percentile bootstrap, {RESAMPLES} resamples, by episode",
        "agents": [
            Returns(a, pairs.dream(a.label), pairs.real[a.label], groups, seed).to_json()
            for a in plan.agents
        ],
        "ranking": None if ranking is None else ranking.to_json(),
        "open_loop": {name: part.to_json() for name, part in foretold.items()},
        "exploitation": {label: case.to_json() for label, case in cases.items()},
        "transfer": transfer,
        "life": None if life is None else life.result,
    }
    clips = {name: part.picture() for name, part in foretold.items()}
    strips = _strips(plan, pairs, cases, config.strips)
    return GapReport(result, strips, clips, None if life is None else life.picture)


def _foretold(
    foretelling: Foretelling, agents: list[GapAgent], pairs: PairedEpisodes, progress: bool
) -> dict[str, OpenLoopEvaluation]:
    """Name → how well clips are foretold: of the agents in full, and of the rollouts."""
    found: dict[str, Any] = {
        agent.label: foretelling.of_episodes(
            pairs.spawns, pairs.real[agent.label], progress=progress
        )
        for agent in agents
        if agent.in_full
    }
    found["rollouts"] = foretelling.of_rollouts(progress=progress)
    return {name: part for name, part in found.items() if part is not None}


def _exploitation(pairs: PairedEpisodes, tolerance: int, seed: int) -> dict[str, Exploitation]:
    """Label → dreamt rewards beside those of the same actions in the real environment."""
    return {
        label: Exploitation(
            pairs.dream(label).rewards,
            np.concatenate([episode.rewards for episode in replayed]),
            pairs.spawns.groups,
            tolerance,
            seed,
        )
        for label, replayed in pairs.replayed.items()
    }


def _ranking(agents: list[GapAgent], pairs: PairedEpisodes, seed: int) -> Ranking:
    labels = [agent.label for agent in agents]
    return Ranking(
        labels,
        np.stack([pairs.dream(label).returns for label in labels]),
        np.stack([pairs.real[label].returns for label in labels]),
        pairs.spawns.groups,
        seed,
    )


def _strips(
    plan: GapPlan, pairs: PairedEpisodes, cases: dict[str, Exploitation], count: int
) -> dict[str, list[np.ndarray]]:
    """Label → pictures of where the dream paid and the real environment did not."""
    return {
        agent.label: unconfirmed_strips(
            cases[agent.label],
            plan.dreams.of(agent.observation),
            pairs.rounds[agent.label],
            pairs.reached,
            pairs.replayed[agent.label],
            count,
            plan.pairing.seed,
        )
        for agent in plan.agents
        if agent.label in cases
    }
