"""Small models with weights in which nothing is zero, so that every path carries something."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dreamenv.world_model.config import (
    ActionConfig,
    DynamicsConfig,
    RewardConfig,
    TokenizerConfig,
    WorldModelConfig,
)
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.conditioning import ActionEmbedding
from dreamenv.world_model.network.dynamics import Dynamics, Stream

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
ACTIONS = 5

FACTORED = ActionConfig(
    nested={
        "type": "Tuple",
        "spaces": [
            {"type": "Discrete", "n": 3, "start": 0},
            {"type": "Box", "low": -1.0, "high": 20.0, "shape": [1], "dtype": "float32"},
            {"type": "MultiBinary", "n": 2},
        ],
    }
)
"""A choice of three, a number, two buttons."""

TINY_TOKENIZER = TokenizerConfig(widths=(4, 4, 8), blocks=(1, 0, 1), latent_channels=3)
TINY_DYNAMICS = DynamicsConfig(
    width=8,
    scan_blocks=((2, 2), (1, 2)),
    attention_window=2,
    attention_head_dim=4,
    mlp_ratio=2,
    condition_width=6,
    ssm_expand=2,
    ssm_head_dim=4,
    ssm_state_dim=3,
    ssm_conv=3,
    ssm_chunk=8,
)


def tiny_config(dynamics: dict[str, Any] | None = None, **fields: Any) -> WorldModelConfig:
    """A model of 2×2 tokens and two layers; keywords replace fields."""
    values: dict[str, Any] = {
        "frame_size": (32, 32),
        "actions": ActionConfig(n=ACTIONS),
        "rewards": RewardConfig((0.0, 1.0, 2.5)),
        "tokenizer": TINY_TOKENIZER,
    }
    return WorldModelConfig(
        **values | {"dynamics": replace(TINY_DYNAMICS, **dynamics or {})} | fields
    )


def randomise(module: nn.Module, seed: int = 0, size: float = 0.2) -> None:
    """Move every parameter by noise; in particular those that start at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(size * noise.to(parameter.dtype))


def tiny_model(config: WorldModelConfig | None = None, seed: int = 0) -> WorldModel:
    """A randomised float64 model, ready to use."""
    torch.manual_seed(seed)
    model = WorldModel(config or tiny_config()).double().eval().requires_grad_(False)
    randomise(model, seed)
    model.tokenizer.latent_mean.normal_()
    model.tokenizer.latent_std.uniform_(0.5, 2)
    model.dynamics.change.fill_(0.6)
    return model


def tiny_dynamics(grid: tuple[int, int], seed: int = 0, **fields: Any) -> Dynamics:
    """A randomised float64 dynamics on a token grid of any size; `fields` of `DynamicsConfig`."""
    torch.manual_seed(seed)
    config = replace(TINY_DYNAMICS, **fields)
    embedding = ActionEmbedding(ActionConfig(n=ACTIONS), config.condition_width)
    dynamics = Dynamics(config, grid, 3, embedding).double().requires_grad_(False)
    randomise(dynamics, seed)
    dynamics.change.fill_(0.6)
    return dynamics


def random_stream(dynamics: Dynamics, slots: int, frames: int, seed: int) -> Stream:
    """Random noisy latents; a third of the frames is clean."""
    generator = torch.Generator().manual_seed(seed)
    shape = (slots, frames, dynamics.latent_count, dynamics.latent_channels)
    noisy = torch.randn(shape, generator=generator, dtype=torch.float64)
    level = torch.rand((slots, frames), generator=generator, dtype=torch.float64)
    return Stream(noisy, torch.where(level < 1 / 3, 1.0, level))


def random_actions(slots: int, frames: int, seed: int) -> Tensor:
    """Discrete actions, the start token among them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, ACTIONS, (slots, frames), generator=generator)


def random_vectors(
    config: WorldModelConfig, slots: int, frames: int, seed: int, dtype: torch.dtype
) -> Tensor:
    """Actions that are vectors: real numbers in 0 … 1, and categories."""
    generator, actions = torch.Generator().manual_seed(seed), config.actions
    drawn = torch.rand((slots, frames, len(actions.low)), generator=generator, dtype=dtype)
    if not actions.categories:
        return drawn
    counts = torch.tensor(actions.categories)
    return torch.where(counts > 0, (drawn * counts).floor(), drawn)


def random_frames(config: WorldModelConfig, slots: int, frames: int, seed: int) -> Tensor:
    """uint8 frames of noise."""
    generator = torch.Generator().manual_seed(seed)
    shape = (slots, frames, *config.frame_size, config.frame_channels)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
