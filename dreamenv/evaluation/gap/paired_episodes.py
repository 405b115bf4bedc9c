"""The same agents from the same spawns in both worlds.

The dream is played first, in batches. The real environment is then brought to each spawn once,
and from there every agent plays, and the actions that the agents reported in full took in the
dream are taken again. What was played is kept on disk, so a killed report goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from tqdm import tqdm

from dreamenv.agents.loading import load_agent
from dreamenv.core.errors import ConfigError
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.evaluation.gap.agents import GapAgent
from dreamenv.evaluation.gap.config import GapConfig
from dreamenv.evaluation.gap.dream_player import play_dream
from dreamenv.evaluation.gap.episodes import PlayCache, Plays, digest, join_plays
from dreamenv.evaluation.gap.real_player import Part, RealPlayer, RealWorld, Visit, Visited
from dreamenv.evaluation.gap.starts import GapSpawns
from dreamenv.evaluation.gap.worker_pool import RealCrew
from dreamenv.evaluation.gap.worlds import make_dream

PROTOCOL = 1
"""Rises when the same configuration means something else, so that no old play is taken for new."""


class Dreams:
    """Dreams from the spawns of a report, for agents of either kind of observation."""

    def __init__(self, config: GapConfig, arguments: dict, spawns: GapSpawns) -> None:
        self._make = cache(
            lambda observation: make_dream(
                config.dream, arguments, spawns.spawns, config.horizon, observation
            )
        )

    def of(self, observation: str) -> DreamVectorEnv:
        """Those that show "frame" or "memory"."""
        return self._make(observation)


@dataclass(frozen=True)
class PairedPlays:
    """What came of all agents; episodes are in the order of the spawns that were reached."""

    reached: np.ndarray
    """(n,) which of the spawns the real environment could be brought to."""
    differences: np.ndarray
    """(spawns,): mean difference of grey levels between the frame found there and the spawn's."""
    dream: dict[str, Plays]
    """Label → an episode from every spawn, reached or not, without frames."""
    real: dict[str, Plays]
    """Label → n episodes; of agents reported in full with their first frames."""
    replayed: dict[str, list[Plays]]
    """Label → n times one episode of the real environment under the agent's dreamt actions; with
    frames where the dream paid. Only of agents reported in full."""


def play_pairs(
    config: GapConfig,
    agents: Sequence[GapAgent],
    spawns: GapSpawns,
    dreams: Dreams,
    world: RealWorld,
    crew: RealCrew,
    plays: PlayCache | None,
) -> PairedPlays:
    """Play every agent from every spawn in the dream and in the real environment.

    Raises:
        ConfigError: the real environment shows another frame at every spawn, or ends episodes by
            itself.
        DreamEnvError: a process of the real environment died.
    """
    dreamt = _play_dreams(config, agents, spawns, dreams, plays)
    parts = [_parts(config, agents, dreamt, i) for i in range(len(spawns))]
    visited = _visit(config, agents, spawns, parts, world, crew, plays)
    differences = np.array([visit.difference for visit in visited])
    reached = np.flatnonzero(differences <= config.match_tolerance)
    if not len(reached):
        raise ConfigError(
            f"the real environment {config.real} shows another frame at all {len(spawns)} "
            f"spawns (mean difference of grey levels {differences.min():.2f} at least): they are "
            "of another environment, or of another version or renderer of it; in the last case "
            "allow for it with --match-tolerance"
        )
    in_full = [agent for agent in agents if agent.in_full and config.exploitation]
    real = {
        agent.label: join_plays([visited[i].plays[number] for i in reached])
        for number, agent in enumerate(agents)
    }
    replayed = {
        agent.label: [visited[i].plays[len(agents) + number] for i in reached]
        for number, agent in enumerate(in_full)
    }
    return PairedPlays(reached, differences, dreamt, real, replayed)


def _play_dreams(
    config: GapConfig,
    agents: Sequence[GapAgent],
    spawns: GapSpawns,
    dreams: Dreams,
    plays: PlayCache | None,
) -> dict[str, Plays]:
    found = {}
    for agent in agents:
        dream = dreams.of(agent.observation)
        key = {
            "protocol": PROTOCOL,
            "dream": dream.loaded.fingerprint,
            "reward": dream.reward,
            "steps": dream.denoising_steps,
            "dtype": str(dream.loaded.model.compute_dtype),
            "agent": agent.identity,
            "spawns": spawns.identity(),
            "horizon": config.horizon,
            "seed": config.seed,
        }
        known = None if plays is None else plays.load(key)
        if known is None:
            player = load_agent(
                agent.spec,
                dream.single_action_space,
                config.seed,
                observation_space=dream.single_observation_space,
                trust=config.trust_agent,
            )
            title = f"dream: {agent.label}" if config.progress else None
            known = play_dream(dream, player, len(spawns), config.horizon, config.seed, title)
            if plays is not None:
                plays.save(key, known)
        found[agent.label] = known
    return found


def _parts(
    config: GapConfig, agents: Sequence[GapAgent], dreamt: dict[str, Plays], spawn: int
) -> list[Part]:
    """What is played at a spawn: all agents, then the dreamt actions of those in full."""
    seed = int(np.random.SeedSequence([config.seed, spawn]).generate_state(1)[0] >> 1)
    frames = config.clip_horizon if config.clips else 0
    parts = [
        Part(seed, agent.spec, agent.observation, frames=frames if agent.in_full else 0)
        for agent in agents
    ]
    for agent in agents:
        if agent.in_full and config.exploitation:
            play = dreamt[agent.label]
            paid = (play.rewards[spawn] > 0).any()
            parts.append(Part(actions=play.actions[spawn], frames=config.horizon if paid else 0))
    return parts


def _visit(
    config: GapConfig,
    agents: Sequence[GapAgent],
    spawns: GapSpawns,
    parts: Sequence[Sequence[Part]],
    world: RealWorld,
    crew: RealCrew,
    kept: PlayCache | None,
) -> list[Visited]:
    """Every spawn: what is known of it, and what is missing from the real environment."""
    identities = {agent.spec: agent.identity for agent in agents}
    sources = spawns.spawns.sources
    found: list[Visited | None] = []
    visits: list[tuple[Visit, list[int]]] = []
    places = [_place(world, sources[i], spawns.spawns.frames[i, -1]) for i in range(len(spawns))]
    keys = [
        [_key(place, world, part, identities) for part in here]
        for place, here in zip(places, parts, strict=True)
    ]
    for i, here in enumerate(parts):
        difference = None if kept is None else kept.load_number(places[i])
        known = [None if kept is None else kept.load(key) for key in keys[i]]
        missing = [number for number, plays in enumerate(known) if plays is None]
        if difference is not None and difference > config.match_tolerance:
            found.append(Visited(i, difference))
            continue
        found.append(Visited(i, difference or 0.0, known))  # type: ignore[arg-type]
        if missing or difference is None:
            frame = spawns.spawns.frames[i, -1]
            visit = Visit(i, sources[i], frame, [here[number] for number in missing])
            visits.append((visit, missing))
    lacking = {visit.index: missing for visit, missing in visits}
    tasks = [visit for visit, _ in visits]
    bar = tqdm(total=len(tasks), desc="real: spawns", unit="spawn", disable=not config.progress)
    for result in crew.run(RealPlayer.visit, tasks):
        i = result.index
        there = found[i]
        assert there is not None
        plays = list(there.plays)
        if kept is not None:
            kept.save_number(places[i], result.difference)
        for number, play in zip(lacking[i], result.plays, strict=False):
            plays[number] = play
            if kept is not None:
                kept.save(keys[i][number], play)
        found[i] = Visited(i, result.difference, plays)
        bar.update()
    bar.close()
    return [visited for visited in found if visited is not None]


def _place(world: RealWorld, source: dict[str, Any], frame: np.ndarray) -> dict[str, Any]:
    """What decides where a visit leads, as plain data."""
    return {
        "protocol": PROTOCOL,
        "real": world.spec.id,
        "kwargs": world.kwargs,
        "source": {name: source[name] for name in ("seed", "actions")},
        "frame": digest(frame.tolist()),
    }


def _key(
    place: dict[str, Any], world: RealWorld, part: Part, identities: dict[str, str]
) -> dict[str, Any]:
    """What decides what is played there, as plain data."""
    agent = None if part.agent is None else identities[part.agent]
    return {
        **place,
        "agent": agent,
        "memory": world.fingerprint if part.observation == "memory" else None,
        "actions": None if part.actions is None else part.actions.tolist(),
        "seed": part.seed,
        "frames": part.frames,
        "size": world.size,
        "horizon": world.horizon,
    }
