"""What is scored, under which noise, and that every weight hears of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dreamenv.core.errors import ConfigError
from dreamenv.world_model.config import ActionConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.dynamics import Stream
from dreamenv.world_model.objective import (
    Batch,
    ObjectiveConfig,
    _predicted_context,
    context_levels,
    forcing_levels,
)
from tests.world_model.models import TOLERANCE, random_actions, tiny_config, tiny_model

ROWS, FRAMES = 3, 6
FORCING = ObjectiveConfig(scheme="diffusion_forcing")
CLEAN = ObjectiveConfig(scheme="clean_state")
SELF = replace(CLEAN, self_forcing=1.0)
BOX = ActionConfig(low=(-1.0, 0.0), high=(1.0, 3.0))


def batch(model: WorldModel, seed: int = 0, rows: int = ROWS, frames: int = FRAMES) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, frames, model.dynamics.latent_count, model.dynamics.latent_channels)
    if model.config.actions.discrete:
        actions = random_actions(rows, frames, seed).clamp(min=0)
        actions[:, 0] = -1
    else:
        actions = torch.rand((rows, frames, 2), generator=generator, dtype=torch.float64)
        actions[:, 0] = torch.nan
    rewards = torch.randint(0, 2, (rows, frames), generator=generator).double()
    terminated = torch.rand((rows, frames), generator=generator) < 0.2
    latents = torch.randn(shape, generator=generator, dtype=torch.float64)
    return Batch(latents, actions, rewards, terminated)


def losses(model: WorldModel, data: Batch, objective: ObjectiveConfig, seed: int = 0) -> dict:
    return model.loss(data, objective, torch.Generator().manual_seed(seed))


@settings(max_examples=60)
@given(
    rows=st.integers(1, 40), frames=st.integers(2, 50), share=st.floats(0, 1), seed=st.integers(0)
)
def test_the_clean_prefix_is_longer_than_half_and_unscored(
    rows: int, frames: int, share: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed % 2**63)
    level, scored = forcing_levels((rows, frames), share, generator)
    assert level.shape == scored.shape == (rows, frames)
    assert level.min() >= 0
    for row in range(rows):
        prefix = int((~scored[row]).sum())
        assert prefix == 0 or frames / 2 < prefix <= max(frames - 1, frames // 2 + 1)
        assert not scored[row, :prefix].any() and scored[row, prefix:].all()
        assert (level[row, :prefix] == 1).all() and (level[row, prefix:] < 1).all()


def test_the_share_of_clean_prefixes_is_as_configured() -> None:
    for share in (0.0, 0.5, 1.0):
        _, scored = forcing_levels((4000, 8), share, torch.Generator().manual_seed(0))
        assert float((~scored[:, 0]).double().mean()) == pytest.approx(share, abs=0.03)


def test_written_frames_are_half_clean_and_never_noisier_than_configured() -> None:
    level = context_levels((200, 100), 0.3, torch.Generator().manual_seed(0))
    assert level.max() == 1 and level.min() >= 0.7
    assert float((level == 1).double().mean()) == pytest.approx(0.5, abs=0.02)
    assert (context_levels((9, 9), 0.0, torch.Generator().manual_seed(0)) == 1).all()


@pytest.mark.parametrize("actions", [ActionConfig(n=5), BOX], ids=["discrete", "box"])
@pytest.mark.parametrize("objective", [FORCING, CLEAN, SELF], ids=["forcing", "clean", "self"])
def test_losses_are_finite_and_reach_every_weight(
    objective: ObjectiveConfig, actions: ActionConfig
) -> None:
    model = tiny_model(tiny_config(actions=actions)).requires_grad_(True)
    found = losses(model, batch(model), objective)
    assert set(found) == {"denoising", "reward", "continuation", "total"}
    expected = (
        found["denoising"]
        + objective.reward_weight * found["reward"]
        + objective.continuation_weight * found["continuation"]
    )
    torch.testing.assert_close(found["total"], expected)
    assert all(value.isfinite() and value > 0 for value in found.values())
    found["total"].backward()
    trained = nn.ModuleDict({"dynamics": model.dynamics, "head": model.head})
    for name, parameter in trained.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name
    assert all(p.grad is None for p in model.tokenizer.parameters())


@pytest.mark.parametrize("objective", [FORCING, CLEAN, SELF], ids=["forcing", "clean", "self"])
def test_a_loss_depends_on_its_generator_alone(objective: ObjectiveConfig) -> None:
    model = tiny_model()
    data = batch(model)
    torch.manual_seed(1)
    one = losses(model, data, objective)
    torch.manual_seed(2)
    torch.rand(3)
    same, other = losses(model, data, objective), losses(model, data, objective, seed=9)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["total"], other["total"])


@pytest.mark.parametrize("objective", [FORCING, CLEAN], ids=["forcing", "clean"])
def test_the_first_frame_of_a_window_is_never_scored(objective: ObjectiveConfig) -> None:
    model = tiny_model()
    data = batch(model)
    before = losses(model, data, objective)
    data.rewards[:, 0] = 1 - data.rewards[:, 0]
    data.terminated[:, 0] = ~data.terminated[:, 0]
    after = losses(model, data, objective)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_outcome_is_scored_on_clean_frames_only() -> None:
    """Under diffusion forcing: those that are hardly noisy. The noisy ones say nothing."""
    model = tiny_model()
    data = batch(model, rows=20)
    level, _ = forcing_levels((20, FRAMES), 0.5, torch.Generator().manual_seed(0))
    changed = replace(data, rewards=torch.where(level > 0.75, data.rewards, 1 - data.rewards))
    before, after = (losses(model, x, FORCING)["reward"] for x in (data, changed))
    assert torch.equal(before, after)
    changed = replace(data, rewards=1 - data.rewards)
    assert not torch.equal(before, losses(model, changed, FORCING)["reward"])


def test_a_network_that_is_right_has_no_denoising_loss() -> None:
    """The target is what is missing from the belief, in units of its scale."""
    model = tiny_model()
    data = batch(model)
    forward = model.dynamics.forward

    def oracle(*inputs, **named):  # type: ignore[no-untyped-def]
        new, written, seen = forward(*inputs, **named)
        output = (data.latents - seen.mean) / seen.scale
        return new, written, seen._replace(output=output)

    model.dynamics.forward = oracle  # type: ignore[method-assign]
    assert float(losses(model, data, CLEAN)["denoising"]) < 1e-9


def test_self_forcing_writes_what_the_model_predicts_from_some_frame_on() -> None:
    model = tiny_model()
    data = batch(model, rows=8)
    level = torch.full((8, FRAMES), 0.9, dtype=torch.float64)
    write = Stream(data.latents + 0.1, level)
    half = replace(CLEAN, self_forcing=0.5)
    some = _predicted_context(
        model.dynamics, model.initial_state(8), data, write, half, torch.Generator().manual_seed(0)
    )
    assert torch.equal(some.noisy[4:], write.noisy[4:]) and (some.level[:4, -1] == 1).all()
    once = replace(SELF, self_forcing_rounds=1)
    found = _predicted_context(
        model.dynamics, model.initial_state(8), data, write, once, torch.Generator().manual_seed(0)
    )
    replaced = (found.noisy != write.noisy).flatten(2).any(2)
    assert torch.equal(replaced, found.level == 1)
    starts = replaced.double().argmax(1)
    assert replaced[:, -1].all() and not replaced[:, 0].any() and len(starts.unique()) > 1
    for row, first in enumerate(starts):
        assert replaced[row, first:].all() and not replaced[row, :first].any()
    assert not found.noisy.requires_grad
    # A replaced frame is the one-step prediction under the frames as they had been written.
    generator = torch.Generator().manual_seed(0)
    torch.rand((8, 1), generator=generator)
    noise = torch.randn(data.latents.shape, generator=generator).double()
    view = Stream(noise, torch.zeros(8, FRAMES, dtype=torch.float64))
    _, _, seen = model.dynamics(model.initial_state(8), write, data.actions, view)
    torch.testing.assert_close(found.noisy[replaced], seen.latents[replaced], **TOLERANCE)
    # A second round predicts under what the first one wrote.
    twice = replace(SELF, self_forcing_rounds=2)
    again = _predicted_context(
        model.dynamics, model.initial_state(8), data, write, twice, torch.Generator().manual_seed(0)
    )
    noise = torch.randn(data.latents.shape, generator=generator).double()
    view = Stream(noise, torch.zeros(8, FRAMES, dtype=torch.float64))
    _, _, seen = model.dynamics(model.initial_state(8), found, data.actions, view)
    torch.testing.assert_close(again.noisy[replaced], seen.latents[replaced], **TOLERANCE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheme": "teacher_forcing"}, "unknown scheme 'teacher_forcing'; there are diff"),
        ({"clean_prefix": 1.5}, "clean_prefix is a share"),
        ({"context_noise": -0.1}, "context_noise is a share"),
        ({"self_forcing": 2.0}, "self_forcing is a share"),
        ({"reward_weight": -1.0}, "must be a number of at least 0"),
    ],
)
def test_impossible_objectives_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ObjectiveConfig(**changes)
