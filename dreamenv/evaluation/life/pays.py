"""Does a dream pay what the real environment pays? Agents in closed loop, and rewards seen.

Agents that see pixels play from the same places in both worlds, as long as an episode lasts.
Rewards are told per 1,000 steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dreamenv.agents.loading import load_agent
from dreamenv.core.statistics import mean_interval, ratio_interval
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.evaluation.gap.dream_player import play_dream
from dreamenv.evaluation.life.lives import PER
from dreamenv.evaluation.life.windows import step_windows
from dreamenv.evaluation.metrics.rewards import EventReadings, concatenate, match, score_events


def play_agents(
    dream: DreamVectorEnv,
    agents: Sequence[str],
    count: int,
    horizon: int,
    seed: int = 0,
    *,
    trust: bool = False,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Agent → rewards (count, horizon) from each of the first spawns of a dream."""
    found = {}
    for spec in agents:
        agent = load_agent(spec, dream.single_action_space, seed, trust=trust)
        title = f"dream: {spec}" if progress else None
        found[spec] = play_dream(dream, agent, count, horizon, seed, title).rewards
    return found


def closed_loop(
    dream: dict[str, np.ndarray], real: dict[str, np.ndarray], groups: np.ndarray, seed: int = 0
) -> list[dict[str, Any]]:
    """A row for each agent, plain data with intervals over episodes.

    Args:
        dream: agent → rewards (n, h) in the dream.
        real: the same from the same places in the real environment; empty if nobody played there.
        groups: (n,) which episode each place is of.
        seed: of the intervals.

    Returns:
        `dream` and `real` per 1,000 steps, `ratio` of the two, and the first two by steps.
    """

    def mean(rewards: np.ndarray | None) -> dict[str, Any] | None:
        if rewards is None:
            return None
        return mean_interval(PER * rewards.mean(1), groups, seed=seed).to_json()

    rows = []
    for agent, paid in dream.items():
        there = real.get(agent)
        ratio = None
        if there is not None:
            sums = paid.sum(1), there.sum(1)
            ratio = ratio_interval(*sums, groups, seed=seed).to_json()
        by_steps = [
            {
                "steps": list(window),
                "dream": mean(paid[:, window.columns]),
                "real": mean(None if there is None else there[:, window.columns]),
            }
            for window in step_windows(paid.shape[1])
        ]
        whole = {"dream": mean(paid), "real": mean(there), "ratio": ratio}
        rows.append({"agent": agent, "places": len(paid), **whole, "by_steps": by_steps})
    return rows


def rewards_seen(readings: list[EventReadings], seed: int = 0) -> dict[str, Any]:
    """Precision and recall of rewards on real frames, one reading (1, T) of each episode."""
    scores = score_events(concatenate(readings, axis=1))
    correct = np.array([_correct(reading) for reading in readings], np.float64)
    predicted = np.array([reading.predicted.sum() for reading in readings], np.float64)
    events = np.array([reading.real.sum() for reading in readings], np.float64)
    return {
        "episodes": len(readings),
        "frames": scores.frames,
        "events": scores.events,
        "predicted": scores.predicted,
        "precision": ratio_interval(correct, predicted, seed=seed).to_json(),
        "recall": ratio_interval(correct, events, seed=seed).to_json(),
        "average_precision": scores.average_precision,
    }


def _correct(reading: EventReadings) -> int:
    paid = np.where(reading.predicted, reading.score, -np.inf)
    return int(match(paid, reading.real, 0).sum())
