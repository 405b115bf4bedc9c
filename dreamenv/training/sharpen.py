"""Sharpening: the decoder of a trained world model learns to draw what its bottleneck lost.

A decoder that minimises an error shows the mean of all frames that have the same latents, and so
no texture. Here it goes on training with an adversary beside the error. Latents stay as they are,
and with them everything that dreams: only how a frame looks changes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from dreamenv.core.device import pick_device
from dreamenv.core.errors import CheckpointError, ConfigError, DreamEnvError
from dreamenv.core.files import atomic_write_bytes, atomic_write_json, remove_unfinished
from dreamenv.core.locks import hold_folder
from dreamenv.core.ranges import require_ranges
from dreamenv.core.reading import read_object
from dreamenv.dream.spawns import SPAWNS
from dreamenv.dream.trust import weights_sha256
from dreamenv.rollouts.store import RolloutStore
from dreamenv.training.adversary import Adversary
from dreamenv.training.config import StageConfig
from dreamenv.training.data import sample_pairs
from dreamenv.training.loop import Run, Stage
from dreamenv.training.moving import pixel_weights
from dreamenv.training.rollouts_used import require_apart
from dreamenv.world_model.checkpoint import (
    CARD,
    checkpoint_folder,
    load_world_model,
    read_config,
    save_world_model,
)
from dreamenv.world_model.fitting_rollouts import require_rollouts_of
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.tokenizer import reconstruction_error
from dreamenv.world_model.open_loop import gradient_energy, psnr
from dreamenv.world_model.preprocessing import to_uint8, to_unit

HELD_OUT = 256
"""Frames that sharpness is measured on."""
EASE = 0.05
"""Share of the updates before the adversary counts, and again until it counts in full."""


@dataclass(frozen=True)
class SharpenConfig:
    """A whole run of `dreamenv sharpen`."""

    checkpoint: str
    """Checkpoint whose decoder is trained on: a folder, `bundled:NAME` or hf://user/name."""
    data: str
    """Rollout store to learn from; the one that the checkpoint was trained on will do."""
    held_out: str
    """Rollout store of other seeds, for the metrics."""
    out: str
    """Folder of the new checkpoint; the same command continues what stands there."""
    adversary: float = 0.02
    """Weight of deceiving the adversary, beside 1 of the error; 0 trains without one."""
    gradients: float = 1.0
    """Weight of the mean absolute error of neighbouring pixels' differences."""
    moving_pixels: float = 0.0
    """Weight in the error of pixels that change from frame to frame, beside 1 of all."""
    seed: int = 0
    """Of the adversary's weights, batches and noise."""
    dtype: str = "bfloat16"
    """Of products: bfloat16 or float32."""
    threads: int = 0
    """Torch threads; 0 leaves torch's default."""
    device: str = "auto"
    """Torch device; auto takes CUDA if there is one."""
    decoder: StageConfig = field(
        default_factory=lambda: StageConfig(
            steps=6000, batch=32, learning_rate=3e-4, warmup=50, decay=0.4, ema=0.998
        )
    )
    log_every: int = 20
    """Updates between two rows of losses."""
    evaluate_every: int = 500
    """Updates between two looks at held-out rollouts."""
    checkpoint_every: int = 250
    """Updates between two saves that a killed run goes on from."""

    def __post_init__(self) -> None:
        require_ranges(
            self,
            {
                **{"adversary": 0.0, "gradients": 0.0, "moving_pixels": 0.0, "seed": 0},
                **{"threads": 0, "log_every": 1, "evaluate_every": 1, "checkpoint_every": 1},
            },
        )
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f"dtype is float32 or bfloat16, not {self.dtype!r}")


def sharpen_decoder(config: SharpenConfig) -> Path:
    """Train, or go on training, the decoder of a checkpoint into a new one beside it.

    What dreams is not touched: latents, rewards and continuation stay bit for bit. The new
    checkpoint begins where the old one does (`spawns.npz`); its trust has to be calibrated anew.

    Returns:
        The new checkpoint's folder, `config.out`.

    Raises:
        CheckpointError: the checkpoint is missing or damaged, or what stands in the folder is.
        RolloutError: the stores are absent, of another environment, or share episodes.
        ConfigError: the folder is the checkpoint's own, or was begun from another checkpoint or
            with other settings.
        FolderInUseError: another run is at work in the folder.
        DreamEnvError: the disk is full or cannot be written.
    """
    source, out = checkpoint_folder(config.checkpoint), Path(config.out)
    if out.resolve() == source.resolve():
        raise ConfigError(f"{out} is the checkpoint itself, which stays: choose another --out")
    store, held_out = RolloutStore(config.data), RolloutStore(config.held_out)
    device = pick_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    model = load_world_model(source, device)
    model.compute_dtype = getattr(torch, config.dtype)
    for rollouts in (store, held_out):
        require_rollouts_of(rollouts, model.config, None)
    require_apart(store, held_out)
    with hold_folder(out):
        remove_unfinished(out)
        _enter(out, config, weights_sha256(source))
        try:
            _train(config, model, source, store, held_out)
        except OSError as error:
            raise DreamEnvError(
                f"sharpening stopped: {error}. What was saved in {out} is whole: make room or give "
                "write permission, then run the same command again to continue"
            ) from error
    return out


TOLD = "sharpen_config.json"
MAY_CHANGE = (
    *("data", "held_out", "checkpoint", "out", "threads", "device"),
    *("log_every", "evaluate_every", "checkpoint_every", "decoder"),
)
"""Options that a run which is continued may be given anew."""


def _enter(out: Path, config: SharpenConfig, weights: str) -> None:
    """Note what the run was told; one that stands there must be of the same checkpoint."""
    path = out / TOLD
    now = {"weights_sha256": weights, **dataclasses.asdict(config)}
    try:
        before = read_object(path) if path.exists() else {}
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); delete it if the rest of {out} is yours"
        ) from error
    for name, value in now.items():
        if name not in MAY_CHANGE and before.get(name, value) != value:
            raise ConfigError(
                f"{out} was begun with {name} {before[name]!r}, not {value!r}; repeat that to "
                "continue it, or choose another --out"
            )
    atomic_write_json(path, now)


def _train(
    config: SharpenConfig,
    model: WorldModel,
    source: Path,
    store: RolloutStore,
    held_out: RolloutStore,
) -> None:
    out, (_, about) = Path(config.out), read_config(source)
    if (source / SPAWNS).is_file():
        atomic_write_bytes(out / SPAWNS, (source / SPAWNS).read_bytes())
    card = (source / CARD).read_text("utf-8") if (source / CARD).is_file() else ""
    size, tokenizer = model.config.frame_size, model.tokenizer
    torch.manual_seed(config.seed)
    adversary = Adversary(model.config.frame_channels).to(model.device)
    tokenizer.decoder.requires_grad_(True)

    def frames(rollouts: RolloutStore, count: int, *key: int) -> Tensor:
        """(1, count, H, W, C), or (2, count, H, W, C) with the frames before."""
        rng = np.random.default_rng([config.seed, 4, *key])
        pairs = sample_pairs(rollouts, count, rng, size, before=bool(config.moving_pixels))
        return torch.from_numpy(pairs).to(model.device)

    def losses(batch: Tensor, step: int, generator: torch.Generator) -> list[dict[str, Tensor]]:
        real = to_unit(batch[0])
        weights = pixel_weights(batch, config.moving_pixels) if config.moving_pixels else None
        with model.autocast():
            with torch.no_grad():
                latents = tokenizer.encode(real)
            # Dreamt latents are none that the encoder gave: every frame's are off by some amount.
            amount = torch.rand(len(real), 1, 1, generator=generator)
            noise = amount * torch.randn(latents.shape, generator=generator)
            noisy = latents + tokenizer.config.latent_noise * noise.to(latents)
            decoded = model.decode(noisy).float()
            found = {
                "error": reconstruction_error(decoded, real, weights),
                "gradients": _gradient_error(decoded, real),
            }
            total = found["error"] + config.gradients * found["gradients"]
            if config.adversary:
                deceived, mistaken = adversary.losses(decoded, real)
                ease = step / max(1.0, EASE * config.decoder.steps) - 1
                total = total + config.adversary * min(1.0, max(0.0, ease)) * deceived + mistaken
                found |= {"deceived": deceived, "mistaken": mistaken}
        return [{**found, "total": total}]

    def evaluate(step: int, writer: SummaryWriter) -> dict[str, float]:
        real = to_unit(frames(held_out, HELD_OUT, 0)[0])
        with torch.no_grad(), model.autocast():
            decoded = model.decode(tokenizer.encode(real)).float().clamp(0, 1)
        strip = torch.cat([real[:12], decoded[:12]], 1).transpose(0, 1).flatten(1, 2)
        writer.add_image("decoder/real_above_decoded", to_uint8(strip), step, dataformats="HWC")
        sharpness = gradient_energy(decoded).mean() / gradient_energy(real).mean()
        return {"psnr": float(psnr(real - decoded).mean()), "sharpness": float(sharpness)}

    def save(step: int) -> None:
        told = dataclasses.asdict(config)
        sharpened = {"updates": step, **{k: v for k, v in told.items() if k not in MAY_CHANGE}}
        save_world_model(out, model, {**about, "sharpened": sharpened}, card)

    told = dataclasses.asdict(config)
    every = config.log_every, config.evaluate_every, config.checkpoint_every
    trained = {"decoder": tokenizer.decoder} | (
        {"adversary": adversary} if config.adversary else {}
    )
    Stage(
        "decoder",
        Run(out, config.seed, *every, told),
        config.decoder,
        nn.ModuleDict(trained),
        nn.Module(),
        lambda step, _: frames(store, config.decoder.batch, step + 1),
        losses,
        config.decoder.batch,
        evaluate,
        save,
    ).run()


def _gradient_error(decoded: Tensor, real: Tensor) -> Tensor:
    error = decoded - real
    across, down = error[..., 1:, :] - error[..., :-1, :], error[:, 1:] - error[:, :-1]
    return across.abs().mean() + down.abs().mean()
