"""The same agents from the same spawns in both worlds.

The dream is played first, in batches. The real environment is then brought to each spawn once,
and from there every agent plays, and the actions that the agents reported in full took in the
dream are taken again. What was played is kept on disk, so a killed report goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamenv.core.errors import ConfigError
from dreamenv.core.progress import progress_bar
from dreamenv.evaluation.gap.agents import GapAgent
from dreamenv.evaluation.gap.dream_player import play_dream
from dreamenv.evaluation.gap.dreams import Dreams
from dreamenv.evaluation.gap.episodes import EpisodeCache, Episodes, digest, join_episodes
from dreamenv.evaluation.gap.real_player import Part, RealPlayer, Visit, Visited
from dreamenv.evaluation.gap.real_world import RealWorld
from dreamenv.evaluation.gap.starts import GapSpawns
from dreamenv.evaluation.gap.worker_pool import PlayerPool

PROTOCOL = 1
"""Rises when the same plan means something else, so that no old episode is taken for a new one."""


@dataclass(frozen=True)
class Pairing:
    """A plan of paired episodes: what is played from every spawn."""

    agents: Sequence[GapAgent]
    spawns: GapSpawns
    seed: int
    """Seed of the agents' randomness and the dreams' noise."""
    frames: int
    """First frames that are kept of the real episodes of agents reported in full."""
    replay: bool
    """Whether the actions that these took in the dream are taken again in the real environment."""

    @property
    def replayed(self) -> list[GapAgent]:
        """Agents whose dreamt actions are taken again."""
        return [agent for agent in self.agents if agent.in_full and self.replay]


@dataclass(frozen=True)
class PairedEpisodes:
    """Episodes of all agents in both worlds, in the order of the spawns that were reached."""

    spawns: GapSpawns
    """The n spawns that the real environment could be brought to."""
    reached: np.ndarray
    """(n,) which of all spawns these are."""
    differences: np.ndarray
    """(all spawns,): mean difference of grey levels between the frame found and the spawn's."""
    rounds: dict[str, Episodes]
    """Label → a dreamt episode from every spawn, reached or not, without frames."""
    real: dict[str, Episodes]
    """Label → n episodes; of agents reported in full with their first frames."""
    replayed: dict[str, list[Episodes]]
    """Label → n times one episode of the real environment under the agent's dreamt actions; with
    frames where the dream paid. Only of agents reported in full."""

    def dream(self, label: str) -> Episodes:
        """An agent's n dreamt episodes."""
        return self.rounds[label].select(self.reached)


def play_pairs(
    pairing: Pairing,
    dreams: Dreams,
    world: RealWorld,
    pool: PlayerPool,
    cache: EpisodeCache | None = None,
    *,
    progress: bool = False,
) -> PairedEpisodes:
    """Play every agent from every spawn in the dream and in the real environment.

    Args:
        pairing: what to play.
        dreams: from the spawns.
        world: the real environment.
        pool: plays there.
        cache: what was played before, and is kept; None keeps nothing.
        progress: show progress bars.

    Raises:
        ConfigError: the real environment shows another frame at every spawn, or ends episodes by
            itself.
        DreamEnvError: a process of the real environment died.
    """
    agents, spawns = pairing.agents, pairing.spawns
    dreamt = _play_dreams(pairing, dreams, cache, progress)
    parts = [_parts(pairing, dreamt, i, dreams.horizon) for i in range(len(spawns))]
    visited = _visit(pairing, parts, world, pool, cache, progress)
    differences = np.array([visit.difference for visit in visited])
    reached = np.flatnonzero(differences <= world.tolerance)
    if not len(reached):
        raise ConfigError(
            f"the real environment {world.spec.id} shows another frame at all {len(spawns)} "
            f"spawns (mean difference of grey levels {differences.min():.2f} at least): they are "
            "of another environment, or of another version or renderer of it; in the last case "
            "allow for it with --match-tolerance"
        )
    real = {
        agent.label: join_episodes([visited[i].episodes[number] for i in reached])
        for number, agent in enumerate(agents)
    }
    replayed = {
        agent.label: [visited[i].episodes[len(agents) + number] for i in reached]
        for number, agent in enumerate(pairing.replayed)
    }
    return PairedEpisodes(spawns.select(reached), reached, differences, dreamt, real, replayed)


def _play_dreams(
    pairing: Pairing, dreams: Dreams, cache: EpisodeCache | None, progress: bool
) -> dict[str, Episodes]:
    found, spawns = {}, pairing.spawns
    for agent in pairing.agents:
        key = {
            "protocol": PROTOCOL,
            **dreams.identity(),
            "agent": agent.identity,
            "spawns": spawns.identity(),
            "horizon": dreams.horizon,
            "seed": pairing.seed,
        }
        known = None if cache is None else cache.load(key)
        if known is None:
            dream = dreams.of(agent.observation)
            player = agent.load(
                dream.single_action_space, pairing.seed, dream.single_observation_space
            )
            title = f"dream: {agent.label}" if progress else None
            known = play_dream(dream, player, len(spawns), dreams.horizon, pairing.seed, title)
            if cache is not None:
                cache.save(key, known)
        found[agent.label] = known
    return found


def _parts(pairing: Pairing, dreamt: dict[str, Episodes], spawn: int, horizon: int) -> list[Part]:
    """What is played at a spawn: all agents, then the dreamt actions of those in full."""
    seed = int(np.random.SeedSequence([pairing.seed, spawn]).generate_state(1)[0] >> 1)
    parts = [
        Part(seed, agent.spec, agent.observation, frames=pairing.frames if agent.in_full else 0)
        for agent in pairing.agents
    ]
    for agent in pairing.replayed:
        episodes = dreamt[agent.label]
        paid = (episodes.rewards[spawn] > 0).any()
        parts.append(Part(actions=episodes.actions[spawn], frames=horizon if paid else 0))
    return parts


def _visit(
    pairing: Pairing,
    parts: Sequence[Sequence[Part]],
    world: RealWorld,
    pool: PlayerPool,
    cache: EpisodeCache | None,
    progress: bool,
) -> list[Visited]:
    """Every spawn: what is known of it, and what is missing from the real environment."""
    identities = {agent.spec: agent.identity for agent in pairing.agents}
    sources, frames = pairing.spawns.spawns.sources, pairing.spawns.spawns.frames[:, -1]
    found: list[Visited] = []
    visits: list[tuple[Visit, list[int]]] = []
    places = [_place(world, *there) for there in zip(sources, frames, strict=True)]
    keys = [
        [_key(place, world, part, identities) for part in here]
        for place, here in zip(places, parts, strict=True)
    ]
    for i, here in enumerate(parts):
        difference = None if cache is None else cache.load_number(places[i])
        known = [None if cache is None else cache.load(key) for key in keys[i]]
        missing = [number for number, episodes in enumerate(known) if episodes is None]
        if difference is not None and difference > world.tolerance:
            found.append(Visited(i, difference))
            continue
        found.append(Visited(i, difference or 0.0, known))  # type: ignore[arg-type]
        if missing or difference is None:
            visit = Visit(i, sources[i], frames[i], [here[number] for number in missing])
            visits.append((visit, missing))
    lacking = {visit.index: missing for visit, missing in visits}
    tasks = [visit for visit, _ in visits]
    bar = progress_bar(title="real: spawns", unit="spawn", total=len(tasks), show=progress)
    for result in pool.run(RealPlayer.visit, tasks):
        i = result.index
        played = list(found[i].episodes)
        if cache is not None:
            cache.save_number(places[i], result.difference)
        for number, episodes in zip(lacking[i], result.episodes, strict=False):
            played[number] = episodes
            if cache is not None:
                cache.save(keys[i][number], episodes)
        found[i] = Visited(i, result.difference, played)
        bar.update()
    bar.close()
    return found


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
