"""Playing an agent for the same number of steps per episode in a dream or in a real environment.

An episode's return is the plain sum of its rewards over its first `horizon` steps, or until the
environment terminates it, if that is earlier.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from tqdm import tqdm

from dreamenv.errors import ConfigError, DreamEnvError
from dreamenv.evaluation.agents import Agent
from dreamenv.evaluation.worlds import DEAD_WORKER_ERRORS
from dreamenv.rollouts.episode import Episode
from dreamenv.world_model.preprocessing import fit_frames


def play(
    env: VectorEnv,
    agent: Agent,
    episodes: int,
    horizon: int,
    size: tuple[int, int],
    seed: int = 0,
    progress: str | None = None,
) -> Iterator[Episode]:
    """Play episodes in rounds of `env.num_envs` and yield them in order.

    Args:
        env: a vector environment of uint8 images that resets a slot in the step after its end
            (Gymnasium's `NEXT_STEP`).
        agent: begins without memory of what it did before, and sees frames of `size`.
        episodes: how many; episode i starts from `env.reset(seed=seed + i)`.
        horizon: steps per episode.
        size: height and width of the frames that agent and caller get; the same area averaging
            as in training brings them there.
        seed: of the first episode.
        progress: name of a progress bar over all steps, None for none.

    Raises:
        ConfigError: the environment cut an episode off before `horizon`, or paid no number.
        DreamEnvError: a process of the environment died.
    """
    agent.reset()
    bar = tqdm(total=episodes * horizon, desc=progress, unit=" steps", disable=progress is None)
    for first in range(0, episodes, env.num_envs):
        played = min(env.num_envs, episodes - first)
        seeds = [seed + first + i for i in range(env.num_envs)]
        try:
            steps = _play_round(env, agent, horizon, size, seeds, bar, played)
        except DEAD_WORKER_ERRORS as error:
            raise DreamEnvError(
                "a process of the real environment died (killed, or out of memory?); run the same "
                "command again, with fewer workers if it dies again"
            ) from error
        for i in range(played):
            yield _episode(steps, i, agent.name, seeds[i])
    bar.close()


def _play_round(
    env: VectorEnv,
    agent: Agent,
    horizon: int,
    size: tuple[int, int],
    seeds: list[int],
    bar: tqdm,
    played: int,
) -> dict[str, Any]:
    """One episode in every slot; arrays of what happened, time first."""
    # Gymnasium's vector environments take one seed per slot, though the base class omits it.
    observation, _ = env.reset(seed=seeds)  # type: ignore[arg-type]
    frames = [fit_frames(np.array(observation), size)]
    record: dict[str, list[np.ndarray]] = {"action": [], "reward": [], "terminated": []}
    start, over = np.ones(len(seeds), np.bool_), np.zeros(len(seeds), np.bool_)
    ended = over.copy()
    for t in range(horizon):
        action = agent.act(frames[-1], start)
        observation, reward, terminated, truncated, _ = env.step(action)
        if (truncated & ~terminated & ~over)[:played].any() and t + 1 < horizon:
            raise ConfigError(
                f"the environment cut an episode off after {t + 1} steps, but {horizon} are to be "
                f"played on both sides; choose a horizon of at most {t + 1}"
            )
        if not np.isfinite(np.asarray(reward)[~over]).all():
            raise ConfigError(f"the environment paid {reward} in step {t}, which is no number")
        frames.append(fit_frames(np.array(observation), size))
        record["action"].append(np.array(action))
        record["reward"].append(np.array(reward))
        record["terminated"].append(terminated & ~over)
        bar.update(played)
        # A slot that ended shows its next episode's first frame in the step after.
        start, ended = ended, terminated | truncated
        over |= terminated
        if over[:played].all():
            bar.update(played * (horizon - 1 - t))
            break
    return {"frames": frames, **record}


def _episode(steps: dict[str, Any], slot: int, policy: str, seed: int) -> Episode:
    terminated = np.array([flags[slot] for flags in steps["terminated"]], np.bool_)
    length = int(terminated.argmax()) + 1 if terminated.any() else len(terminated)
    action = np.stack([actions[slot] for actions in steps["action"][:length]])
    integer = np.issubdtype(action.dtype, np.integer)
    last = np.arange(length) == length - 1
    return Episode(
        observation=np.stack([frame[slot] for frame in steps["frames"][: length + 1]]),
        action=action.astype(np.int64 if integer else np.float32),
        reward=np.array([rewards[slot] for rewards in steps["reward"][:length]], np.float32),
        terminated=terminated[:length],
        truncated=last & ~terminated[:length],
        seed=seed,
        policy=policy,
    )
