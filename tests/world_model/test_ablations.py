"""Every ablation is one key of the configuration, and changes what it names and nothing else."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamenv.core.errors import ConfigError
from dreamenv.world_model.config import ActionConfig, SamplerConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import ObjectiveConfig, context_levels, forcing_levels
from dreamenv.world_model.state import State
from tests.world_model.batches import ARCHITECTURES, conditioned_model, random_batch
from tests.world_model.models import (
    TOLERANCE,
    random_actions,
    random_frames,
    random_stream,
    tiny_config,
    tiny_dynamics,
    tiny_model,
)

FRAMES = 5


def memory(**dynamics: Any) -> tuple[State, dict[str, tuple[int, ...]]]:
    """What one slot remembers of five frames of 4×4 latents, and its first layer's shapes."""
    model = tiny_model(tiny_config(dynamics, frame_size=(64, 64)))
    frames = random_frames(model.config, 1, FRAMES, 0)
    state, _ = model.observe(model.initial_state(1), frames, random_actions(1, FRAMES, 0))
    return state, {name: tuple(x.shape[1:]) for name, x in state.layers[0].items()}


# Of the tiny model: 16 inner channels in heads of 4, state dimension 3, kernel 3, head dim 4.
def scanned(blocks: int) -> dict[str, tuple[int, ...]]:
    return {"ssm": (blocks, 3, 4, 4), "conv": (blocks, 2, 22)}


def attended(frames: int, tokens: int = 16) -> dict[str, tuple[int, ...]]:
    return {"keys": (frames, tokens, 2, 4), "values": (frames, tokens, 2, 4)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, scanned(4) | attended(2)),
        ({"scan": "frame"}, scanned(1) | attended(2)),
        ({"scan": "none"}, attended(2)),
        ({"scan_blocks": ((1, 1),) * 2}, scanned(16) | attended(2)),
        ({"scan_blocks": ((4, 4),) * 2}, scanned(1) | attended(2)),
        ({"scan_blocks": ((2, 4),) * 2}, scanned(2) | attended(2)),
        ({"attention": "none"}, scanned(4)),
        ({"attention": "full"}, scanned(4) | attended(FRAMES)),
        ({"attention_window": 1}, scanned(4) | attended(1)),
        ({"attention_window": 7}, scanned(4) | attended(7)),
        ({"patch": 2}, scanned(1) | attended(2, 4)),
        ({"patch": 4, "scan": "frame"}, scanned(1) | attended(2, 1)),
    ],
    ids=lambda x: ", ".join(x) if isinstance(x, dict) else "",
)
def test_a_key_changes_what_is_remembered(
    changes: dict[str, Any], expected: dict[str, tuple[int, ...]]
) -> None:
    state, shapes = memory(**changes)
    assert shapes == expected
    assert state.grows == (changes.get("attention") == "full")
    assert state.latents.shape == (1, 16, 3)  # latents are there one by one, however patched


def test_a_frame_scan_is_a_block_scan_whose_block_is_the_frame() -> None:
    block = tiny_dynamics((4, 2), scan_blocks=((4, 2), (4, 2)))
    frame = tiny_dynamics((4, 2), scan="frame", scan_blocks=((1, 1), (2, 2)))
    stream, actions = random_stream(block, 2, 3, 0), random_actions(2, 3, 0)
    one, other = (d(d.initial_state(2), stream, actions)[1] for d in (block, frame))
    torch.testing.assert_close(one.latents, other.latents, **TOLERANCE)


def test_a_window_that_reaches_back_to_the_first_frame_is_full_attention_in_training() -> None:
    """But for the slowest rotation, which full attention needs for telling distant frames apart."""
    window = tiny_dynamics((2, 2), attention_window=FRAMES)
    full = tiny_dynamics((2, 2), attention="full", attention_window=1)
    for one, other in zip(window.layers, full.layers, strict=True):
        other.attention.rotation.time = one.attention.rotation.time
    stream, actions = random_stream(window, 2, FRAMES, 0), random_actions(2, FRAMES, 0)
    found, expected = (d(d.initial_state(2), stream, actions)[1] for d in (full, window))
    torch.testing.assert_close(found.latents, expected.latents, **TOLERANCE)


@settings(max_examples=20)
@given(patch=st.integers(1, 4), rows=st.integers(1, 3), columns=st.integers(1, 3))
def test_patches_are_squares_of_the_frame_and_come_back(
    patch: int, rows: int, columns: int
) -> None:
    dynamics = tiny_dynamics((rows * patch, columns * patch), patch=patch, scan="frame")
    latents = random_stream(dynamics, 2, 3, 0).noisy
    tokens = dynamics._to_tokens(latents)
    assert tokens.shape == (2, 3, rows * columns, 3 * patch**2)
    assert dynamics.position.shape[0] == rows * columns
    assert torch.equal(dynamics._to_latents(tokens), latents)
    picture = latents.unflatten(2, (rows * patch, columns * patch))
    for row in range(rows):
        for column in range(columns):
            square = picture[
                :, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch
            ]
            assert torch.equal(tokens[:, :, row * columns + column], square.flatten(2))


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_architecture_watches_dreams_and_learns(architecture: str) -> None:
    model = conditioned_model("action", **ARCHITECTURES[architecture])
    frames = random_frames(model.config, 2, 3, 0)
    state, _ = model.observe(model.initial_state(2), frames, random_actions(2, 3, 0))
    noise = torch.randn(model.noise_shape(2), dtype=torch.float64)
    frame, _, _ = model.imagine(state, torch.tensor([0, 1]), noise)
    assert frame.shape == (2, 32, 32, 3) and frame.isfinite().all()
    model.requires_grad_(True)
    loss = model.loss(random_batch(model, 4, 4), ObjectiveConfig(), torch.Generator())
    loss["total"].backward()
    for name, parameter in model.dynamics.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_clean_prefix_zero_is_diffusion_forcing_and_one_is_all_prefixes() -> None:
    _, scored = forcing_levels((50, 9), 0.0, torch.Generator().manual_seed(0))
    assert scored.all()
    level, scored = forcing_levels((50, 9), 1.0, torch.Generator().manual_seed(0))
    assert not scored[:, :5].any() and (level[:, :5] == 1).all() and scored[:, -1].all()
    model = conditioned_model("action")
    data = random_batch(model, 6, 6)
    losses = [
        float(
            model.loss(data, replace(forcing, clean_prefix=share), torch.Generator())["denoising"]
        )
        for forcing in [ObjectiveConfig(scheme="diffusion_forcing")]
        for share in (0.0, 1.0)
    ]
    assert losses[0] != losses[1]


def test_context_noise_in_training_and_in_the_dream() -> None:
    source = torch.Generator().manual_seed(0)
    assert (context_levels((9, 9), 0.0, source) == 1).all()
    assert 0.5 <= float(context_levels((90, 90), 0.5, source).min()) < 0.55
    committed = []
    for noise in (0.0, 0.25):
        sampler = SamplerConfig(steps=1, context_noise=noise)
        model = tiny_model(tiny_config(sampler=sampler))
        draw = torch.randn(model.noise_shape(1), generator=source, dtype=torch.float64)
        _, _, state = model.imagine(model.initial_state(1), torch.tensor([1]), draw)
        assert float(state.level) == 1 - noise
        committed.append(state.latents)
    assert not torch.allclose(*committed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dynamics": {"scan_blocks": ((3, 1),)}}, r"block \(3, 1\) does not tile the 4×4 token"),
        (
            {"dynamics": {"patch": 2, "scan_blocks": ((4, 4),)}},
            r"block \(4, 4\) does not tile the 2×2 token grid",
        ),
        ({"dynamics": {"patch": 3}}, "patch 3 does not tile the 4×4 latents"),
        ({"dynamics": {"scan": "zigzag"}}, "scan is one of block, frame, none, not 'zigzag'"),
        (
            {"dynamics": {"attention": "sparse"}},
            "attention is one of window, full, bidirectional, none, not 'sparse'",
        ),
        ({"dynamics": {"scan": "none", "attention": "none"}}, "nothing would remember"),
        ({"dynamics": {"attention": "bidirectional"}}, "a scan cannot: set dynamics.scan none"),
        ({"dynamics": {"attention_window": 0}}, "attention_window must be at least 1"),
        ({"dynamics": {"patch": 0}}, "patch must be at least 1"),
        ({"dynamics": {"scan_blocks": ()}}, "at least one layer"),
        ({"dynamics": {"mlp_ratio": 0}}, "mlp_ratio > 0"),
        ({"dynamics": {"ssm_step_range": (0.1, 0.01)}}, "ssm_step_range"),
        ({"actions": ActionConfig(low=(0.0,), high=(1.0,)), "conditioning": "map"}, "conditioning"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config(frame_size=(64, 64), **changes)


def test_only_a_block_scan_has_blocks_that_must_tile() -> None:
    for changes in ({"scan": "frame"}, {"scan": "none"}):
        config = tiny_config({**changes, "scan_blocks": ((3, 1),)}, frame_size=(64, 64))
        assert asdict(config.dynamics)["scan_blocks"] == ((3, 1),)


@pytest.mark.parametrize("step_range", [(1e-4, 1e-4), (1e-5, 1e-3), (0.2, 0.7)])
def test_step_sizes_begin_in_their_range(step_range: tuple[float, float]) -> None:
    torch.manual_seed(0)
    model = WorldModel(tiny_config({"ssm_step_range": step_range}))
    for layer in model.dynamics.layers:
        step = torch.nn.functional.softplus(layer.scan.dt_bias.double())
        low, high = step_range
        assert (step > low * 0.99).all() and (step < high * 1.01).all()
