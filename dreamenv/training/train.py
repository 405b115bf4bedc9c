"""From rollouts to a world model: train the tokenizer, encode, train the dynamics."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from dreamenv.core.allocator import keep_freed_memory
from dreamenv.core.device import pick_device
from dreamenv.core.errors import CheckpointError, ConfigError, DreamEnvError, RolloutError
from dreamenv.core.files import atomic_write_json, remove_unfinished
from dreamenv.core.locks import hold_folder
from dreamenv.core.reading import read_object
from dreamenv.rollouts.poses import read_poses
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import stack
from dreamenv.rollouts.windows import Windows, length_of_most
from dreamenv.training.config import TrainConfig
from dreamenv.training.data import LatentWindows, sample_frames
from dreamenv.training.effects import require_effect
from dreamenv.training.fit_config import model_config
from dreamenv.training.rollouts_used import describe_data, require_apart, same_worlds
from dreamenv.training.stage import Stage
from dreamenv.training.widening import widen_state
from dreamenv.world_model.checkpoint import (
    CONFIG,
    checkpoint_folder,
    load_world_model,
    read_config,
    save_world_model,
)
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.bidirectional import BidirectionalDynamics
from dreamenv.world_model.network.heads import widened_head
from dreamenv.world_model.objective import Batch
from dreamenv.world_model.open_loop import imagine_under, psnr
from dreamenv.world_model.preprocessing import fit_frames, to_uint8, to_unit

SAME_MODEL = (
    "architecture", "tokenizer_from", "weights_from", "shortcut_passes", "conditioning", "pose",
    "stride", "rewards",
)  # fmt: skip
"""What a run that is continued must also keep: weights alone would fit another model."""
CLIPS, CONTEXT, HORIZON = 16, 32, 16


def train(config: TrainConfig) -> Path:
    """Train, or go on training, a world model; returns its checkpoint folder.

    Raises:
        RolloutError: the stores are absent, of different environments, or too short.
        ConfigError: the run folder was begun with another environment, preset or seed.
        CheckpointError: what stands in the run folder is damaged.
        FolderInUseError: another run is at work in the run folder.
        DreamEnvError: the disk is full or cannot be written.
    """
    with hold_folder(config.out):
        remove_unfinished(config.out)
        return _train(config)


def _train(config: TrainConfig) -> Path:
    if config.threads:
        torch.set_num_threads(config.threads)
    device = pick_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    store, held_out = RolloutStore(config.data), RolloutStore(config.held_out)
    _require_usable(config, store, held_out)
    out = Path(config.out)
    resumed = _so_far(out, store)
    architecture = model_config(config, store, resumed)
    notes = _require_trainable(config, architecture)
    used = describe_data(config, store, architecture, resumed) + same_worlds(store, held_out)
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
    try:
        _enter_run_folder(out, config, store)
        for line in (*used, *notes):
            print(line, file=sys.stderr)
        if not (config.tokenizer_from or config.weights_from):
            train_tokenizer(model, config, store, held_out)
        if resumed is not None:  # what latents are measured in goes with the weights
            known_as = load_world_model(out, device).tokenizer
            model.tokenizer.latent_mean.copy_(known_as.latent_mean)
            model.tokenizer.latent_std.copy_(known_as.latent_std)
        train_dynamics(model, config, store, held_out, used, resumed)
    except OSError as error:
        raise DreamEnvError(
            f"training stopped: {error}. What was saved in {out} is whole: make room or give "
            "write permission, then run the same command again to continue"
        ) from error
    return out


def _require_usable(config: TrainConfig, store: RolloutStore, held_out: RolloutStore) -> None:
    for what in ("env_id", "observation_space", "action_space"):
        one, other = getattr(store, what), getattr(held_out, what)
        if one != other:
            raise RolloutError(
                f"both stores must be of one environment, but the {what} of {config.data} is "
                f"{one} and that of {config.held_out} is {other}"
            )
    require_apart(store, held_out)
    # Found out now rather than after hours of training.
    Windows(store, config.stride + 1)
    clip_frames(held_out, config.stride)  # two frames are enough for spawns, too


def _so_far(out: Path, store: RolloutStore) -> WorldModelConfig | None:
    """The model that stands in a run folder whose dynamics have begun to train, if any."""
    if not (out / CONFIG).is_file() or not (out / "training" / "dynamics.pt").is_file():
        return None
    config, provenance = read_config(out)
    return config if provenance.get("env_id") == store.env_id else None


def _require_trainable(config: TrainConfig, architecture: WorldModelConfig) -> list[str]:
    """Refuse what cannot be trained; returns notes on options that have no effect."""
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


def _enter_run_folder(out: Path, config: TrainConfig, store: RolloutStore) -> None:
    """Note what the run was told; a run that stands there must be of the same model."""
    path = out / "train_config.json"
    now = {"env_id": store.env_id, **dataclasses.asdict(config)}
    try:
        before = read_object(path) if path.exists() else {}
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); delete it if the rest of {out} is yours"
        ) from error
    preset = () if config.weights_from else ("preset",)  # which brings its architecture
    for name in ("env_id", *preset, "seed", *SAME_MODEL):
        if before.get(name, now[name]) != now[name]:
            raise ConfigError(
                f"{out} was begun with {name} {before[name]!r}, not {now[name]!r}; repeat that to "
                "continue it, or train into another --out"
            )
    atomic_write_json(path, now)


def take_tokenizer(model: WorldModel, checkpoint: str) -> None:
    """Give `model` the tokenizer of another checkpoint."""
    source = load_world_model(checkpoint_folder(checkpoint), model.device)
    model.tokenizer.load_state_dict(source.tokenizer.state_dict())


def train_tokenizer(
    model: WorldModel, run: TrainConfig, store: RolloutStore, held_out: RolloutStore
) -> None:
    """Stage one: frames through the bottleneck and back."""
    size = model.config.frame_size

    def frames(source: RolloutStore, count: int, key: int) -> Tensor:
        rng = np.random.default_rng([run.seed, 1, key])
        return torch.from_numpy(sample_frames(source, count, rng, size)).to(model.device)

    def losses(batch: Tensor, _: int, generator: torch.Generator) -> list[dict[str, Tensor]]:
        with model.autocast():
            return [{"total": model.tokenizer.loss(to_unit(batch), generator)}]

    def evaluate(step: int, writer: SummaryWriter) -> dict[str, float]:
        real = to_unit(frames(held_out, 256, 0))
        with torch.no_grad(), model.autocast():
            decoded = model.tokenizer.decode(model.tokenizer.encode(real), model.config.grid)
        strip = torch.cat([real[:12], decoded[:12]], 1).transpose(0, 1).flatten(1, 2)
        writer.add_image("tokenizer/real_above_decoded", to_uint8(strip), step, dataformats="HWC")
        return {"psnr": float(psnr(real - decoded).mean())}

    Stage(
        "tokenizer",
        run,
        run.tokenizer,
        nn.ModuleDict({"tokenizer": model.tokenizer}),
        nn.Module(),
        lambda i: frames(store, run.tokenizer.batch, i + 1),
        losses,
        run.tokenizer.batch,
        evaluate,
    ).run()


def train_dynamics(
    model: WorldModel,
    run: TrainConfig,
    store: RolloutStore,
    held_out: RolloutStore,
    used: list[str],
    resumed: WorldModelConfig | None = None,
) -> None:
    """Stage two: predict latents, rewards and continuation; saves the checkpoint as it goes.

    `used` says what the rollouts were used for; `resumed` is the model of the run so far, if any.
    """
    cache = Path(run.latents) if run.latents else Path(run.out) / "training" / "latents.npz"
    data = LatentWindows(
        store, model, cache, run.window, run.stride, run.retrace, run.ends, run.pose.split(","),
        keep=bool(resumed or run.weights_from),
    )  # fmt: skip
    sample = data.batch(256, np.random.default_rng([run.seed, 3]), min(run.window, 48))
    if not run.weights_from:  # which were trained under the value that came with them
        change = (sample.latents[:, 1:] - sample.latents[:, :-1])[sample.valid[:, 1:]]
        model.dynamics.change.copy_(change.square().mean().sqrt())
    clips = held_out_clips(held_out, model.config, run)
    model.dynamics.checkpoint_activations = run.checkpoint_activations
    if run.compile:
        # Every layer is compiled for every shape and for training and looking; torch stops at 8.
        torch._dynamo.config.recompile_limit = 8 * len(model.dynamics.layers)
        for layer in model.dynamics.layers:
            layer.compile()
    forcing_from = run.self_forcing_from * run.dynamics.steps
    shortcut_from = run.shortcut_from * run.dynamics.steps

    def make_batch(step: int) -> Batch:
        window = run.window_at(step)
        if isinstance(model.dynamics, BidirectionalDynamics):
            window = model.dynamics.window
        rows = run.dynamics.batch * run.window // window
        return data.batch(rows, np.random.default_rng([run.seed, 2, step]), window)

    def losses(batch: Batch, step: int, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        objective = run.objective
        if step < forcing_from:
            objective = dataclasses.replace(objective, self_forcing=0.0)
        if step < shortcut_from:
            objective = dataclasses.replace(objective, shortcut=0.0)
        batch = batch.to(model.device)
        return model.segment_losses(
            batch, objective, generator, run.segments_at(step), run.state_reset
        )

    def checkpoint(step: int) -> None:
        about = provenance(run, store, step)
        save_world_model(run.out, model, about, card(about, used))

    rewards = model.config.rewards.values
    stage = Stage(
        "dynamics",
        run,
        run.dynamics,
        nn.ModuleDict({"dynamics": model.dynamics, "head": model.head}),
        model.dynamics.layers,
        make_batch,
        losses,
        run.dynamics.batch * run.window,
        lambda step, writer: open_loop_metrics(model, clips, step, writer),
        checkpoint,
        {"reward_values": list(rewards)},
        lambda state: widen_state(state, resumed, rewards, stage.optimizer),
    )
    stage.run()


def provenance(run: TrainConfig, store: RolloutStore, step: int) -> dict[str, Any]:
    """Where a model is from, as stored in its `config.json`."""
    return {
        "env_id": store.env_id,
        "episodes": store.num_episodes,
        "environment_steps": store.num_steps,
        "dynamics_updates": step,
        "training": dataclasses.asdict(run),
    }


def card(about: dict[str, Any], used: list[str]) -> str:
    """The text of `card.md`: what the model learnt from, and what was decided on the way."""
    lines = [
        f"# A world model of {about['env_id']}\n",
        f"{about['dynamics_updates']:,} updates of the dynamics, seed {about['training']['seed']}, "
        f"on {about['episodes']:,} episodes of {about['environment_steps']:,} steps in all.\n",
        *(f"- {line}" for line in used),
    ]
    return "\n".join(lines) + "\n"


def clip_frames(store: RolloutStore, stride: int = 1) -> int:
    """Frames of held-out clips: as many as half of the episodes have, and no more than needed."""
    return length_of_most(store, CONTEXT + HORIZON, least=2, stride=stride)


def held_out_clips(
    store: RolloutStore, config: WorldModelConfig, run: TrainConfig
) -> dict[str, Tensor]:
    """Fixed clips of context and horizon from episodes the model never trains on."""
    rng = np.random.default_rng(0)
    windows = Windows(store, clip_frames(store, run.stride), stride=run.stride)
    places = [windows.locate(int(i)) for i in rng.integers(windows.num_windows, size=CLIPS)]
    clips = stack([windows.read(*place) for place in places])
    actions = clips.action
    if config.conditioning == "pose":
        poses = [
            read_poses(store, episode, run.pose.split(","))[start :: run.stride][: windows.length]
            for episode, start in places
        ]
        actions = np.stack(poses)
    frames = fit_frames(clips.frames, config.frame_size)
    return {"frames": torch.from_numpy(frames), "actions": torch.from_numpy(actions)}


def open_loop_metrics(
    model: WorldModel, clips: dict[str, Tensor], step: int, writer: SummaryWriter
) -> dict[str, float]:
    """PSNR of imagined frames at some steps, beside repeating the last real frame."""
    frames, actions = clips["frames"].to(model.device), clips["actions"].to(model.device)
    context = max(1, frames.shape[1] * CONTEXT // (CONTEXT + HORIZON))
    generator = torch.Generator().manual_seed(0)
    with torch.compiler.set_stance("force_eager"):  # not worth compiling for these shapes
        imagined = imagine_under(model, frames, actions, context, generator).frames
    real = to_unit(frames)
    scores = psnr(real[:, context:] - imagined).mean(0)
    repeated = psnr(real[:, context:] - real[:, context - 1 : context]).mean(0)
    rows = torch.stack([real[:4, context:], imagined[:4]], 1).flatten(0, 1)
    strip = rows.transpose(1, 2).flatten(2, 3).flatten(0, 1)
    writer.add_image("dynamics/real_above_dreamt", to_uint8(strip), step, dataformats="HWC")
    picks = [i for i in (1, 2, 4, 8, 16) if i <= len(scores)]
    metrics = {f"psnr_step_{i}": float(scores[i - 1]) for i in picks}
    return metrics | {f"repeat_psnr_step_{i}": float(repeated[i - 1]) for i in picks}
