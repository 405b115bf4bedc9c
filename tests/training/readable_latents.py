"""A world model whose latents are numbers to read, so that any misplaced frame is visible."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from dreamenv.training.data import LatentWindows
from dreamenv.world_model.config import ActionConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import Batch
from tests.world_model.models import tiny_config


class NumberTokenizer(torch.nn.Module):
    """Latents that are the frame's step number and its episode's seed, as the pixels say."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("latent_mean", torch.zeros(2))
        self.register_buffer("latent_std", torch.ones(2))
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.encoded = 0

    def encode_raw(self, frames: torch.Tensor) -> torch.Tensor:
        self.encoded += len(frames)
        return (frames * 255).round()[:, 0, [0, -1], 0].unsqueeze(1)


def number_model(conditioning: str = "action") -> WorldModel:
    """What `LatentWindows` needs of a world model, with readable latents."""
    pose = {"actions": ActionConfig(low=(0.0,) * 4, high=(9.0,) * 4), "conditioning": "pose"}
    model: Any = SimpleNamespace(
        config=tiny_config(
            frame_size=(16, 16),
            dynamics={"scan_blocks": ((1, 1),)},
            **pose if conditioning == "pose" else {},
        ),
        device=torch.device("cpu"),
        autocast=nullcontext,
        tokenizer=NumberTokenizer(),
        dynamics=SimpleNamespace(landmarks=None),
    )
    return model


def numbers(data: LatentWindows, model: WorldModel, batch: Batch) -> np.ndarray:
    """Step number and seed of every frame of a batch, (b, t, 2)."""
    tokenizer = model.tokenizer
    raw = batch.latents[:, :, 0] * tokenizer.latent_std + tokenizer.latent_mean
    return raw.round().long().numpy()
