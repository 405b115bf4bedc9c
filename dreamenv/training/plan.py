"""The plan of a run, resolved from its configuration before anything is written or trained."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from dreamenv.core.device import pick_device
from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.dream.spawn_drawing import draw_spawns, spawn_length
from dreamenv.dream.spawns import Spawns
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.windows import Windows
from dreamenv.training.config import TrainConfig
from dreamenv.training.effects import require_effect
from dreamenv.training.fit_config import model_config
from dreamenv.training.held_out import clip_frames
from dreamenv.training.loop import Run
from dreamenv.training.processes import Processes
from dreamenv.training.rollouts_used import (
    describe_data,
    require_apart,
    same_worlds,
    say_frames,
)
from dreamenv.training.run_folder import model_so_far
from dreamenv.world_model.checkpoint import checkpoint_folder, load_world_model, read_config
from dreamenv.world_model.config import RewardConfig, WorldModelConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.heads import widened_head


@dataclass(frozen=True)
class Plan:
    """A run whose stores are open, whose model is made, and that nothing speaks against."""

    run: Run
    store: RolloutStore
    """What the model learns from."""
    held_out: RolloutStore
    """What it is measured on, and what dreams begin with."""
    model: WorldModel
    """On its device; of new weights, but for those that the run was told to take over."""
    resumed: WorldModelConfig | None
    """The model of the run so far, if there is one: it may know fewer rewards."""
    spawns: Spawns
    used: list[str]
    """A sentence each on what the rollouts are used for."""
    notes: list[str]
    """A sentence each on options that have no effect."""


def make_plan(config: TrainConfig, processes: Processes | None = None) -> Plan:
    """Open, check and make all that a run needs.

    Args:
        config: of the run.
        processes: that share it; this one alone by default.

    Raises:
        RolloutError: the stores are absent, of different environments, or too short.
        ConfigError: the options cannot be trained, or do not fit each other or the stores.
        CheckpointError: a checkpoint to begin with is missing or damaged.
    """
    processes = processes or Processes()
    shares = count_shares(config, processes)
    device = pick_device(processes.device(config.device))
    store, held_out = RolloutStore(config.data), RolloutStore(config.held_out)
    require_usable(store, held_out, config.stride)
    out = Path(config.out)
    resumed = model_so_far(out, store.env_id)
    architecture = model_config(config, store, held_out, resumed)
    notes = require_trainable(config, architecture)
    used = describe_data(
        store,
        architecture.rewards,
        _rewards_known(config, resumed),
        kind=config.rewards,
        window=config.window,
        stride=config.stride,
        ends=config.ends,
    )
    pose, size = config.pose_infos, architecture.frame_size
    length = spawn_length(held_out, config.spawn_frames, config.stride)
    spawns = draw_spawns(held_out, config.spawns, length, size, pose=pose, stride=config.stride)
    return Plan(
        Run(
            out,
            config.seed,
            config.log_every,
            config.evaluate_every,
            config.checkpoint_every,
            dataclasses.asdict(config),
            shares,
            processes,
        ),
        store,
        held_out,
        _make_model(config, architecture, device),
        resumed,
        spawns,
        say_frames(store, architecture) + used + same_worlds(store, held_out),
        notes,
    )


def count_shares(config: TrainConfig, processes: Processes) -> int:
    """The number of equal shares that every batch is computed in.

    Raises:
        ConfigError: the processes, or the batches, do not go into so many.
    """
    shares = config.shares or processes.count
    if shares % processes.count:
        raise ConfigError(
            f"{processes.count} processes cannot have equal parts of {shares} shares: make shares "
            "a multiple of the number of processes, or leave it out"
        )
    own = not (config.weights_from or config.tokenizer_from)
    for stage in ("tokenizer", "dynamics") if own else ("dynamics",):
        batch = getattr(config, stage).batch
        if batch % shares:
            raise ConfigError(
                f"{stage}.batch {batch} does not fall into {shares} equal shares: change it, or "
                "shares, or the number of processes"
            )
    return shares


def require_usable(store: RolloutStore, held_out: RolloutStore, stride: int) -> None:
    """Refuse stores that do not go together, or whose episodes are too short.

    Raises:
        RolloutError: says what they are of.
    """
    for what in ("env_id", "observation_space", "action_space"):
        one, other = getattr(store, what), getattr(held_out, what)
        if one != other:
            raise RolloutError(
                f"both stores must be of one environment, but the {what} of {store.path} is "
                f"{one} and that of {held_out.path} is {other}"
            )
    require_apart(store, held_out)
    # Found out now rather than after hours of training.
    Windows(store, 2, stride=stride)
    clip_frames(held_out, stride)


def require_trainable(config: TrainConfig, architecture: WorldModelConfig) -> list[str]:
    """Refuse what cannot be trained.

    Returns:
        Notes on options that have no effect.

    Raises:
        ConfigError: says what does not go together.
    """
    dynamics, segment = architecture.dynamics, config.window // config.segments
    if dynamics.attention == "bidirectional":  # cuts every window, the shortest too, into its own
        segment = config.window_from or segment
    if dynamics.attention in ("window", "bidirectional") and dynamics.attention_window >= segment:
        raise ConfigError(
            f"attention over {dynamics.attention_window} frames before needs training windows of "
            f"more than that, not {segment}: raise window or lower dynamics.attention_window"
        )
    if dynamics.attention == "bidirectional" and config.segments > 1:
        raise ConfigError("bidirectional attention hands no memory on: set segments to 1")
    return require_effect(config, architecture)


def _rewards_known(config: TrainConfig, resumed: WorldModelConfig | None) -> RewardConfig | None:
    if resumed is None and config.weights_from:
        resumed, _ = read_config(checkpoint_folder(config.weights_from))
    return None if resumed is None else resumed.rewards


def _make_model(
    config: TrainConfig, architecture: WorldModelConfig, device: torch.device
) -> WorldModel:
    torch.manual_seed(config.seed)
    model = WorldModel(architecture).to(device)
    model.compute_dtype = getattr(torch, config.dtype)
    if config.tokenizer_from:
        take_tokenizer(model, config.tokenizer_from)
    if config.weights_from:
        source = load_world_model(checkpoint_folder(config.weights_from), device)
        known = source.config.rewards.values
        tensors = widened_head(source.state_dict(), known, architecture.rewards.values)
        # Shortcuts that are new to it begin with weights of zero, as if nobody had asked.
        model.load_state_dict(model.state_dict() | tensors)
    return model


def take_tokenizer(model: WorldModel, checkpoint: str) -> None:
    """Give `model` the tokenizer of another checkpoint, a folder or `bundled:NAME`."""
    source = load_world_model(checkpoint_folder(checkpoint), model.device)
    model.tokenizer.load_state_dict(source.tokenizer.state_dict())
