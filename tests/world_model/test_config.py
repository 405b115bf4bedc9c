"""Architectures as plain data: round trips, and refusals that say what is wrong."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from dreamenv.core.errors import ConfigError
from dreamenv.world_model.config import (
    ActionConfig,
    DynamicsConfig,
    RewardConfig,
    SamplerConfig,
    TokenizerConfig,
    WorldModelConfig,
)
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.presets import PRESETS, preset

BOX = ActionConfig(low=(-1.0, 0.0), high=(1.0, 2.0))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("actions", [ActionConfig(n=6), BOX], ids=["discrete", "box"])
def test_json_round_trip(name: str, actions: ActionConfig) -> None:
    config = preset(name, actions=actions, rewards=RewardConfig((-1.0, 0.0, 2.5), exact=False))
    assert WorldModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_every_field_survives_the_round_trip_away_from_its_default() -> None:
    """Also those that no preset sets."""
    config = WorldModelConfig(
        frame_size=(32, 96),
        frame_channels=1,
        conditioning="pose",
        actions=BOX,
        rewards=RewardConfig((0.0,), exact=False),
        tokenizer=TokenizerConfig((8, 16, 24), (0, 3, 2), 5, 0.25),
        dynamics=DynamicsConfig(
            width=48,
            scan="frame",
            scan_blocks=((1, 3), (2, 2)),
            attention="none",
            attention_window=7,
            attention_head_dim=12,
            patch=2,
            mlp_ratio=5.5,
            condition_width=10,
            ssm_expand=3,
            ssm_head_dim=18,
            ssm_state_dim=9,
            ssm_conv=2,
            ssm_step_range=(0.01, 0.5),
            ssm_recall=True,
            ssm_chunk=17,
            shortcut_passes=4,
        ),
        sampler=SamplerConfig(5, False, 0.07),
    )
    for part in (config.tokenizer, config.dynamics, config.sampler):
        for field in dataclasses.fields(part):
            assert getattr(part, field.name) != field.default, field.name
    assert WorldModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_presets_are_as_large_as_they_say() -> None:
    """`small` about 8M parameters, `paper` 200M."""
    import torch

    sizes = {}
    for name in PRESETS:
        with torch.device("meta"):
            model = WorldModel(preset(name))
        sizes[name] = sum(p.numel() for p in model.parameters()) / 1e6
    assert sizes["debug"] < 0.2
    assert 6 < sizes["small"] < 12
    assert sizes["small"] < sizes["base"] < sizes["paper"]
    assert 190 < sizes["paper"] < 210


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 3}, "no field 'colour'; it has"),
        ({"dynamics": {"widht": 64}}, "DynamicsConfig has no field 'widht'"),
        ({"dynamics": {"width": "64"}}, "expected int, got '64'"),
        ({"dynamics": {"width": 64.5}}, "expected int, got 64.5"),
        ({"dynamics": {"width": True}}, "expected int, got True"),
        ({"dynamics": None}, "expected DynamicsConfig, got None"),
        ({"dynamics": {"scan_blocks": [[4]]}}, r"got \[4\]"),
        ({"dynamics": {"scan_blocks": 4}}, "got 4"),
        ({"frame_size": [64, 64, 3]}, r"got \[64, 64, 3\]"),
        ({"rewards": {"values": [0, 1], "exact": "yes"}}, "expected bool, got 'yes'"),
        ({"format_version": 2}, "format version 2, this dreamenv reads 1"),
        ({"format_version": None}, "format version None"),
    ],
)
def test_foreign_data_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WorldModelConfig.from_dict({**preset("debug").to_dict(), **change})


def dynamics(**fields: Any) -> WorldModelConfig:
    return WorldModelConfig(dynamics=DynamicsConfig(**fields))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WorldModelConfig(frame_size=(60, 64)), "multiples of 16"),
        (lambda: WorldModelConfig(frame_size=(0, 64)), "at least 1"),
        (lambda: WorldModelConfig(frame_channels=0), "at least 1"),
        (lambda: dynamics(scan_blocks=((4, 4), (3, 2))), r"\(3, 2\) does not tile the 4×4"),
        (lambda: dynamics(scan_blocks=((8, 8),)), "does not tile"),
        (lambda: dynamics(scan_blocks=((0, 4),)), "at least 1"),
        (lambda: dynamics(scan_blocks=()), "at least one layer"),
        (lambda: dynamics(attention_head_dim=48), "multiple of dynamics.attention_head_dim"),
        (lambda: dynamics(width=64, attention_head_dim=1), "even"),
        (lambda: dynamics(ssm_head_dim=96), "multiple of dynamics.ssm_head_dim"),
        (lambda: dynamics(attention_window=0), "DynamicsConfig.attention_window"),
        (lambda: dynamics(ssm_conv=0), "DynamicsConfig.ssm_conv"),
        (lambda: dynamics(ssm_chunk=-1), "DynamicsConfig.ssm_chunk"),
        (lambda: dynamics(condition_width=33), "condition_width must be even"),
        (lambda: TokenizerConfig(widths=(12, 8, 8)), "multiples of 8"),
        (lambda: TokenizerConfig(widths=(0, 8, 8)), "at least 1"),
        (lambda: TokenizerConfig(blocks=(-1, 0, 0)), "not be negative"),
        (lambda: WorldModelConfig(sampler=SamplerConfig(steps=0)), "steps ≥ 1"),
        (lambda: WorldModelConfig(sampler=SamplerConfig(context_noise=1.0)), "context_noise < 1"),
        (lambda: RewardConfig((1.0, 0.0)), "ascending and distinct"),
        (lambda: RewardConfig((0.0, 0.0)), "ascending and distinct"),
        (lambda: RewardConfig(()), "ascending and distinct"),
        (lambda: RewardConfig((0.0, float("inf"))), "finite"),
        (lambda: ActionConfig(), "either discrete"),
        (lambda: ActionConfig(n=2, low=(0.0,), high=(1.0,)), "either discrete"),
        (lambda: ActionConfig(low=(0.0, 1.0), high=(1.0,)), "either discrete"),
        (lambda: ActionConfig(low=(0.0,), high=(float("inf"),)), "finite bounds"),
        (lambda: ActionConfig(low=(1.0,), high=(1.0,)), "low < high"),
        (lambda: preset("smal"), "unknown preset 'smal'; there are debug, small"),
    ],
)
def test_impossible_configurations_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
