"""Spawns: short stretches of real rollouts, stored with the weights, where dreams begin."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.errors import CheckpointError, RolloutError
from dreamenv.files import atomic_write_bytes
from dreamenv.rollouts.poses import read_poses
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.windows import Windows
from dreamenv.world_model.checkpoint import read_config
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.preprocessing import fit_frames

SPAWNS = "spawns.npz"


@dataclass(frozen=True)
class Spawns:
    """Starting points of episodes.

    Attributes:
        frames: (spawns, t, H, W, C) uint8.
        actions: (spawns, t) or (spawns, t, dims): the action that led to each frame; −1 or NaN
            at the first.
        sources: per spawn `seed`, `policy` and `start`: the real episode and its first step.
    """

    frames: np.ndarray
    actions: np.ndarray
    sources: list[dict[str, Any]]

    def __len__(self) -> int:
        """Number of spawns."""
        return len(self.frames)


def draw_spawns(
    store: RolloutStore,
    count: int,
    length: int,
    size: tuple[int, int],
    seed: int = 0,
    pose: Sequence[str] = (),
    stride: int = 1,
) -> Spawns:
    """Cut `count` stretches of `length` frames, spread evenly over the store's episodes.

    Under `pose`, the infos that make it up, poses stand where actions do, and every `stride`-th
    frame is taken.
    """
    rng = np.random.default_rng(seed)
    span = (length - 1) * stride + 1
    usable = [i for i in range(store.num_episodes) if store.lengths[i] + 1 >= span]
    if not usable:
        raise RolloutError(
            f"no episode of {store.path} has {span} frames for a spawn; "
            "collect longer episodes or store shorter spawns"
        )
    windows = Windows(store, span, usable)
    frames, actions, sources = [], [], []
    for i in range(count):
        episode = usable[i % len(usable)]
        start = int(rng.integers(0, store.lengths[episode] + 2 - span))
        window = windows.read(episode, start)
        frames.append(fit_frames(window["frames"][::stride], size))
        if pose:
            actions.append(read_poses(store, episode, pose)[start : start + span : stride])
        else:
            actions.append(without_first_action(window["action"]))
        source = {"seed": int(store.seeds[episode]), "policy": store.policies[episode]}
        sources.append({**source, "start": start})
    return Spawns(np.stack(frames), np.stack(actions), sources)


def without_first_action(actions: np.ndarray) -> np.ndarray:
    """Actions (t, …) in model time as the model takes them where memory begins, (t,) or (t, d)."""
    if actions.dtype.kind == "f":
        actions = actions.reshape(len(actions), -1)
    actions = actions.copy()
    actions[0] = np.nan if actions.dtype.kind == "f" else -1
    return actions


def save_spawns(folder: str | Path, rollouts: str | Path, count: int, length: int) -> None:
    """Draw spawns from a rollout store and write them into a checkpoint folder.

    Raises:
        RolloutError: the store is of another environment or action space than the model, or
            none of its episodes is long enough.
    """
    config, provenance = read_config(folder)
    store = RolloutStore(rollouts)
    if provenance.get("env_id", store.env_id) != store.env_id:
        raise RolloutError(
            f"{rollouts} holds {store.env_id}, but the world model in {folder} learned "
            f"{provenance['env_id']}; give it rollouts of that"
        )
    if config.conditioning == "pose":
        run = provenance["training"]
        pose, stride = run["pose"].split(","), run["stride"]
    else:
        _require_same_actions(folder, config, rollouts, store)
        pose, stride = [], 1
    spawns = draw_spawns(store, count, length, config.frame_size, pose=pose, stride=stride)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        frames=spawns.frames,
        actions=spawns.actions,
        sources=np.array(json.dumps(spawns.sources)),
    )
    atomic_write_bytes(Path(folder) / SPAWNS, buffer.getvalue())


def _require_same_actions(
    folder: str | Path, config: WorldModelConfig, rollouts: str | Path, store: RolloutStore
) -> None:
    n = int(getattr(store.action_space, "n", 0))
    dims = 0 if n else int(np.prod(store.action_space.shape or ()))
    if (n, dims) != (config.actions.n, len(config.actions.low)):
        raise RolloutError(
            f"{rollouts} has the action space {store.action_space}, but the world model in "
            f"{folder} was made for {config.actions}; give it rollouts of its own environment"
        )


def load_spawns(folder: str | Path) -> Spawns:
    """Read the spawns of a checkpoint folder.

    Raises:
        CheckpointError: they are missing, damaged, or do not fit the model beside them.
    """
    path = Path(folder) / SPAWNS
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no {SPAWNS}, so no dream can begin there; write one with "
            "dreamenv.dream.spawns.save_spawns(folder, rollouts, count, length)"
        )
    try:
        with np.load(path, allow_pickle=False) as stored:
            sources = json.loads(str(stored["sources"]))
            spawns = Spawns(stored["frames"], stored["actions"], sources)
    except Exception as error:  # a damaged zip raises whatever it meets first
        raise CheckpointError(f"{path} is damaged ({error}); copy the checkpoint again") from error
    config, _ = read_config(folder)
    frame = (*config.frame_size, config.frame_channels)
    dims = () if config.actions.discrete else (len(config.actions.low),)
    shapes = spawns.frames.shape[2:], spawns.actions.shape[2:]
    too_large = config.actions.discrete and spawns.actions.max(initial=0) >= config.actions.n
    if shapes != (frame, dims) or too_large or spawns.frames.dtype != np.uint8 or not len(spawns):
        raise CheckpointError(
            f"{path} does not fit the world model beside it: frames {spawns.frames.shape}, "
            f"actions {spawns.actions.shape}; write it anew with dreamenv.dream.spawns.save_spawns"
        )
    return spawns
