"""What a session leaves behind: films, rollouts, start states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.core.action_rows import row_type
from dreamenv.core.errors import RolloutError
from dreamenv.play.pictures import decode, film, side_by_side
from dreamenv.play.stage import Stage
from dreamenv.play.timeline import Row, Timeline
from dreamenv.play.worlds import Worlds
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.writer import RolloutWriter

ROLLOUTS = "rollouts"
DREAM = "DreamEnv-v0"
Told = tuple[str, Any, Any, dict[str, Any]]
"""What a store is told of its episodes: id, spaces, metadata."""


def film_of(rows: Sequence[Row], kind: str, fps: float) -> bytes:
    """The pictures of some steps as a film, both worlds side by side where both were seen.

    Args:
        rows: at least one.
        kind: "gif" or "mp4".
        fps: pictures per second.

    Raises:
        MissingDependencyError: as `dreamenv.play.pictures.film`.
    """
    shown = [[seen for seen in (row.dream, row.real) if seen is not None] for row in rows]
    most = max(map(len, shown))
    # Worlds that came or went would change the size of the picture in the middle.
    shown = [each if len(each) == most else each + each[-1:] * (most - len(each)) for each in shown]
    frames = [side_by_side([decode(seen.picture) for seen in each]) for each in shown]
    return film(frames, kind, fps)


async def save_start(stage: Stage, worlds: Worlds, step: int) -> Path:
    """Store the dream's present state, from which episodes can begin; returns its file.

    Raises:
        EnvironmentUsageError: there is no dream.
        OSError: it cannot be written.
    """
    state = await worlds.state()
    assert worlds.pool is not None
    path = stage.new_start(f"{worlds.pool.fingerprint[:8]}-step-{step}")

    def work() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        state.save(path)

    await stage.think(work)
    return path


async def save_rollout(stage: Stage, worlds: Worlds, timeline: Timeline, seed: int) -> str:
    """Store what was played up to now as an episode: of the dream, of the real environment.

    They go to stores of their own, since rollouts of a dream are no truth about an environment.

    Returns:
        The folders.

    Raises:
        RolloutError: nothing was played yet, or it cannot be stored.
    """
    stores: list[Path] = []
    policy = "+".join(dict.fromkeys(row.who for row in timeline.rows[1:]))
    if not policy:
        raise RolloutError("nothing was played yet; take a step first")
    folder = stage.config.out / ROLLOUTS
    if worlds.pool is not None:
        pool = worlds.pool
        frames = [np.asarray(decode(row.dream.picture)) for row in timeline.rows if row.dream]
        episode = _dreamt(worlds, timeline, np.stack(frames), policy)
        about = {"checkpoint": pool.fingerprint, "dreams": pool.env_id}
        store = folder / f"dream-{pool.fingerprint[:8]}"
        space = pool.observation_space["frame"]  # type: ignore[index]
        await _append(stage, store, (DREAM, space, pool.action_space, about), episode)
        stores.append(store)
    if worlds.real is not None:
        episode = await worlds.real.episode(policy)
        about = worlds.real.about
        store = folder / worlds.env_id.rpartition(":")[2].replace("/", "-")
        told: Told = (worlds.env_id, about["observation_space"], about["action_space"], {})
        await _append(stage, store, told, episode)
        stores.append(store)
    return " and ".join(map(str, stores))


def _dreamt(worlds: Worlds, timeline: Timeline, frames: np.ndarray, policy: str) -> Episode:
    shape, dtype = row_type(worlds.action_space)
    steps = len(timeline.actions)
    rewards = [row.dream.told["reward"] for row in timeline.rows[1:] if row.dream]
    terminated, truncated = np.zeros((2, steps), np.bool_)
    last = timeline.rows[-1].dream
    terminated[-1] = last is not None and last.told["over"]
    truncated[-1] = not terminated[-1]  # whoever played stopped here
    return Episode(
        frames,
        np.array(timeline.actions, dtype).reshape(steps, *shape),
        np.array(rewards, np.float32),
        terminated,
        truncated,
        None,
        policy,
    )


async def _append(stage: Stage, store: Path, told: Told, episode: Episode) -> None:
    def work() -> None:
        env_id, observation_space, action_space, metadata = told
        with RolloutWriter(store, env_id, observation_space, action_space, metadata) as writer:
            writer.append(episode)

    await stage.think(work)
