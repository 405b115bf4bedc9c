"""The use that a run makes of its rollouts: how much of them, and that held-out ones are others."""

from __future__ import annotations

import hashlib

import numpy as np

from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.rollouts.overlap import shared_episodes
from dreamenv.rollouts.store import RolloutStore
from dreamenv.training.config import TrainConfig
from dreamenv.training.rewards import all_rewards, fit_rewards, say_rewards
from dreamenv.training.stretches import Stretches
from dreamenv.world_model.config import RewardConfig, WorldModelConfig


def require_apart(store: RolloutStore, held_out: RolloutStore) -> None:
    """Check that no held-out episode is one of those to learn from.

    Raises:
        RolloutError: some are; says how to collect others.
    """
    known = {_steps_digest(store, i): i for i in range(store.num_episodes)}
    shared = []
    for i in range(held_out.num_episodes):
        twin = known.get(_steps_digest(held_out, i))
        if twin is not None and _ends_alike(store, twin, held_out, i):
            shared.append(i)
    if shared:
        raise RolloutError(
            f"{len(shared)} of the {held_out.num_episodes} episodes of {held_out.path} are also in "
            f"{store.path} (the first: episode {shared[0]}, reset seed "
            f"{_told(held_out.seeds[shared[0]])}), so scores on them would say nothing: collect "
            "held-out episodes with another --seed, whose episodes are others"
        )


def same_worlds(store: RolloutStore, held_out: RolloutStore) -> list[str]:
    """A line if held-out episodes begin as training episodes do, though they go on otherwise."""
    shared = shared_episodes(store, held_out)
    if not shared:
        return []
    return [
        f"held out: {shared} of {held_out.num_episodes} episodes begin from reset seeds that are "
        "trained on, so in the same places: what is measured there says little about new ones; "
        "collect held-out rollouts with another --seed"
    ]


def say_frames(store: RolloutStore, model: WorldModelConfig) -> list[str]:
    """A line each where frames are an entry of the observations, or are resized."""
    lines = []
    if model.image_key:
        lines.append(f"frames: the entry {model.image_key!r} of the environment's observations")
    height, width = store.observation_space.shape[:2]
    if (height, width) != model.frame_size:
        here = f"{model.frame_size[0]}×{model.frame_size[1]}"
        lines.append(
            f"frames: {height}×{width} pixels are resized to {here} ({model.resize} averaging), "
            "here and wherever the model meets the real environment; "
            f"--frame-size {height} {width} keeps them as they are"
        )
    return lines


def _told(seed: int | None) -> str:
    return "unknown" if seed is None else str(seed)


def _steps_digest(store: RolloutStore, episode: int) -> bytes:
    steps = store.read_steps(episode)
    digest = hashlib.sha256()
    for name in ("action", "reward", "terminated"):
        digest.update(np.ascontiguousarray(steps[name]).tobytes())
    return digest.digest()


def _ends_alike(one: RolloutStore, i: int, other: RolloutStore, j: int) -> bool:
    """Tell whether two episodes of equal steps begin and end with the same frames."""
    return all(
        np.array_equal(one.read(i, t, t).observation, other.read(j, t, t).observation)
        for t in (0, int(one.lengths[i]))
    )


def describe_data(
    store: RolloutStore,
    rewards: RewardConfig,
    known: RewardConfig | None = None,
    *,
    kind: str,
    window: int,
    stride: int,
    ends: float,
) -> list[str]:
    """Lines on what share of the rollouts trains the dynamics, and what their rewards are.

    Args:
        store: the rollouts.
        rewards: those that the model is to know.
        known: those that it knows already, if it was trained before.
        kind: of rewards, as the run was told.
        window: most frames of a window.
        stride: every so many frames of an episode make a window.
        ends: share of windows that end where an episode terminated.

    Raises:
        ConfigError: windows are to end where episodes terminate, and none does.
    """
    lengths = store.lengths + 1
    ended = [bool(store.read_steps(i)["terminated"][-1:].any()) for i in range(store.num_episodes)]
    terminated = np.array(ended)
    stretches = Stretches(lengths, terminated, window, stride)
    lines = [
        f"data: {int(lengths.sum()):,} frames of {len(lengths)} episodes; every frame with one "
        f"before it is trained on equally often, in {stretches.episodes} of the episodes"
    ]
    if stretches.shorter:
        shortest, longest = int(lengths.min()), int(lengths.max())
        lines.append(
            f"windows: {stretches.shorter / len(lengths):.0%} of the episodes ({shortest} … "
            f"{longest} frames) are shorter than a window of {window} and padded; "
            f"{stretches.filled:.0%} of all places are filled"
        )
        if stride * (window - 1) >= longest:
            lines.append("windows: no episode is that long: a shorter window trains in less time")
    if stretches.endings:
        lines.append(
            f"ends: {int(terminated.sum())} episodes terminated; {ends:.0%} of windows end "
            "there, beside those of the others that do"
        )
    elif ends not in (0, TrainConfig.ends):
        raise ConfigError(f"ends {ends} has no effect: no episode of {store.path} terminated")
    else:
        lines.append("ends: no episode terminated, so dreams will not end by themselves")
    _, why = fit_rewards(all_rewards(store), kind, known)
    return [*lines, say_rewards(rewards, why)]
