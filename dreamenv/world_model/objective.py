"""What the dynamics are trained on: diffusion forcing with a clean prefix, or clean state."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamenv.core.errors import ConfigError
from dreamenv.core.ranges import require_ranges
from dreamenv.world_model.batch import Batch, changed
from dreamenv.world_model.diffusion import sample_levels
from dreamenv.world_model.landmark_objective import drawn_from_landmarks, motion_loss, shown
from dreamenv.world_model.network.bidirectional import BidirectionalDynamics
from dreamenv.world_model.network.dynamics import Dynamics, Prediction, Stream
from dreamenv.world_model.network.heads import OutcomeHead
from dreamenv.world_model.network.landmarks import Sight
from dreamenv.world_model.network.operations import targets_of_training
from dreamenv.world_model.noisy_views import (
    context_levels,
    forcing_levels,
    noisy_view,
    whole_numbers,
)
from dreamenv.world_model.state import State

SCHEMES = ("diffusion_forcing", "clean_state")


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights and noise of the training objective."""

    scheme: str = "clean_state"
    """`diffusion_forcing`: one stream, every frame under noise of its own, and in some rows a
    clean prefix [Po et al. 2025]. `clean_state`: two streams; clean frames write the memory,
    noisy views of the same frames only read it, so that every frame trains under exactly the
    clean history that it will have when it is imagined."""
    clean_prefix: float = 0.5
    """diffusion_forcing: share of rows whose first half or more stays clean and unscored."""
    pure_noise: float = 1 / 3
    """Share of noisy frames that show nothing at all; a one-step sampler needs no others."""
    level_grid: int = 0
    """clean_state: K, if noisy frames are to be seen only as a sampler of K steps, or of half as
    many, sees them; 0: at any level."""
    context_noise: float = 0.2
    """clean_state: half of the written frames carry noise up to this level."""
    self_forcing: float = 0.0
    """clean_state: share of rows whose later frames are written as the model predicts them."""
    self_forcing_rounds: int = 2
    """Over how many steps such predictions build on each other."""
    shortcut: float = 0.25
    """Share of rows that learn jumps longer than the finest (shortcut forcing), where the dynamics
    have them (`DynamicsConfig.shortcut_passes`)."""
    reward_weight: float = 0.3
    """Of the rewards' loss beside that of latents, which has weight 1."""
    continuation_weight: float = 0.1
    """Of the loss of whether the episode goes on."""
    landmark_noise: float = 0.2
    """Half of the landmarks that training shows carry noise up to this level."""
    landmark_dropout: float = 0.1
    """Share of windows that are shown no landmarks."""
    landmark_share: float = 0.25
    """Share of frames that are also drawn from landmarks alone, with nothing before them: what is
    new in a frame is a small part of it, and says too little of where to look for it."""
    landmark_weight: float = 0.25
    """Of the loss of such frames."""
    motion_weight: float = 0.1
    """Of the loss of motions, measured and expected, of models with a landmark memory."""

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ConfigError(f"unknown scheme {self.scheme!r}; there are {', '.join(SCHEMES)}")
        shares = ("clean_prefix", "pure_noise", "context_noise", "self_forcing", "shortcut",
                  "landmark_noise", "landmark_dropout", "landmark_share")  # fmt: skip
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"objective.{name} is a share, 0 … 1: {getattr(self, name)}")
        weights = dict.fromkeys(
            ("reward_weight", "continuation_weight", "motion_weight", "landmark_weight"), 0.0
        )
        least = weights | {"self_forcing_rounds": 1, "level_grid": 0}
        require_ranges(self, least, prefix="objective.")


def dynamics_loss(
    dynamics: Dynamics,
    head: OutcomeHead,
    batch: Batch,
    config: ObjectiveConfig,
    generator: torch.Generator,
    state: State | None = None,
) -> tuple[dict[str, Tensor], State]:
    """Losses by name, of which `total` is their weighted sum, and the memory after the window.

    A frame with nothing before it is never scored: nothing says what it shows. Nor is what windows
    are padded with. The outcome is scored on frames that are (almost) clean, which is how the heads
    are used.

    Args:
        dynamics: the network. head: of rewards and continuation.
        batch: windows. config: of the objective. generator: of noise and levels.
        state: memory before the windows; by default they begin episodes.
    """
    if isinstance(dynamics, BidirectionalDynamics):
        batch = _cut(batch, dynamics.window)
        state = None
    shape = (batch.latents.shape[0], batch.latents.shape[1])
    if state is None:
        state = dynamics.initial_state(shape[0])
    sight = shown(batch.sight, config.landmark_noise, config.landmark_dropout, generator)
    after_first = batch.valid.to(batch.latents)
    after_first[:, 0] *= state.frames > 0
    if config.scheme == "diffusion_forcing" or isinstance(dynamics, BidirectionalDynamics):
        frames = batch.valid.sum(1, keepdim=True).cpu()
        level, scored = forcing_levels(
            shape, config.clean_prefix, generator, config.pure_noise, frames
        )
        write = noisy_view(batch.latents, level, generator)
        if isinstance(dynamics, BidirectionalDynamics):
            written = dynamics.denoise_padded(write, batch.actions, batch.valid.sum(1))
        else:
            state, written, _ = dynamics(state, write, batch.actions, sight=sight)
        scored = scored.to(after_first) * after_first
        denoising = _denoising_loss(written, batch.latents, scored)
    else:
        level = context_levels(shape, config.context_noise, generator)
        write = noisy_view(batch.latents, level, generator)
        if config.self_forcing > 0:
            write = _predicted_context(dynamics, state, batch, write, config, generator, sight)
        level = sample_levels(shape, generator, config.pure_noise, config.level_grid)
        level = level if config.level_grid else 0.98 * level
        read, target = noisy_view(batch.latents, level, generator), batch.latents
        if dynamics.finest_jump and config.shortcut > 0:
            shortcuts = dynamics, state, batch, write, read, config, generator, sight
            read, target = _with_shortcuts(*shortcuts)
        state, written, seen = dynamics(state, write, batch.actions, read, sight=sight)
        assert seen is not None
        denoising = _denoising_loss(seen, target, after_first)
    clean = after_first * (write.level > 0.75) * batch.rewards.isfinite()
    rewards = batch.rewards.nan_to_num()
    reward, continuation = head.losses(written.features, rewards, batch.terminated)
    losses = {
        "denoising": denoising,
        "reward": _mean(reward, clean),
        "continuation": _mean(continuation, clean),
    }
    losses["total"] = (
        losses["denoising"]
        + config.reward_weight * losses["reward"]
        + config.continuation_weight * losses["continuation"]
    )
    if batch.sight is not None and config.landmark_share * config.landmark_weight > 0:
        share, noise, grid = config.landmark_share, config.landmark_noise, config.level_grid
        drawn = drawn_from_landmarks(dynamics, batch, share, noise, grid, generator)
        losses["landmarks"] = _denoising_loss(*drawn)
        losses["total"] = losses["total"] + config.landmark_weight * losses["landmarks"]
    if dynamics.landmarks is not None and batch.motions is not None:
        losses["motion"] = motion_loss(dynamics.landmarks.tracker, batch, generator)
        losses["total"] = losses["total"] + config.motion_weight * losses["motion"]
    return losses, state


def _cut(batch: Batch, window: int) -> Batch:
    """Windows (b, t) as shorter ones (b · t // window, window)."""
    if batch.latents.shape[1] < window:
        raise ConfigError(
            f"bidirectional attention sees {window} frames, training windows have "
            f"{batch.latents.shape[1]}: lengthen them or lower dynamics.attention_window"
        )

    def cut(x: Tensor) -> Tensor:
        whole = x.shape[1] // window * window
        return x[:, :whole].unflatten(1, (-1, window)).flatten(0, 1)

    return batch.each(cut)


@targets_of_training()
def _predicted_context(
    dynamics: Dynamics,
    state: State,
    batch: Batch,
    write: Stream,
    config: ObjectiveConfig,
    generator: torch.Generator,
    sight: Sight | None = None,
) -> Stream:
    """Replace the later frames of some rows by what the model predicts for them.

    Scheduled sampling in parallel [Mihaylova & Martins 2019]: the memory is then written from
    frames with the model's own blur and mistakes, as in a dream, while targets stay real. In
    round r a frame is predicted from a context of frames predicted in round r − 1, so mistakes
    compound over r steps.
    """
    rows, frames = batch.latents.shape[:2]
    rows = math.ceil(config.self_forcing * rows)  # windows are drawn at random: the first will do
    valid = batch.valid[:rows].sum(1, keepdim=True).cpu().clamp(min=2)
    start = whole_numbers(torch.ones_like(valid), valid, generator)
    replace = (torch.arange(frames) >= start).to(write.level.device)
    latents, level = write.noisy[:rows], write.level[:rows]
    actions = batch.actions[:rows]
    sight = changed(sight, lambda part: part[:rows])
    unseen = torch.zeros(rows, frames)
    for _ in range(config.self_forcing_rounds):
        read = noisy_view(batch.latents[:rows], unseen, generator)
        memory, context = state.select(slice(rows)), Stream(latents, level)
        _, _, seen = dynamics(memory, context, actions, read, sight=sight)
        assert seen is not None
        latents = torch.where(replace[..., None, None], seen.latents, latents)
        level = torch.where(replace, 1.0, level)
    return Stream(torch.cat([latents, write.noisy[rows:]]), torch.cat([level, write.level[rows:]]))


@targets_of_training()
def _with_shortcuts(
    dynamics: Dynamics,
    state: State,
    batch: Batch,
    write: Stream,
    read: Stream,
    config: ObjectiveConfig,
    generator: torch.Generator,
    sight: Sight | None = None,
) -> tuple[Stream, Tensor]:
    """Let some rows of `read` ask for jumps of 1/K, and what all rows are then to predict.

    Shortcut forcing [Hafner et al. 2025, Frans et al. 2025]: a jump of size d from z̃ at level τ is
    to end where two jumps of d/2 end. With b = (f − z̃)/(1 − τ), the direction in which the
    network f would have z̃ go, the two take b′ at τ and b″ at τ + d/2, and the one is to take their
    mean: f(z̃, τ, d) = z̃ + (1 − τ)(b′ + b″)/2. Levels of such rows are multiples of d. The loss
    on f in units of the belief's scale is that of the other rows; there is no other weight.
    """
    rows = math.ceil(config.shortcut * len(batch.latents))
    chosen = slice(-rows, None)  # self-forcing takes the first rows
    jump = torch.randint(dynamics.finest_jump, (rows, 1), generator=generator)
    passes = 2.0**jump
    level = torch.rand((rows, read.level.shape[1]), generator=generator)
    level = ((level * passes).floor() / passes).to(read.level)
    jump, size = jump.expand_as(level).to(level.device), (1 / passes).to(level)[..., None, None]
    start = noisy_view(batch.latents[chosen], level, generator)
    context = Stream(write.noisy[chosen], write.level[chosen])
    memory, actions = state.select(slice(state.slots - rows, None)), batch.actions[chosen]
    sight = changed(sight, lambda part: part[chosen])

    def direction(view: Stream) -> Tensor:
        _, _, seen = dynamics(memory, context, actions, view, sight=sight)
        assert seen is not None
        return (seen.latents - view.noisy) / (1 - view.level)[..., None, None]

    first = direction(Stream(start.noisy, level, jump + 1))
    halfway = Stream(start.noisy + first * size / 2, level + size[..., 0, 0] / 2, jump + 1)
    mean = (first + direction(halfway)) / 2
    finest = torch.full(read.level.shape, dynamics.finest_jump, device=level.device)
    finest[chosen] = jump
    parts = zip(read[:2], start[:2], strict=True)
    noisy, levels = (torch.cat([x[:-rows], y]) for x, y in parts)
    target = torch.cat([batch.latents[:-rows], start.noisy + (1 - level)[..., None, None] * mean])
    return Stream(noisy, levels, finest), target


def _denoising_loss(prediction: Prediction, latents: Tensor, weight: Tensor) -> Tensor:
    target = (latents - prediction.mean) / prediction.scale.clamp(min=1e-3)
    return _mean((prediction.output - target).square().mean((-2, -1)), weight)


def _mean(value: Tensor, weight: Tensor) -> Tensor:
    return (value * weight).sum() / weight.sum().clamp(min=1)
