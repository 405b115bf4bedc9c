"""The dynamics: predicts the latents of frames from noisy views, actions and memory."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamenv.world_model.config import ActionConfig, DynamicsConfig
from dreamenv.world_model.diffusion import belief
from dreamenv.world_model.layers import DynamicsLayer, Streams
from dreamenv.world_model.state import State


class Stream(NamedTuple):
    """Frames as the network sees them: noisy latents (b, t, n, c) and signal levels (b, t)."""

    noisy: Tensor
    level: Tensor


class Prediction(NamedTuple):
    """Of one stream: clean latents (b, t, n, c), the network's own output, and features."""

    latents: Tensor
    output: Tensor
    """F in z = mean + σ F."""
    mean: Tensor
    scale: Tensor
    features: Tensor
    """Last layer's tokens averaged over the frame, (b, t, d)."""


class ActionEmbedding(nn.Module):
    """Discrete actions look up a vector, continuous ones pass a small MLP."""

    middle: Tensor
    half_range: Tensor

    def __init__(self, config: ActionConfig, width: int) -> None:
        super().__init__()
        self.config = config
        if config.discrete:
            self.table = nn.Embedding(config.n + 1, width)  # the last row is the start token
        else:
            self.start = nn.Parameter(torch.zeros(width))
            low, high = torch.tensor(config.low), torch.tensor(config.high)
            self.register_buffer("middle", (low + high) / 2, persistent=False)
            self.register_buffer("half_range", (high - low) / 2, persistent=False)
            self.mlp = nn.Sequential(
                nn.Linear(len(config.low), width), nn.SiLU(), nn.Linear(width, width)
            )

    def forward(self, actions: Tensor) -> Tensor:
        """Embed the action that led to each frame.

        Args:
            actions: (b, t) integers with −1 for "no action led here", or (b, t, dims) floats
                with NaN for it.
        """
        if self.config.discrete:
            return self.table(torch.where(actions < 0, self.config.n, actions))
        start = actions.isnan().any(-1, keepdim=True)
        scaled = (actions.nan_to_num() - self.middle) / self.half_range
        return torch.where(start, self.start, self.mlp(scaled.to(self.start.dtype)))


class Dynamics(nn.Module):
    """Layers of scan → attention → MLP between a latent projection and its inverse."""

    change: Tensor

    def __init__(
        self,
        config: DynamicsConfig,
        grid: tuple[int, int],
        latent_channels: int,
        actions: ActionConfig,
    ) -> None:
        super().__init__()
        self.config = config
        self.tokens, self.latent_channels = math.prod(grid), latent_channels
        condition = config.condition_width
        self.action = ActionEmbedding(actions, condition)
        self.noise_level = nn.Sequential(
            nn.Linear(condition, condition), nn.SiLU(), nn.Linear(condition, condition)
        )
        self.project = nn.Linear(2 * latent_channels, config.width)
        self.position = nn.Parameter(0.02 * torch.randn(self.tokens, config.width))
        self.layers = nn.ModuleList(
            DynamicsLayer(config, grid, block) for block in config.scan_blocks
        )
        self.output = nn.Linear(config.width, latent_channels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        # Standard deviation of the change from frame to frame, measured on the training data.
        self.register_buffer("change", torch.ones(()))

    def initial_state(self, slots: int) -> State:
        """Memory before the first frame."""
        like = self.position
        layers = cast(list[DynamicsLayer], self.layers)
        memories = [layer.initial_state(slots, like.detach()) for layer in layers]
        latents = like.detach().new_zeros(slots, self.tokens, self.latent_channels)
        frames = torch.zeros(slots, dtype=torch.int64, device=like.device)
        return State(memories, latents, latents.new_zeros(slots), frames)

    def forward(
        self,
        state: State,
        write: Stream,
        actions: Tensor,
        read: Stream | None = None,
        keep: bool = True,
    ) -> tuple[State, Prediction, Prediction | None]:
        """Predict every frame of one or two streams.

        Args:
            state: memory before the first frame.
            write: frames that enter the memory, each seeing those before it.
            actions: the action that led to each frame, shared by both streams.
            read: other views of the same frames; each sees the written frames strictly before
                it, as when a new frame is imagined.
            keep: False only looks: the memory is returned as it was, and computing it is saved.

        Returns:
            The memory after the last written frame, and the prediction of each stream.
        """
        previous = Stream(
            torch.cat([state.latents.unsqueeze(1), write.noisy[:, :-1]], 1),
            torch.cat([state.level.unsqueeze(1), write.level[:, :-1]], 1),
        )
        action = self.action(actions)
        streams = [write] if read is None else [write, read]
        tokens = [self._embed(stream, previous) for stream in streams]
        conditions = [F.silu(self._embed_level(s.level) + action) for s in streams]
        x: Streams = (tokens[0], tokens[1] if read is not None else None)
        c: Streams = (conditions[0], conditions[1] if read is not None else None)
        layers = []
        for layer, layer_state in zip(self.layers, state.layers, strict=True):
            x, new = layer(x, c, layer_state, state.frames, keep)
            layers.append(new)
        written = self._predict(x[0], write, previous)
        if not keep:
            return state, written, None
        frames = state.frames + write.noisy.shape[1]
        new_state = State(layers, write.noisy[:, -1], write.level[:, -1], frames)
        if read is None or x[1] is None:
            return new_state, written, None
        return new_state, written, self._predict(x[1], read, previous)

    def _embed(self, stream: Stream, previous: Stream) -> Tensor:
        return self.project(torch.cat([stream.noisy, previous.noisy], -1)) + self.position

    def _embed_level(self, level: Tensor) -> Tensor:
        half = self.config.condition_width // 2
        rates = torch.exp(torch.linspace(0, 5, half, device=level.device, dtype=level.dtype))
        angle = level[..., None] * rates
        return self.noise_level(torch.cat([angle.cos(), angle.sin()], -1))

    def _predict(self, tokens: Tensor, stream: Stream, previous: Stream) -> Prediction:
        tokens = F.rms_norm(tokens, tokens.shape[-1:])
        mean, scale = belief(*stream, *previous, self.change)
        output = self.output(tokens).to(mean.dtype)
        return Prediction(mean + scale * output, output, mean, scale, tokens.mean(2))
