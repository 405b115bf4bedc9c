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
TURN: dict[str, Any] = {"type": "Box", "low": -9.0, "high": [9.0, 8.5], "shape": [2]}
NESTED: dict[str, Any] = {
    "type": "Dict",
    "spaces": {
        "turn": {**TURN, "dtype": "float32"},
        "keys": {"type": "MultiBinary", "n": 2},
        "say": {"type": "Tuple", "spaces": [{"type": "Discrete", "n": 1, "start": 3}]},
    },
}
FACTORED = ActionConfig.of(NESTED)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    "actions", [ActionConfig(n=6), BOX, FACTORED], ids=["discrete", "box", "nested"]
)
def test_json_round_trip(name: str, actions: ActionConfig) -> None:
    config = preset(name, actions=actions, rewards=RewardConfig((-1.0, 0.0, 2.5), exact=False))
    assert WorldModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_every_field_survives_the_round_trip_away_from_its_default() -> None:
    """Also those that no preset sets."""
    config = WorldModelConfig(
        frame_size=(29, 96),
        frame_channels=1,
        image_key="camera/front",
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
            ssm_place_forgetting=True,
            ssm_half_life=(1.5, 50.0),
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
        (lambda: WorldModelConfig(frame_size=(7, 64)), "sides of 8 to 4096 pixels"),
        (lambda: WorldModelConfig(resize="lanczos"), "resized by area.*newer dreamenv"),
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
        (lambda: preset("smal"), "unknown preset 'smal'; there are debug, tiny, small"),
    ],
)
def test_impossible_configurations_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_nested_space_is_a_vector_of_categories_and_numbers() -> None:
    """In the order of names: keys, say, turn."""
    assert not FACTORED.discrete
    assert FACTORED.categories == (2, 2, 1, 0, 0)
    assert FACTORED.bounds == ((0, 1), (0, 1), (0, 0), (-9, 9), (-9, 8.5))
    assert FACTORED.space() == NESTED


def test_a_configuration_of_an_earlier_version_has_no_nested_actions() -> None:
    plain = preset("debug", actions=BOX).to_dict()
    for name in ("categories", "nested"):
        del plain["actions"][name]
    for name in ("resize", "image_key"):
        del plain[name]
    assert WorldModelConfig.from_dict(plain) == preset("debug", actions=BOX)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": (2,)}, "nested space"),
        ({"nested": NESTED, "low": (0.0,)}, "low of actions is not that of their space"),
        ({"nested": {"type": "Graph"}}, "no actions are from a space of type 'Graph'"),
        ({"nested": {"type": "MultiBinary"}}, "damaged: KeyError"),
        ({"nested": {"type": "MultiDiscrete", "nvec": [0]}}, "damaged: ValueError"),
        ({"nested": {"type": "MultiBinary", "n": 10**9}}, "not of 1000000000"),
        ({"nested": {"type": "Tuple", "spaces": []}}, "either discrete"),
    ],
)
def test_nested_actions_that_are_none_are_refused(changes: dict[str, Any], message: str) -> None:
    low = {} if "nested" in changes else {"low": (0.0,), "high": (1.0,)}
    with pytest.raises(ConfigError, match=message):
        ActionConfig(**{**low, **changes})


@pytest.mark.parametrize(
    ("size", "blocks"),
    [
        ((64, 64), ((4, 4), (2, 2), (1, 1), (4, 4))),
        ((96, 96), ((6, 6), (2, 2), (1, 1), (6, 6))),
        ((84, 84), ((6, 6), (2, 2), (1, 1), (6, 6))),
        ((48, 64), ((3, 4), (3, 2), (1, 1), (3, 4))),
        ((240, 320), ((15, 20), (3, 2), (1, 1), (15, 20))),
        ((16, 80), ((1, 5), (1, 1), (1, 1), (1, 5))),
    ],
)
def test_scan_blocks_follow_the_frame_size(size: tuple[int, int], blocks: tuple) -> None:
    assert preset("small", frame_size=size).dynamics.scan_blocks == blocks
