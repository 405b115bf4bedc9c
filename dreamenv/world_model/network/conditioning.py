"""What a frame is known by: the action that led to it, or the pose it is seen from."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dreamenv.world_model.config import ActionConfig, WorldModelConfig


def make_conditioning(config: WorldModelConfig) -> ActionEmbedding | PoseEmbedding:
    """The embedding that `config.conditioning` asks for, (b, t, …) → (b, t, condition width)."""
    kind = PoseEmbedding if config.conditioning == "pose" else ActionEmbedding
    return kind(config.actions, config.dynamics.condition_width)


class ActionEmbedding(nn.Module):
    """Discrete actions look up a vector, all others pass a small MLP, category by category."""

    middle: Tensor
    half_range: Tensor

    def __init__(self, config: ActionConfig, width: int) -> None:
        super().__init__()
        self.config = config
        if config.discrete:
            self.table = nn.Embedding(config.n + 1, width)  # the last row is the start token
        else:
            self.start = nn.Parameter(torch.zeros(width))
            low, high = _bounds(config)
            self.register_buffer("middle", (low + high) / 2, persistent=False)
            self.register_buffer("half_range", (high - low) / 2, persistent=False)
            dims, factored = len(config.low), bool(config.categories)
            first = Factors(config.categories, width) if factored else nn.Linear(dims, width)
            self.mlp = nn.Sequential(first, nn.SiLU(), nn.Linear(width, width))

    def forward(self, actions: Tensor) -> Tensor:
        """Embed the action that led to each frame.

        Args:
            actions: (b, t) integers with −1 for "no action led here", or (b, t, dims) floats
                with NaN for it; categories are floats too, counted from 0.
        """
        if self.config.discrete:
            return self.table(torch.where(actions < 0, self.config.n, actions))
        start = actions.isnan().any(-1, keepdim=True)
        scaled = (actions.nan_to_num() - self.middle) / self.half_range
        return torch.where(start, self.start, self.mlp(scaled.to(self.start.dtype)))

    def first(self, actions: Tensor) -> Tensor:
        """What stands in place of `actions` where an episode begins."""
        return torch.full_like(actions, -1 if self.config.discrete else torch.nan)

    def none(self, slots: int, frames: int, device: torch.device) -> Tensor:
        """Actions of frames that are not there, (slots, frames) or (slots, frames, dims)."""
        if self.config.discrete:
            return torch.full((slots, frames), -1, device=device)
        shape = (slots, frames, len(self.config.low))
        return torch.full(shape, torch.nan, dtype=torch.float32, device=device)


class Factors(nn.Module):
    """The sum of a vector for each category that was chosen and of a map of the real numbers.

    What follows it may mix them: that a camera turns while a key is held is another action than
    one after the other.
    """

    first: Tensor

    def __init__(self, categories: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.chosen = [i for i, count in enumerate(categories) if count]
        self.real = [i for i, count in enumerate(categories) if not count]
        counts = [categories[i] for i in self.chosen]
        first = torch.tensor([0, *counts[:-1]], device="cpu").cumsum(0)
        self.register_buffer("first", first, persistent=False)
        self.table = nn.Embedding(sum(counts), width)
        nn.init.normal_(self.table.weight, std=len(counts) ** -0.5)
        self.line = nn.Linear(len(self.real), width) if self.real else None

    def forward(self, actions: Tensor) -> Tensor:
        """(…, dims) categories counted from 0 and real numbers about in −1 … 1 → (…, width)."""
        index = actions[..., self.chosen].long() + self.first
        summed = self.table(index).sum(-2)
        return summed if self.line is None else summed + self.line(actions[..., self.real])


class PoseEmbedding(nn.Module):
    """Poses as sines and cosines of many wavelengths, whose products tell near poses from far."""

    middle: Tensor
    half_range: Tensor
    rates: Tensor

    def __init__(self, config: ActionConfig, width: int) -> None:
        super().__init__()
        low, high = _bounds(config)
        self.register_buffer("middle", (low + high) / 2, persistent=False)
        self.register_buffer("half_range", (high - low) / 2, persistent=False)
        # From twice the box down to an eighth of it.
        octaves = torch.arange(-1, 4, dtype=torch.float32, device="cpu")
        self.register_buffer("rates", math.pi * 2.0**octaves, persistent=False)
        self.size = 2 * len(low) * len(self.rates)
        self.mlp = nn.Sequential(nn.Linear(self.size, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, poses: Tensor) -> Tensor:
        """Embed poses (b, t, dims); every frame has one."""
        return self.mlp(self.features(poses))

    def features(self, poses: Tensor) -> Tensor:
        """Sines and cosines, (b, t, `size`): their products fall with the distance of two poses."""
        angle = ((poses - self.middle) / self.half_range)[..., None] * self.rates
        return torch.cat([angle.sin(), angle.cos()], -1).flatten(-2).to(self.middle.dtype)

    def first(self, poses: Tensor) -> Tensor:
        """What stands in place of `poses` where an episode begins: themselves."""
        return poses

    def none(self, slots: int, frames: int, device: torch.device) -> Tensor:
        """Poses that stand where there is no frame, (slots, frames, dims)."""
        return self.middle.expand(slots, frames, -1)


def _bounds(config: ActionConfig) -> tuple[Tensor, Tensor]:
    """Lowest and highest values, (dims,) each. They are not stored, so never on `meta`.

    Those of categories are −1 and 1, so that taking them to −1 … 1 leaves them as they are.
    """
    low, high = (
        torch.tensor(x, dtype=torch.float32, device="cpu") for x in (config.low, config.high)
    )
    if config.categories:
        chosen = torch.tensor(config.categories, device="cpu") > 0
        low[chosen], high[chosen] = -1.0, 1.0
    return low, high
