"""Sizes of models under a name."""

from __future__ import annotations

import dataclasses
from typing import Any

from dreamenv.core.errors import ConfigError
from dreamenv.world_model.config import DynamicsConfig, TokenizerConfig, WorldModelConfig, grid_of

PRESETS: dict[str, tuple[TokenizerConfig, DynamicsConfig]] = {
    "debug": (
        TokenizerConfig(widths=(8, 8, 16), blocks=(1, 1, 1), latent_channels=8),
        DynamicsConfig(
            width=32,
            scan_blocks=((4, 4), (1, 2)),
            attention_window=3,
            attention_head_dim=16,
            condition_width=32,
            ssm_head_dim=16,
            ssm_state_dim=16,
            ssm_chunk=32,
        ),
    ),
    "tiny": (
        TokenizerConfig(widths=(32, 64, 128), blocks=(1, 1, 1), latent_channels=16),
        DynamicsConfig(
            width=128,
            scan_blocks=((4, 4), (2, 2), (1, 1)),
            attention_head_dim=32,
            condition_width=64,
            ssm_head_dim=32,
            ssm_state_dim=32,
        ),
    ),
    "small": (TokenizerConfig(), DynamicsConfig()),
    "base": (
        TokenizerConfig(widths=(96, 192, 384), blocks=(2, 2, 2)),
        DynamicsConfig(
            width=512,
            scan_blocks=((4, 4), (2, 2), (1, 1), (4, 4), (2, 2), (1, 1), (2, 2), (4, 4)),
            attention_window=8,
            attention_head_dim=64,
            condition_width=256,
            mlp_ratio=4,
        ),
    ),
    "paper": (
        TokenizerConfig(widths=(128, 256, 512), blocks=(2, 2, 2)),
        DynamicsConfig(
            width=1024,
            scan_blocks=((4, 4), (2, 2), (1, 1), (2, 2)) * 2,
            attention_window=10,
            attention_head_dim=64,
            condition_width=256,
            mlp_ratio=4,
        ),
    ),
}
"""Name → tokenizer and dynamics: `debug` for tests, `tiny` for minutes on a CPU, `small` for 2 CPU
cores, up to `paper`."""


GRID = 4
"""Rows and columns of the token grid that the presets' scan blocks are written for."""

Blocks = tuple[tuple[int, int], ...]


def preset(name: str, **fields: Any) -> WorldModelConfig:
    """The configuration of a preset; `fields` set the rest (frame size, actions, rewards, sampler).

    Scan blocks are those that fit the frame size (`blocks_for`).
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    tokenizer, dynamics = PRESETS[name]
    size = fields.get("frame_size", WorldModelConfig.frame_size)
    blocks = blocks_for(dynamics.scan_blocks, grid_of(size))
    dynamics = dataclasses.replace(dynamics, scan_blocks=blocks)
    return WorldModelConfig(tokenizer=tokenizer, dynamics=dynamics, **fields)


def blocks_for(blocks: Blocks, token_grid: tuple[int, int]) -> Blocks:
    """Scan blocks written for a 4×4 token grid, for another.

    A side that is the whole grid's stays so. Any other becomes the nearest that divides the grid's
    side, as a ratio, the smaller of two as near: small blocks remember a place for longest.
    """
    return tuple(
        (_side(block[0], token_grid[0]), _side(block[1], token_grid[1])) for block in blocks
    )


def _side(side: int, whole: int) -> int:
    if side >= GRID:
        return whole
    divisors = [d for d in range(1, whole + 1) if whole % d == 0]
    return min(divisors, key=lambda d: (max(d / side, side / d), d))
