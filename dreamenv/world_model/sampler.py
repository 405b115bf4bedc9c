"""Making a frame: passes that take noise away and only read the memory, then one that writes it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from dreamenv.world_model.diffusion import add_noise, sampling_levels
from dreamenv.world_model.runtime.protocol import Stepper, View, Written
from dreamenv.world_model.state import State


class Jumps(NamedTuple):
    """What the network is asked for besides the level (`Dynamics.jump_of`)."""

    denoising: int
    writing: int


def sample_frame(
    stepper: Stepper,
    state: State,
    action: Tensor,
    noise: Tensor,
    passes: int,
    context_noise: float,
    jumps: Jumps,
) -> tuple[Tensor, Written]:
    """Imagine the frame that an action leads to.

    A pass predicts the clean frame z₁ from a noisy one, z = (1 − τ) z₀ + τ z₁, and the next view is
    z + (τ′ − τ) / (1 − τ) · (z₁ − z): the flow from noise to frame in `passes` straight steps.

    Args:
        stepper: makes the passes; may overwrite `state`.
        state: memory of b slots.
        action: (b, …).
        noise: standard normal, (b, 2, latents, channels): where denoising starts, and the noise
            under which the frame is written.
        passes: K, at least 1.
        context_noise: level of noise under which the frame is written, 0 … 1.
        jumps: for the two kinds of passes.

    Returns:
        The frame's latents (b, latents, channels), and what writing it gave.
    """
    shared = stepper.begin(state, action)
    latents = noise[:, 0]
    for before, after in sampling_levels(passes):
        pull = (after - before) / (1 - before)
        view = View(before, jumps.denoising)
        latents = stepper.denoise(state, shared, latents, view, action, pull)
    clarity, seen = 1 - context_noise, latents
    if context_noise:
        level = latents.new_full((len(latents), 1), clarity)
        seen = add_noise(latents.unsqueeze(1), level, noise[:, 1:]).squeeze(1)
    return latents, stepper.write(state, shared, seen, View(clarity, jumps.writing), action)
