"""The contents of a rollout store, as text and as a picture."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from dreamenv.core.errors import RolloutError
from dreamenv.core.tables import aligned
from dreamenv.rollouts.failure import Failure
from dreamenv.rollouts.pictures import PICTURE
from dreamenv.rollouts.seeds import HASHED
from dreamenv.rollouts.store import RolloutStore

MOST_KINDS = 20
"""Kinds of failures that are listed."""


def reward_table(store: RolloutStore) -> str:
    """Table of episodes, frames, reward events per 1000 steps and mean return, per policy."""
    rows = [("policy", "episodes", "frames", "events/1000", "mean return")]
    names = np.array(store.policies, dtype=object)
    groups = [(name, names == name) for name in sorted(set(store.policies))]
    groups.append(("all", np.ones(store.num_episodes, np.bool_)))
    for name, chosen in groups:
        steps = int(store.lengths[chosen].sum())
        events = 1000 * int(store.reward_events[chosen].sum()) / max(1, steps)
        mean_return = store.returns[chosen].mean() if chosen.any() else 0.0
        rows.append(
            (name, str(int(chosen.sum())), str(steps), f"{events:.2f}", f"{mean_return:.3f}")
        )
    return "\n".join(aligned(rows))


def skipped_table(store: RolloutStore) -> str:
    """The number of seeds that failed while collecting, and of every kind of failure the first."""
    kinds: dict[tuple[str, str], list[Failure]] = {}
    for failure in store.skipped:
        kinds.setdefault((failure.where, failure.reason), []).append(failure)
    count = len(store.skipped)
    lines = [f"{count} seeds failed and were skipped:" if count > 1 else "1 seed was skipped:"]
    for failures in list(kinds.values())[:MOST_KINDS]:
        more = f" and {len(failures) - 1} more like it" if len(failures) > 1 else ""
        lines.append(f"  {failures[0]}{more}")
    if len(kinds) > MOST_KINDS:
        lines.append(f"  … and {len(kinds) - MOST_KINDS} other kinds")
    return "\n".join(lines)


def endings(store: RolloutStore) -> str:
    """A line on how many episodes terminated, and how many were only cut off."""
    terminated = sum(
        bool(store.read_steps(i)["terminated"][-1:].any()) for i in range(store.num_episodes)
    )
    return f"{terminated} episodes terminated, {store.num_episodes - terminated} were cut off"


def use_in_training(store: RolloutStore, window: int) -> str:
    """A line on what share of the episodes fills a training window of `window` frames."""
    shorter = float((store.lengths + 1 < window).mean())
    return (
        f"every frame counts alike; {shorter:.0%} of the episodes are shorter than a window of "
        f"{window} frames" + (" and padded" if shorter else "")
    )


def describe(store: RolloutStore, window: int = 48) -> str:
    """Counts, spaces, policies, reward events, skipped seeds, bytes and compression of a store.

    Args:
        store: to describe.
        window: frames of a training window, to say what share of the episodes fills one.
    """
    if store.num_episodes == 0:
        return f"{store.path}: rollouts of {store.env_id}, no episodes yet"
    frame_bytes = int(np.prod(store.observation_space.shape))
    frames = store.num_steps + store.num_episodes
    lengths = store.lengths
    lines = {
        "environment": store.env_id,
        "episodes": f"{store.num_episodes} "
        f"of {lengths.min()} to {lengths.max()} steps (mean {lengths.mean():.1f})",
        "steps": f"{store.num_steps}",
        "endings": endings(store),
        "in training": use_in_training(store, window),
        "observation": f"{store.observation_space.shape} uint8",
        "taken as": frames_taken_from(store),
        "action": str(store.action_space),
        "reset seeds": _seeds(store),
        "taken from": ", ".join(sorted({p.source for p in store.provenance if p})),
        "stored": f"{store.stored_bytes / 1e6:.2f} MB, {store.stored_bytes / frames:.0f} bytes "
        f"per frame, {frame_bytes * frames / store.stored_bytes:.2f}x smaller than raw frames",
    }
    lines.update(_told(store))
    header = "\n".join(f"{name:<12} {value}" for name, value in lines.items() if value)
    skipped = f"\n\n{skipped_table(store)}" if store.skipped else ""
    return f"{header}{skipped}\n\n{reward_table(store)}"


def frames_taken_from(store: RolloutStore) -> str:
    """What the frames are of the environment's observations; "" if they are just these."""
    picture = store.metadata.get(PICTURE)
    if not isinstance(picture, dict):
        return ""
    part = f"the entry {picture['key']!r} of the observations, " if picture.get("key") else ""
    shape = store.observation_space.shape
    return f"{part}{picture.get('shown')}, kept as uint8 {shape}"


def _told(store: RolloutStore) -> dict[str, str]:
    """The other settings of the collection, by names under which it can be repeated."""
    settings = store.metadata.get("collect")
    if not isinstance(settings, dict):
        return {}
    told = {
        "arguments": settings.get("env_kwargs"),
        "cut after": settings.get("max_episode_steps"),
        "infos": settings.get("record_info"),
        "agents": settings.get("agents"),
    }
    return {name: json.dumps(value) for name, value in told.items() if value}


def _seeds(store: RolloutStore) -> str:
    known = {seed for seed in store.seeds if seed is not None}
    unknown = store.seeds.count(None)
    told = f"{len(known)} different" + (f", {unknown} unknown" if unknown else "")
    settings = store.metadata.get("collect")
    if isinstance(settings, dict):
        told += f", stream {settings.get('seed')} ({settings.get('seeds', HASHED)})"
    return told


def contact_sheet(store: RolloutStore, episodes: int = 6, frames: int = 8) -> Image.Image:
    """Picture with one episode per row: frames evenly spaced from its first to its last.

    Raises:
        RolloutError: the store is empty.
    """
    if store.num_episodes == 0:
        raise RolloutError(f"{store.path} holds no episodes to draw")
    chosen = np.unique(np.linspace(0, store.num_episodes - 1, episodes).round().astype(int))
    rows = []
    for episode in chosen.tolist():
        moments = np.linspace(0, store.lengths[episode], frames).round().astype(int)
        images = [store.read(episode, t, t).observation[0] for t in moments.tolist()]
        rows.append(np.concatenate(images, axis=1))
    sheet = np.concatenate(rows, axis=0)
    if sheet.shape[2] == 1:
        sheet = sheet[..., 0]
    image = Image.fromarray(sheet)
    scale = max(1, round(96 / store.observation_space.shape[0]))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
