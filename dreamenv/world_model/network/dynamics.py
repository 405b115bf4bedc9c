"""The dynamics: predicts the latents of frames from noisy views, actions and memory."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from dreamenv.world_model.config import DynamicsConfig
from dreamenv.world_model.diffusion import belief
from dreamenv.world_model.network.conditioning import ActionEmbedding, PoseEmbedding
from dreamenv.world_model.network.layers import DynamicsLayer, Streams
from dreamenv.world_model.state import State


class Stream(NamedTuple):
    """Frames as the network sees them: noisy latents (b, t, n, c) and signal levels (b, t)."""

    noisy: Tensor
    level: Tensor
    jump: Tensor | None = None
    """log2 K (b, t) where the network is asked for a jump of 1/K towards the frame, as K_max
    passes would go (`DynamicsConfig.shortcut_passes`); None: for the frame, by the finest jump."""


class Prediction(NamedTuple):
    """Of one stream: clean latents (b, t, n, c), the network's own output, and features."""

    latents: Tensor
    output: Tensor
    """F in z = mean + σ F."""
    mean: Tensor
    scale: Tensor
    features: Tensor
    """Last layer's tokens averaged over the frame, (b, t, d)."""
    regions: Tensor
    """The same averaged over each quarter of the frame, row by row, (b, t, 4 · d)."""


class Dynamics(nn.Module):
    """Layers of scan → attention → MLP between a latent projection and its inverse."""

    change: Tensor

    def __init__(
        self,
        config: DynamicsConfig,
        grid: tuple[int, int],
        latent_channels: int,
        conditioning: ActionEmbedding | PoseEmbedding,
    ) -> None:
        super().__init__()
        self.config = config
        self.grid = grid
        self.latent_count, self.latent_channels = math.prod(grid), latent_channels
        token_grid = (grid[0] // config.patch, grid[1] // config.patch)
        token_channels = latent_channels * config.patch**2
        condition = config.condition_width
        self.action = conditioning
        self.noise_level = nn.Sequential(
            nn.Linear(condition, condition), nn.SiLU(), nn.Linear(condition, condition)
        )
        self.jump: nn.Embedding | None = None
        if config.shortcut_passes:
            self.jump = nn.Embedding(self.finest_jump + 1, condition)
            nn.init.zeros_(self.jump.weight)
        self.project = nn.Linear(2 * token_channels, config.width)
        # Poses are also added to the tokens, as strongly as what is seen: memory is searched by
        # them.
        self.place: nn.Linear | None = None
        if isinstance(conditioning, PoseEmbedding):
            self.place = nn.Linear(conditioning.size, config.width, bias=False)
            nn.init.normal_(self.place.weight, std=(2 / conditioning.size) ** 0.5)
        self.position = nn.Parameter(0.5 * torch.randn(math.prod(token_grid), config.width))
        self.layers = nn.ModuleList(
            DynamicsLayer(config, token_grid, block) for block in config.scan_blocks
        )
        self.output = nn.Linear(config.width, token_channels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.checkpoint_activations = False
        """Whether layers are computed again for the gradient, for less memory in training."""
        # Standard deviation of the change from frame to frame, measured on the training data.
        self.register_buffer("change", torch.ones(()))

    @property
    def finest_jump(self) -> int:
        """log2 of `shortcut_passes`: the jump for which the network is asked for the frame."""
        return max(self.config.shortcut_passes, 1).bit_length() - 1

    def jump_of(self, passes: int, shortcut: bool = True) -> int:
        """log2 of the K to ask for when a frame takes `passes` denoising passes.

        The finest where shortcuts are not wanted, or were not learnt for so many passes.
        """
        learnt = passes & (passes - 1) == 0 and passes <= self.config.shortcut_passes
        return passes.bit_length() - 1 if learnt and shortcut else self.finest_jump

    def initial_state(self, slots: int) -> State:
        """Memory before the first frame."""
        like = self.position
        layers = cast(list[DynamicsLayer], self.layers)
        memories = [layer.initial_state(slots, like.detach()) for layer in layers]
        latents = like.detach().new_zeros(slots, self.latent_count, self.latent_channels)
        frames = torch.zeros(slots, dtype=torch.int64, device=like.device)
        grows = self.config.attention == "full"
        return State(memories, latents, latents.new_zeros(slots), frames, grows)

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
        x, c = self._enter(write, read, previous, actions)
        levels: Streams = (write.level, None if read is None else read.level)
        layers = []
        for layer, layer_state in zip(self.layers, state.layers, strict=True):
            x, new = self.through(layer, x, c, layer_state, levels, state.frames, keep)
            layers.append(new)
        written = self._predict(x[0], write, previous)
        if not keep:
            return state, written, None
        frames = state.frames + write.noisy.shape[1]
        new_state = State(layers, write.noisy[:, -1], write.level[:, -1], frames, state.grows)
        if read is None or x[1] is None:
            return new_state, written, None
        return new_state, written, self._predict(x[1], read, previous)

    def through(self, layer: nn.Module, *inputs: Any) -> Any:
        """What a layer makes of its inputs; if so wished, without keeping how it got there."""
        if self.checkpoint_activations and torch.is_grad_enabled():
            return checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=False)
        return layer(*inputs)

    def _enter(
        self, write: Stream, read: Stream | None, previous: Stream, actions: Tensor
    ) -> tuple[Streams, Streams]:
        """Tokens and conditions of both streams, as the layers take them."""
        action = self.action(actions)

        def tokens(stream: Stream) -> Tensor:
            joined = self._to_tokens(torch.cat([stream.noisy, previous.noisy], -1))
            embedded = self.project(joined) + self.position
            if isinstance(self.action, PoseEmbedding) and self.place is not None:
                embedded = embedded + self.place(self.action.features(actions)).unsqueeze(2)
            return embedded

        def condition(stream: Stream) -> Tensor:
            return F.silu(self.embed_view(stream.level, stream.jump) + action)

        if read is None:
            return (tokens(write), None), (condition(write), None)
        return (tokens(write), tokens(read)), (condition(write), condition(read))

    def _to_tokens(self, latents: Tensor) -> Tensor:
        """(b, t, latents, c) → (b, t, tokens, patch² · c)."""
        p = self.config.patch
        if p == 1:
            return latents
        x = latents.unflatten(2, (self.grid[0] // p, p, self.grid[1] // p, p))
        return x.transpose(3, 4).flatten(4).flatten(2, 3)

    def _to_latents(self, tokens: Tensor) -> Tensor:
        """Inverse of `_to_tokens`."""
        p = self.config.patch
        if p == 1:
            return tokens
        x = tokens.unflatten(3, (p, p, -1)).unflatten(2, (self.grid[0] // p, self.grid[1] // p))
        return x.transpose(3, 4).flatten(2, 5)

    def embed_view(self, level: Tensor, jump: Tensor | None = None) -> Tensor:
        """Signal levels (…) and jumps (…), by default the finest → (…, condition width)."""
        half = self.config.condition_width // 2
        rates = torch.exp(torch.linspace(0, 5, half, device=level.device, dtype=level.dtype))
        angle = level[..., None] * rates
        embedded = self.noise_level(torch.cat([angle.cos(), angle.sin()], -1))
        if self.jump is None:
            return embedded
        return embedded + (self.jump.weight[self.finest_jump] if jump is None else self.jump(jump))

    def _predict(self, tokens: Tensor, stream: Stream, previous: Stream) -> Prediction:
        tokens = F.rms_norm(tokens, tokens.shape[-1:])
        mean, scale = belief(
            stream.noisy, stream.level, previous.noisy, previous.level, self.change
        )
        output = self._to_latents(self.output(tokens)).to(mean.dtype)
        latents = mean + scale * output
        return Prediction(latents, output, mean, scale, tokens.mean(2), self._regions(tokens))

    def _regions(self, tokens: Tensor) -> Tensor:
        """Tokens (b, t, n, d) → averages over the quarters of the frame, (b, t, 4 · d)."""
        rows, columns = (size // self.config.patch for size in self.grid)
        images = tokens.flatten(0, 1).transpose(1, 2).unflatten(2, (rows, columns))
        quarters = F.adaptive_avg_pool2d(images, 2).movedim(1, -1)
        return quarters.flatten(1).unflatten(0, tokens.shape[:2])
