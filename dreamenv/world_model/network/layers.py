"""One layer of the dynamics: block-wise SSM scan → frame-local attention → MLP, or less.

Tokens are shaped (b, t, n, d): slots, frames, tokens of a frame in row-major order, width. Every
part works on a *writing* stream, whose frames enter the memory, and optionally on a *reading*
stream of the same shape, whose frame t sees the memory as it was before frame t.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamenv.world_model.config import DynamicsConfig
from dreamenv.world_model.network.attention import FrameAttention, RMSNorm, WindowAttention
from dreamenv.world_model.network.operations import Offer, operations_for
from dreamenv.world_model.network.place_scan import PlaceInputs, place_scan
from dreamenv.world_model.network.ssd import ScanInputs, ssd_scan
from dreamenv.world_model.state import LayerState

Streams = tuple[Tensor, Tensor | None]
PlaceStream = tuple[Tensor, Tensor, Tensor, Tensor | None]
"""Mixed, Δ, gate and signal levels of a stream."""


class BlockScan(nn.Module):
    """Mamba-2 mixer whose scan runs through time in every block of the token grid on its own.

    All blocks share weights and each has its own state, so that a token's predecessor in time is
    (block height · block width) scan steps away instead of a whole frame [Po et al. 2025].
    """

    def __init__(self, config: DynamicsConfig, grid: tuple[int, int], block: tuple[int, int]):
        super().__init__()
        self.inner = config.ssm_expand * config.width
        self.head_dim = config.ssm_head_dim
        self.heads = self.inner // self.head_dim
        self.state_dim = config.ssm_state_dim
        self.chunk = config.ssm_chunk
        self.recall = config.ssm_recall
        self.grid, self.block = grid, block
        self.blocks = (grid[0] // block[0]) * (grid[1] // block[1])
        self.key_dim = config.attention_head_dim if self.recall else self.state_dim
        self.channels = self.inner + 2 * self.key_dim
        self.project = nn.Linear(config.width, self.inner + self.channels + self.heads, bias=False)
        self.out = nn.Linear(self.inner, config.width, bias=False)
        self.norm = RMSNorm(self.inner)
        self.places: Tensor
        if self.recall:
            # Places are directions in the space of keys, the same in every layer and model.
            generator, shape = torch.Generator().manual_seed(0), (self.state_dim, self.key_dim)
            places = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
            self.register_buffer("places", F.normalize(places, dim=-1))
            self.sharpness = nn.Parameter(torch.tensor(20.0))
        else:
            self.conv_weight = nn.Parameter(torch.empty(config.ssm_conv, self.channels))
            self.conv_bias = nn.Parameter(torch.zeros(self.channels))
            nn.init.uniform_(self.conv_weight, -(config.ssm_conv**-0.5), config.ssm_conv**-0.5)
        self.by_place = config.ssm_place_forgetting
        if self.by_place:
            self.write_bias = nn.Parameter(torch.zeros(()))
        else:
            self._make_decay(config)
        # What a token is itself drowns what it remembers; the residual path has it anyway.
        self.skip = nn.Parameter(torch.full((self.heads,), 0.0 if self.recall else 1.0))
        self._address_by_similarity()

    @torch.no_grad()
    def _address_by_similarity(self) -> None:
        """Start with B = C: a token then reads most of what tokens like it have written."""
        first, n = 2 * self.inner, self.key_dim
        self.project.weight[first + n : first + 2 * n] = self.project.weight[first : first + n]
        if not self.recall:
            self.conv_weight[:, -n:] = self.conv_weight[:, -2 * n : -n]

    def _make_decay(self, config: DynamicsConfig) -> None:
        # Initial values of mamba-ssm: A in [1, 16], Δ log-uniform, there in [1e-3, 1e-1].
        self.log_a = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        step = torch.empty(self.heads).uniform_(*map(math.log, config.ssm_step_range)).exp()
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))
        if config.ssm_half_life[0]:
            self._live_for(step, *config.ssm_half_life)

    @torch.no_grad()
    def _live_for(self, step: Tensor, shortest: float, longest: float) -> None:
        """Start with half-lives in frames: at its initial Δ a head halves in as many tokens."""
        frames = torch.logspace(math.log10(shortest), math.log10(longest), self.heads)
        tokens = frames * self.block[0] * self.block[1]
        self.log_a.copy_((math.log(2) / (tokens * step)).log())

    def initial_state(self, slots: int, like: Tensor) -> dict[str, Tensor]:
        """SSM state and, where there is a convolution, its tail before the first frame."""
        sizes = (self.blocks, self.state_dim, self.heads, self.head_dim)
        memory = {"ssm": like.new_zeros(slots, *sizes)}
        if not self.recall:
            tail = len(self.conv_weight) - 1
            memory["conv"] = like.new_zeros(slots, self.blocks, tail, self.channels)
        return memory

    def forward(
        self,
        write: Tensor,
        state: dict[str, Tensor],
        levels: Streams,
        read: Tensor | None = None,
        keep: bool = True,
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Scan (b, t, n, d) tokens; returns both outputs and the state after the last frame.

        `levels` are the signal levels (b, t) of both streams.

        With `keep` False the returned state means nothing and costs nothing.
        """
        slots = write.shape[0]
        frame_tokens = self.block[0] * self.block[1]
        gate, mixed, dt = self._split(write)
        history, new_state = None, {"ssm": state["ssm"]}
        if not self.recall:
            tail = state["conv"].flatten(0, 1)
            history = torch.cat([tail.to(mixed.dtype), mixed], 1)
            new_tail = history[:, history.shape[1] - tail.shape[1] :]
            new_state["conv"] = new_tail.unflatten(0, (slots, -1))
            mixed = self._convolve(history)
        if self.by_place:
            streams: list[PlaceStream] = [(mixed, dt, gate, levels[0])]
            if read is not None:
                read_gate, read_mixed, read_dt = self._split(read)
                streams.append((read_mixed, read_dt, read_gate, levels[1]))
            return self._scan_places(streams, state["ssm"], keep)
        inputs = self._scan_inputs(mixed, dt, levels[0])
        read_inputs = None
        if read is not None:
            read_gate, read_mixed, read_dt = self._split(read)
            if history is not None:
                read_mixed = self._convolve_frames(read_mixed, history, frame_tokens)
            read_inputs = self._scan_inputs(read_mixed, read_dt, levels[1])
        a, ssm = -self.log_a.exp(), state["ssm"].flatten(0, 1)
        y, y_read, ssm = ssd_scan(inputs, a, ssm, frame_tokens, self.chunk, read_inputs, keep)
        new_state["ssm"] = ssm.unflatten(0, (slots, -1))
        out = self._finish(y, inputs.x, gate, slots)
        if read_inputs is None or y_read is None:
            return out, None, new_state
        return out, self._finish(y_read, read_inputs.x, read_gate, slots), new_state

    def _scan_places(
        self, streams: list[PlaceStream], ssm: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """`forward` where every place forgets by itself."""
        slots, tokens = ssm.shape[0], self.block[0] * self.block[1]
        parts = [self._place_inputs(mixed, dt, level) for mixed, dt, _, level in streams]
        read = parts[1] if len(parts) > 1 else None
        y, y_read, after = place_scan(parts[0], ssm.flatten(0, 1), tokens, read, keep)
        out = self._finish(y, parts[0].x, streams[0][2], slots)
        memory = {"ssm": after.unflatten(0, (slots, -1))}
        if read is None or y_read is None:
            return out, None, memory
        return out, self._finish(y_read, read.x, streams[1][2], slots), memory

    def _place_inputs(self, mixed: Tensor, dt: Tensor, level: Tensor | None) -> PlaceInputs:
        x, b, c = mixed.split([self.inner, self.key_dim, self.key_dim], -1)
        wide = torch.promote_types(dt.dtype, torch.float32)
        weight = torch.sigmoid(dt.to(wide).mean(-1, keepdim=True) + self.write_bias)
        if level is not None:
            weight = weight * self._shown(level).to(wide)
        places = self._address(b).to(wide) * weight, self._address(c).to(wide)
        return PlaceInputs(x.unflatten(-1, (self.heads, self.head_dim)), *places)

    def _shown(self, level: Tensor) -> Tensor:
        """Signal levels (b, t) of every token of every block, (b · blocks, l, 1)."""
        shown = level.repeat_interleave(self.blocks, 0)
        return shown.repeat_interleave(self.block[0] * self.block[1], 1).unsqueeze(-1)

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gate z, mixed (x, B, C) and raw Δ, each as (slots · blocks, l, …)."""
        projected = self._to_blocks(self.project(tokens))
        gate, mixed, dt = projected.split([self.inner, self.channels, self.heads], -1)
        return gate, mixed, dt

    def _convolve(self, padded: Tensor) -> Tensor:
        """Causal depthwise convolution; the first kernel − 1 inputs only serve as history."""
        length = padded.shape[1] - len(self.conv_weight) + 1
        return self._weigh([padded[:, i : i + length] for i in range(len(self.conv_weight))])

    def _convolve_frames(self, mixed: Tensor, history: Tensor, size: int) -> Tensor:
        """Convolve every frame of a reading stream after the writing stream's earlier frames."""
        length, tail = mixed.shape[1], len(self.conv_weight) - 1
        frames = mixed.unflatten(1, (-1, size))
        seen = []
        for tap in range(tail + 1):
            before = history[:, tap : tap + length].unflatten(1, (-1, size))
            missing = min(tail - tap, size)  # so many of a frame's tokens see what came before it
            seen.append(torch.cat([before[:, :, :missing], frames[:, :, : size - missing]], 2))
        return self._weigh(seen).flatten(1, 2)

    def _weigh(self, seen: list[Tensor]) -> Tensor:
        """What every tap of the convolution sees, (…, channels) each, to its output."""
        weight = self.conv_weight.to(seen[0].dtype)
        taps = [x * w for x, w in zip(seen, weight, strict=True)]
        return F.silu(sum(taps, self.conv_bias.to(weight.dtype)))

    def _scan_inputs(self, mixed: Tensor, dt: Tensor, level: Tensor | None) -> ScanInputs:
        x, b, c = mixed.split([self.inner, self.key_dim, self.key_dim], -1)
        wide = torch.promote_types(dt.dtype, torch.float32)
        step = F.softplus(dt.to(wide) + self.dt_bias)
        if self.recall and level is not None:
            b, c = self._address(b), self._address(c)
            step = step * self._shown(level).to(wide)
        return ScanInputs(x.unflatten(-1, (self.heads, self.head_dim)), step, b, c)

    def _address(self, key: Tensor) -> Tensor:
        """Which places of the state a key writes to or reads from, (…, state dim), sum 1."""
        wide = key.to(torch.promote_types(key.dtype, torch.float32))
        cosine = F.normalize(wide, dim=-1) @ self.places.to(wide).T
        return (self.sharpness * cosine).softmax(-1).to(key.dtype)

    def _finish(self, y: Tensor, x: Tensor, gate: Tensor, slots: int) -> Tensor:
        if self.recall:
            y = F.rms_norm(y, y.shape[-1:], eps=1e-12)
        y = y.to(gate.dtype) + x * self.skip.to(gate.dtype)[:, None]
        y = self.norm(y.flatten(2) * F.silu(gate))
        return self.out(self._from_blocks(y, slots))

    def _to_blocks(self, x: Tensor) -> Tensor:
        """(b, t, n, c) → (b · blocks, t · block tokens, c)."""
        if self.blocks == 1:
            return x.flatten(1, 2)
        b, t = x.shape[:2]
        (rows, columns), (height, width) = self.grid, self.block
        x = x.view(b, t, rows // height, height, columns // width, width, -1)
        return x.permute(0, 2, 4, 1, 3, 5, 6).reshape(b * self.blocks, t * height * width, -1)

    def _from_blocks(self, x: Tensor, slots: int) -> Tensor:
        """Inverse of `_to_blocks`."""
        (rows, columns), (height, width) = self.grid, self.block
        x = x.view(slots, rows // height, columns // width, -1, height, width, x.shape[-1])
        x = x.permute(0, 3, 1, 4, 2, 5, 6)
        return x.reshape(slots, -1, rows * columns, x.shape[-1])


class DynamicsLayer(nn.Module):
    """Scan, attention and MLP, each a gated residual under adaptive norm [Peebles & Xie 2023].

    A configuration may leave scan or attention out.
    """

    faster: Offer | None = None
    """What runs the parts in training where it can; without it they run as they are written."""

    def __init__(self, config: DynamicsConfig, grid: tuple[int, int], block: tuple[int, int]):
        super().__init__()
        width = config.width
        self.tokens = math.prod(grid)
        self.scan: BlockScan | None = None
        if config.scan != "none":
            self.scan = BlockScan(config, grid, block if config.scan == "block" else grid)
        self.attention: FrameAttention | None = None
        if config.attention != "none":
            kind = WindowAttention if config.attention == "bidirectional" else FrameAttention
            window = None if config.attention == "full" else config.attention_window
            self.attention = kind(width, config.attention_head_dim, window, grid)
        hidden = round(config.mlp_ratio * width)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width)
        )
        parts = 1 + (self.scan is not None) + (self.attention is not None)
        self.modulation = nn.Linear(config.condition_width, 3 * parts * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        # Gates start at one third rather than at zero: the path is open from the first update.
        for gate in self.modulation.bias.data.chunk(3 * parts)[2::3]:
            gate.fill_(1 / 3)

    def initial_state(self, slots: int, like: Tensor) -> LayerState:
        """Empty memory; `like` gives dtype and device."""
        memory: LayerState = {}
        if self.scan is not None:
            memory |= self.scan.initial_state(slots, like)
        if self.attention is not None:
            memory |= self.attention.initial_state(slots, self.tokens, like)
        return memory

    def forward(
        self,
        tokens: Streams,
        conditions: Streams,
        state: LayerState,
        levels: Streams,
        seen: Tensor,
        keep: bool = True,
    ) -> tuple[Streams, LayerState]:
        """Map both streams (b, t, n, d) under their conditions (b, t, condition width).

        `levels` are their signal levels (b, t), `seen` how many frames came before, (b,).

        With `keep` False the returned state is the given one.
        """
        streams = [x for x in tokens if x is not None]
        operations = operations_for(streams[0], self.faster)
        modulations = [
            iter(self.modulation(c).unsqueeze(2).split(streams[0].shape[-1], -1))
            for c in conditions
            if c is not None
        ]

        def residual(apply: Callable[..., list[Tensor]]) -> None:
            inputs, gates = [], []
            for i, modulation in enumerate(modulations):
                scale, shift, gate = (next(modulation) for _ in range(3))
                streams[i], normed = operations.enter(streams[i], scale, shift)
                inputs.append(normed)
                gates.append(gate)
            for i, output in enumerate(apply(*inputs)):
                streams[i] = operations.leave(streams[i], gates[i], output)

        new: LayerState = {}

        def remember(run: Callable[..., Any], **extra: Any) -> Callable[..., list[Tensor]]:
            def apply(write: Tensor, read: Tensor | None = None) -> list[Tensor]:
                out, out_read, memory = run(write=write, state=state, read=read, keep=keep, **extra)
                new.update(memory)
                return [out] if out_read is None else [out, out_read]

            return apply

        if self.scan is not None:
            residual(remember(operations.scan, part=self.scan, levels=levels))
        if self.attention is not None:
            residual(remember(operations.attend, part=self.attention, seen=seen))
        residual(lambda *inputs: [operations.mlp(self.mlp, x) for x in inputs])
        return (streams[0], streams[1] if len(streams) > 1 else None), new if keep else state
