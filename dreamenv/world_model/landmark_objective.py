"""What a landmark memory is trained on, beside what the rest of the dynamics are."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from dreamenv.world_model.batch import Batch
from dreamenv.world_model.diffusion import sample_levels
from dreamenv.world_model.network.dynamics import Dynamics, Prediction
from dreamenv.world_model.network.landmarks import Sight
from dreamenv.world_model.network.pose_tracker import PoseTracker
from dreamenv.world_model.noisy_views import context_levels, noisy_view


def drawn_from_landmarks(
    dynamics: Dynamics, batch: Batch, share: float, noise: float, grid: int,
    generator: torch.Generator,
) -> tuple[Prediction, Tensor, Tensor]:  # fmt: skip
    """Some frames drawn from their landmarks alone.

    They are drawn as the first frames of memories that already hold landmarks, half of them from
    pure noise.

    Args:
        dynamics: with a landmark memory.
        batch: windows with a `sight`.
        share: of their frames that are drawn.
        noise: of the landmarks (`shown`). grid: of levels (`sample_levels`).
        generator: of noise and levels.

    Returns:
        What was predicted (n, 1, …), the frames' latents, and whether each is to be scored.
    """
    assert batch.sight is not None
    count = math.ceil(share * batch.valid.numel())
    scored = (batch.sight.held.any(-1) & batch.valid).flatten().cpu()
    chosen = torch.multinomial(scored + 1e-6, count, generator=generator)

    def pick(part: Tensor) -> Tensor:
        return part.flatten(0, 1)[chosen.to(part.device)].unsqueeze(1)

    sight = Sight(*map(pick, batch.sight))
    sight = sight._replace(motion=0 * sight.motion, known=sight.known & False)
    given = shown(sight, noise, 0.0, generator)
    latents, actions = pick(batch.latents), dynamics.action.first(pick(batch.actions))
    level = sample_levels((count, 1), generator, 0.5, grid)
    view = noisy_view(latents, level if grid else 0.98 * level, generator)
    state = dynamics.initial_state(count)
    _, drawn, _ = dynamics(state, view, actions, keep=False, sight=given)
    return drawn, latents, scored[chosen].to(latents).unsqueeze(1)


def motion_loss(tracker: PoseTracker, batch: Batch, generator: torch.Generator) -> Tensor:
    """How far measured and expected motions are off, in standard deviations of motions.

    Scored where the frame before and the one before that are known. Motions and latents are given
    with small errors, such as those that the tracker itself makes.
    """
    assert batch.motions is not None
    known = batch.valid[:, 2:]

    def disturbed(x: Tensor, by: float) -> Tensor:
        return x + by * torch.randn(x.shape, generator=generator).to(x)

    frames = disturbed(batch.latents, 0.1)
    motion = disturbed(batch.motions[:, 1:-1] / tracker.scale, 0.1) * tracker.scale
    true = batch.motions[:, 2:][known] / tracker.scale
    previous, frame, action = frames[:, 1:-1][known], frames[:, 2:][known], batch.actions[:, 2:]
    given = previous, motion[known], action[known].unsqueeze(1)
    errors = [tracker(*given, seen) / tracker.scale - true for seen in (None, frame)]
    return sum((F.smooth_l1_loss(x, 0 * x, beta=0.1) for x in errors), torch.zeros(()).to(true))


def shown(
    sight: Sight | None, noise: float, dropout: float, generator: torch.Generator
) -> Sight | None:
    """Landmarks as training shows them: noisy, and in some windows none."""
    if sight is None:
        return None
    level = context_levels(tuple(sight.held.shape), noise, generator)
    errors = torch.randn(sight.views.shape, generator=generator).to(sight.views)
    level = level.to(sight.views)[..., None, None]
    drop = torch.rand(len(sight.held), generator=generator) < dropout
    held = sight.held & ~drop.to(sight.held.device)[:, None, None]
    return sight._replace(views=level * sight.views + (1 - level) * errors, held=held)
