"""In training, too, no frame's loss hears of a later frame: of its picture, action or outcome."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import Batch, ObjectiveConfig
from tests.world_model.batches import ARCHITECTURES, conditioned_model, copy_of, random_batch

ROWS, FRAMES = 6, 6
CLEAN = ObjectiveConfig(scheme="clean_state")
OBJECTIVES = {
    "forcing": ObjectiveConfig(scheme="diffusion_forcing", clean_prefix=0.0),
    "clean prefix": ObjectiveConfig(scheme="diffusion_forcing", clean_prefix=1.0),
    "clean state": CLEAN,
    "self forcing": replace(CLEAN, self_forcing=0.7),
}

causal = pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
objectives = pytest.mark.parametrize("objective", OBJECTIVES)
conditionings = pytest.mark.parametrize("conditioning", ["action", "pose"])


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Collects (rows, frames) losses as they are scored: denoising, reward, continuation."""
    found: list[Tensor] = []

    def recorded(value: Tensor, weight: Tensor) -> Tensor:
        found.append(value * weight)
        return found[-1].sum()

    monkeypatch.setattr("dreamenv.world_model.objective._mean", recorded)
    return found


def frame_losses(
    model: WorldModel, data: Batch, objective: str, scored: list[Tensor], segments: int = 1
) -> Tensor:
    """All losses of every frame, (3, rows, frames)."""
    scored.clear()
    source = torch.Generator().manual_seed(0)
    list(model.segment_losses(data, OBJECTIVES[objective], source, segments))
    return torch.cat([torch.stack(scored[i : i + 3]) for i in range(0, len(scored), 3)], 2)


@causal
@objectives
@conditionings
def test_the_loss_of_a_frame_has_no_gradient_in_later_frames(
    conditioning: str, objective: str, architecture: str, scored: list[Tensor]
) -> None:
    model = conditioned_model(conditioning, **ARCHITECTURES[architecture])
    data = random_batch(model, ROWS, FRAMES)
    data.latents.requires_grad_(True)
    poses = conditioning == "pose"
    inputs = [data.latents, data.actions.requires_grad_(True)] if poses else [data.latents]
    losses = frame_losses(model, data, objective, scored)
    assert not losses[:, :, 0].any()  # nothing says what the first frame shows
    reached = 0
    for t in range(1, FRAMES):
        total = losses[:, :, t].sum()
        if not total.requires_grad or not total:
            continue  # every row's prefix is clean here
        for found in torch.autograd.grad(total, inputs, retain_graph=True):
            assert not found[:, t + 1 :].any()
            assert found[:, t].any()
            # What self-forcing writes is taken as it is: nothing flows back through it.
            assert found[:, t - 1].any() or objective == "self forcing"
        reached += 1
    assert reached >= 2


@causal
@objectives
@conditionings
@pytest.mark.parametrize("segments", [1, 2])
def test_nothing_later_changes_the_loss_of_anything_earlier(
    segments: int, conditioning: str, objective: str, architecture: str, scored: list[Tensor]
) -> None:
    model = conditioned_model(conditioning, **ARCHITECTURES[architecture])
    data = random_batch(model, ROWS, FRAMES)
    before = frame_losses(model, data, objective, scored, segments)
    for t in (1, 3, FRAMES - 1):
        changed = copy_of(data)
        changed.latents[:, t] += 1
        changed.actions[:, t] = data.actions[:, t - 1] if conditioning == "pose" else -1
        changed.rewards[:, t] = torch.where(data.rewards[:, t] == 1, 0.0, 1.0)
        changed.terminated[:, t] ^= True
        after = frame_losses(model, changed, objective, scored, segments)
        assert torch.equal(before[:, :, :t], after[:, :, :t])
        if before[:, :, t].any():
            assert not torch.equal(before[:, :, t], after[:, :, t])


@causal
@conditionings
@pytest.mark.parametrize("changed", ["latents", "actions"])
def test_scans_and_full_attention_remember_what_a_window_forgets(
    changed: str, conditioning: str, architecture: str, scored: list[Tensor]
) -> None:
    model = conditioned_model(conditioning, **ARCHITECTURES[architecture])
    data = random_batch(model, ROWS, FRAMES + 1)
    before = frame_losses(model, data, "clean state", scored)
    other = copy_of(data)
    values = getattr(other, changed)
    if changed == "latents":
        values[:, 0] += 1
    else:
        values[:, 0] = values[:, 1]
    after = frame_losses(model, other, "clean state", scored)
    dynamics = model.config.dynamics
    reach = len(dynamics.scan_blocks) * dynamics.attention_window
    reach += changed == "latents"  # the frame before is an input of every frame
    assert reach < FRAMES
    forgets = dynamics.scan == "none" and dynamics.attention == "window"
    moved = (before - after).abs()[0, :, -1]
    assert not moved.any() if forgets else (moved > 1e-12).all()
    assert (before - after).abs()[0, :, 1].any()
