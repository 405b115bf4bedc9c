"""Imagining a stretch under recorded actions, after watching real frames."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.heads import Outcome


class OpenLoop(NamedTuple):
    """Imagined frames (b, horizon, H, W, C), about in [0, 1], and their outcomes (b, horizon)."""

    frames: Tensor
    outcome: Outcome


def imagine_under(
    model: WorldModel,
    frames: Tensor,
    actions: Tensor,
    context: int,
    generator: torch.Generator,
    steps: int | None = None,
) -> OpenLoop:
    """Watch `context` frames, then imagine the rest under the recorded actions.

    Args:
        model: the world model.
        frames: real frames (b, t, H, W, C), of which only the first `context` are looked at.
        actions: the action that led to each frame, (b, t, …).
        context: how many frames are watched.
        generator: of the noise.
        steps: denoising passes per frame, by default the checkpoint's.
    """
    slots, count = actions.shape[:2]
    state, _ = model.observe(model.initial_state(slots), frames[:, :context], actions[:, :context])
    imagined, outcomes = [], []
    for t in range(context, count):
        noise = torch.randn(model.noise_shape(slots), generator=generator).to(state.latents)
        frame, outcome, state = model.imagine(state, actions[:, t], noise, steps)
        imagined.append(frame)
        outcomes.append(outcome)
    outcome = Outcome(
        torch.stack([o.reward for o in outcomes], 1),
        torch.stack([o.reward_probabilities for o in outcomes], 1),
        torch.stack([o.continuation for o in outcomes], 1),
    )
    return OpenLoop(torch.stack(imagined, 1), outcome)


def psnr(error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio, dB, of errors (…, H, W, C) between frames in [0, 1]."""
    return -10 * torch.log10(error.square().mean((-3, -2, -1)).clamp(min=1e-10))


def gradient_energy(frames: Tensor) -> Tensor:
    """Sharpness of frames (…, H, W, C): the mean square of neighbouring pixels' differences.

    An eighth of the frame is left out at every edge: some environments draw a border there that
    never blurs.
    """
    rows, columns = (side // 8 for side in frames.shape[-3:-1])
    height, width = frames.shape[-3:-1]
    inside = frames[..., rows : height - rows + 1, columns : width - columns + 1, :]
    across = inside[..., :-1, 1:, :] - inside[..., :-1, :-1, :]
    down = inside[..., 1:, :-1, :] - inside[..., :-1, :-1, :]
    return (across.square() + down.square()).mean((-3, -2, -1))
