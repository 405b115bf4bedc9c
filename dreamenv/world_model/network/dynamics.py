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
from dreamenv.world_model.network.landmarks import LandmarkMemory, LandmarkReader, Sight, Sighting
from dreamenv.world_model.network.layers import DynamicsLayer, Streams
from dreamenv.world_model.network.operations import TORCH
from dreamenv.world_model.network.pose_tracker import PoseTracker
from dreamenv.world_model.state import State

ACTION_WIDTH = 64
"""Of the embedding of actions that the pose tracker takes."""


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
        self.landmarks: LandmarkMemory | None = None
        if config.landmarks.count:
            self.landmarks = self._make_landmarks(conditioning, token_grid)
        self.output = nn.Linear(config.width, token_channels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.checkpoint_activations = False
        """Whether layers are computed again for the gradient, for less memory in training."""
        # Standard deviation of the change from frame to frame, measured on the training data.
        self.register_buffer("change", torch.ones(()))

    def _make_landmarks(
        self, conditioning: ActionEmbedding | PoseEmbedding, token_grid: tuple[int, int]
    ) -> LandmarkMemory:
        config = self.config
        assert isinstance(conditioning, ActionEmbedding), "poses are told already"
        embedding = ActionEmbedding(conditioning.config, ACTION_WIDTH)
        size = self.latent_count * self.latent_channels
        tracker = PoseTracker(embedding, ACTION_WIDTH, size, config.landmarks.tracker_width)
        recent = config.attention_window if config.attention == "window" else 0
        return LandmarkMemory(
            config.landmarks, config.width, config.condition_width, config.attention_head_dim,
            recent, self.grid, self.latent_channels, token_grid, tracker,
        )  # fmt: skip

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
        places = {} if self.landmarks is None else self.landmarks.initial_state(slots, latents)
        return State(memories, latents, latents.new_zeros(slots), frames, grows, places)

    def forward(
        self,
        state: State,
        write: Stream,
        actions: Tensor,
        read: Stream | None = None,
        keep: bool = True,
        sight: Sight | Sighting | None = None,
    ) -> tuple[State, Prediction, Prediction | None]:
        """Predict every frame of one or two streams.

        Args:
            state: memory before the first frame.
            write: frames that enter the memory, each seeing those before it.
            actions: the action that led to each frame, shared by both streams.
            read: other views of the same frames; each sees the written frames strictly before
                it, as when a new frame is imagined.
            keep: False only looks: the memory is returned as it was, and computing it is saved.
            sight: what the frames have of landmarks, where that is known: training knows it from
                recorded poses, and then the landmark memory is left as it was. By default written
                frames are real ones, which are followed through the memory.

        Returns:
            The memory after the last written frame, and the prediction of each stream.
        """
        previous = Stream(
            torch.cat([state.latents.unsqueeze(1), write.noisy[:, :-1]], 1),
            torch.cat([state.level.unsqueeze(1), write.level[:, :-1]], 1),
        )
        places = state.landmarks
        if self.landmarks is not None and sight is None:
            before = state.latents, state.level
            sight, places = self.landmarks.follow(places, *before, actions, write.noisy)
        x, c = self._enter(write, read, previous, actions)
        if isinstance(sight, Sight):
            assert self.landmarks is not None
            sight = self.landmarks.encode(sight)
        if sight is not None:
            x = (x[0] + sight.moved, None if x[1] is None else x[1] + sight.moved)
        levels: Streams = (write.level, None if read is None else read.level)
        layers = []
        for i, (layer, layer_state) in enumerate(zip(self.layers, state.layers, strict=True)):
            if sight is not None and i in self.config.landmarks.layers:
                x = self._see_landmarks(x, c, sight, self.config.landmarks.layers.index(i))
            x, new = self.through(layer, x, c, layer_state, levels, state.frames, keep)
            layers.append(new)
        written = self._predict(x[0], write, previous)
        if not keep:
            return state, written, None
        frames = state.frames + write.noisy.shape[1]
        last = write.noisy[:, -1], write.level[:, -1]
        new_state = State(layers, *last, frames, state.grows, places)
        if read is None or x[1] is None:
            return new_state, written, None
        return new_state, written, self._predict(x[1], read, previous)

    def _see_landmarks(self, x: Streams, c: Streams, sight: Sighting, number: int) -> Streams:
        """Both streams after one of the layers' looks at landmarks, which they share."""
        assert self.landmarks is not None
        reader = cast(LandmarkReader, self.landmarks.readers[number])
        keys, values = sight.keys[number], sight.values[number]
        seen: list[Tensor | None] = []
        for tokens, condition in zip(x, c, strict=True):
            if tokens is None or condition is None:
                seen.append(None)
                continue
            scale, shift, gate = reader.modulation(condition).unsqueeze(2).chunk(3, -1)
            tokens, normed = TORCH.enter(tokens, scale, shift)
            found = reader.attend(normed, keys, values, sight.mask, sight.turned)
            seen.append(TORCH.leave(tokens, gate, found))
        return cast(Streams, tuple(seen))

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
