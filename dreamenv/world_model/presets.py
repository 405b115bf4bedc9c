"""Sizes of models under a name."""

from __future__ import annotations

from typing import Any

from dreamenv.core.errors import ConfigError
from dreamenv.world_model.config import DynamicsConfig, TokenizerConfig, WorldModelConfig

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


def preset(name: str, **fields: Any) -> WorldModelConfig:
    """The configuration of a preset; `fields` set the rest (actions, rewards, sampler)."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    tokenizer, dynamics = PRESETS[name]
    return WorldModelConfig(tokenizer=tokenizer, dynamics=dynamics, **fields)
