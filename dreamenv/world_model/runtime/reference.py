"""One imagined frame at a time, in place: the model's arithmetic laid out for speed.

`Dynamics.forward` defines what is computed, for any number of frames and two streams. Here is the
same for a single frame, which is all a dream needs: weights are joined and cast once, conditions
are looked up, keys are rotated once per frame, element-wise work stays in the wide dtype, which
CPUs compute faster than bfloat16, and the memory is overwritten instead of copied.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamenv.world_model.diffusion import belief
from dreamenv.world_model.network.attention import FrameAttention
from dreamenv.world_model.network.conditioning import ActionEmbedding
from dreamenv.world_model.network.dynamics import Dynamics
from dreamenv.world_model.network.heads import Outcome, OutcomeHead
from dreamenv.world_model.network.layers import BlockScan, DynamicsLayer
from dreamenv.world_model.network.tokenizer import Tokenizer
from dreamenv.world_model.runtime.cuda.graphs import StepGraphs
from dreamenv.world_model.state import LayerState, State

Shared = list[Any]
"""What all passes over one frame share; only the stepper that made it knows what it is."""


def can_step(dynamics: nn.Module) -> bool:
    """Whether `FrameStepper` covers this architecture; others imagine by the reference path."""
    if not isinstance(dynamics, Dynamics) or not isinstance(dynamics.action, ActionEmbedding):
        return False
    config = dynamics.config
    return config.scan != "none" and config.attention == "window" and not config.ssm_recall


class View(NamedTuple):
    """How a pass sees its frame: signal level, and the jump it is asked for (`Stream.jump`)."""

    level: float
    jump: int


class FrameStepper:
    """Single-frame passes of a `Dynamics`, and the decoder, with their weights as they are now.

    Args:
        dynamics: one that `can_step`.
        tokenizer: its latents are decoded.
        dtype: of matrix products; everything else is in the dtype of the SSM state.
    """

    def __init__(self, dynamics: Dynamics, tokenizer: Tokenizer, dtype: torch.dtype) -> None:
        self.dynamics, self.tokenizer, self.dtype = dynamics, tokenizer, dtype
        self.wide = dynamics.position.dtype
        layers = cast(list[DynamicsLayer], dynamics.layers)
        self.layers = [LayerStepper(layer, dtype, self.wide) for layer in layers]
        self.project = Product(dynamics.project, dtype)
        self.output = Product(dynamics.output, dtype)
        self.graphs = StepGraphs()
        """Recorded steps, on CUDA; they know where the weights made here are."""
        self._tables: dict[View, Tensor] = {}
        modules = (dynamics, tokenizer)
        self._sources = [x for m in modules for x in (*m.parameters(), *m.buffers())]
        self._versions = versions(self._sources)

    def is_current(self, dtype: torch.dtype) -> bool:
        """Whether products are to be in `dtype` and the weights are still those it was made of."""
        return dtype == self.dtype and versions(self._sources) == self._versions

    def begin(self, state: State) -> Shared:
        """What all passes over one frame share: per layer, past keys and values, then a mask."""
        caches = [layer.gather(past) for layer, past in zip(self.layers, state.layers, strict=True)]
        window = self.layers[0].window
        ages = torch.arange(window, 0, -1, device=state.frames.device)
        unseen = ages > state.frames[:, None]
        tokens = self.dynamics.position.shape[0]
        mask = torch.zeros(len(unseen), window + 1, dtype=self.wide, device=unseen.device)
        mask[:, :-1].masked_fill_(unseen, -torch.inf)
        return [*caches, mask.repeat_interleave(tokens, 1)[:, None, None]]

    def tokens(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor,
        keep: bool,
    ) -> Tensor:  # fmt: skip
        """The last layer's tokens (b, n, d), normalised, of one frame.

        Args:
            state: the memory; with `keep` its layers are overwritten with the memory after.
            shared: from `begin` for this state.
            noisy: latents of the frame as seen, (b, latents, channels).
            view: their signal level, and the jump.
            actions: (b, …), the action that led to the frame.
            keep: whether the frame enters the memory.
        """
        x = self.enter(noisy, state)
        table, rows = self.modulations(view, actions)
        modulations = table[rows]
        for i, (layer, memory) in enumerate(zip(self.layers, state.layers, strict=True)):
            layer(x, modulations[:, i], memory, shared[i], shared[-1], keep)
        return F.rms_norm(x, x.shape[-1:])

    def denoise(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor,
        pull: float,
    ) -> Tensor:  # fmt: skip
        """Latents drawn by `pull`, 0 to 1, from a noisy view towards those predicted from it."""
        tokens = self.tokens(state, shared, noisy, view, actions, keep=False)
        return torch.lerp(noisy, self.predict(tokens, state, noisy, view.level), pull)

    def commit(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take a frame into the memory; returns its features (b, d) and regions (b, 4 · d)."""
        tokens = self.tokens(state, shared, noisy, view, actions, keep=True)
        return tokens.mean(1), self.dynamics._regions(tokens.unsqueeze(1)).squeeze(1)

    def outcome(self, head: OutcomeHead, features: Tensor) -> Outcome:
        """What the model's head says of a frame's features (b, d)."""
        with self._autocast():
            return head(features)

    def enter(self, noisy: Tensor, state: State) -> Tensor:
        """Tokens (b, n, d) of a noisy view and the frame before."""
        joined = torch.cat([noisy, state.latents], -1).unsqueeze(1)
        tokens = self.dynamics._to_tokens(joined).squeeze(1)
        return self.project(tokens) + self.dynamics.position

    def predict(self, tokens: Tensor, state: State, noisy: Tensor, level: float) -> Tensor:
        """Clean latents (b, latents, channels) from the tokens of a noisy view."""
        output = self.dynamics._to_latents(self.output(tokens).to(self.wide).unsqueeze(1))
        levels = torch.full_like(state.level, level).unsqueeze(1)
        mean, scale = belief(
            noisy.unsqueeze(1), levels, state.latents.unsqueeze(1), state.level.unsqueeze(1),
            self.dynamics.change,
        )  # fmt: skip
        return (mean + scale * output).squeeze(1)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (b, latents, channels) → frames (b, H, W, C), about in [0, 1]."""
        with self._autocast():
            return self.tokenizer.decode(latents, self.dynamics.grid)

    def _autocast(self) -> torch.autocast:
        device = self.dynamics.position.device.type
        return torch.autocast(device, self.dtype, enabled=self.dtype != self.wide)

    def modulations(self, view: View, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of scales (one added), shifts and gates of every layer, and each slot's row.

        The rows are (rows, layers, 3 · parts, d); there is one for every discrete action.
        """
        embed = cast(ActionEmbedding, self.dynamics.action)
        if not embed.config.discrete:
            rows = torch.arange(len(actions), device=actions.device)
            # Its layers are in the dtype of products, the actions are not.
            with self._autocast():
                embedded = embed(actions)
            return self._modulate(view, embedded.to(self.wide)), rows
        if view not in self._tables:
            self._tables[view] = self._modulate(view, embed.table.weight)
        return self._tables[view], torch.where(actions < 0, embed.config.n, actions)

    def _modulate(self, view: View, action: Tensor) -> Tensor:
        dynamics = self.dynamics
        level = torch.full(action.shape[:1], view.level, dtype=self.wide, device=action.device)
        jump = torch.full(action.shape[:1], view.jump, device=action.device)
        with self._autocast():
            condition = F.silu(dynamics.embed_view(level, jump) + action)
            layers = cast(list[DynamicsLayer], dynamics.layers)
            joined = torch.stack([layer.modulation(condition) for layer in layers], 1)
        modulation = joined.to(self.wide).unflatten(-1, (-1, dynamics.position.shape[-1]))
        modulation[:, :, 0::3] += 1
        return modulation


class LayerStepper:
    """One layer for one frame of tokens (b, n, d)."""

    def __init__(self, layer: DynamicsLayer, dtype: torch.dtype, wide: torch.dtype) -> None:
        assert layer.scan is not None and layer.attention is not None
        self.scan = ScanStepper(layer.scan, dtype, wide)
        self.attention = AttentionStepper(layer.attention, layer.tokens, dtype, wide)
        self.window = self.attention.window
        self.up = Product(cast(nn.Linear, layer.mlp[0]), dtype)
        self.down = Product(cast(nn.Linear, layer.mlp[2]), dtype)
        self.gather = self.attention.gather

    def __call__(
        self, x: Tensor, modulation: Tensor, memory: LayerState, cache: Tensor, mask: Tensor,
        keep: bool,
    ) -> None:  # fmt: skip
        """Map `x` and, with `keep`, `memory` in place; `modulation` is (b, 9, d)."""
        scale, shift, gate = (modulation[:, i::3].unsqueeze(2) for i in range(3))

        def normed(part: int) -> Tensor:
            return torch.addcmul(shift[:, part], x * _rms_factor(x), scale[:, part])

        x.addcmul_(gate[:, 0], self.scan(normed(0), memory, keep))
        x.addcmul_(gate[:, 1], self.attention(normed(1), memory, cache, mask, keep))
        x.addcmul_(gate[:, 2], self.down(_gelu(self.up(normed(2)))))


class ScanStepper:
    """`BlockScan` for one frame."""

    def __init__(self, scan: BlockScan, dtype: torch.dtype, wide: torch.dtype) -> None:
        self.heads, self.head_dim, self.state_dim = scan.heads, scan.head_dim, scan.state_dim
        self.inner, self.channels = scan.inner, scan.channels
        self.length = scan.block[0] * scan.block[1]
        rows, columns = scan.grid
        place = torch.arange(rows * columns, device=scan.log_a.device).view(1, 1, -1, 1)
        order = scan._to_blocks(place).flatten()
        self.order = None if torch.equal(order, place.flatten()) else order
        self.back = order.argsort()
        self.project, self.out = Product(scan.project, dtype), Product(scan.out, dtype)
        self.out.weight = (scan.out.weight.to(wide) * scan.norm.weight).to(dtype)
        self.taps = scan.conv_weight.to(wide)
        self.conv_bias = scan.conv_bias.to(wide)
        self.decay = -scan.log_a.exp()
        self.dt_bias, self.skip = scan.dt_bias, scan.skip
        shape = (self.length, self.length)
        later = torch.ones(shape, dtype=torch.bool, device=place.device).triu(1)
        self.later = torch.zeros(shape, dtype=wide, device=place.device)
        self.later.masked_fill_(later, -torch.inf)
        self.diagonal = torch.eye(self.length, dtype=wide, device=place.device)
        self.diagonal = self.diagonal * self.skip[:, None, None]

    def __call__(self, tokens: Tensor, memory: LayerState, keep: bool) -> Tensor:
        """Scan tokens (b, n, d)."""
        slots, count, _ = tokens.shape
        if self.order is not None:
            tokens = tokens[:, self.order]
        projected = self.project(tokens).view(-1, self.length, self.project.weight.shape[0])
        gate, mixed, dt = projected.split([self.inner, self.channels, self.heads], -1)
        mixed = self._convolve(mixed, memory["conv"].flatten(0, 1), keep)
        x, b, c = mixed.split([self.inner, self.state_dim, self.state_dim], -1)
        step = F.softplus(dt + self.dt_bias)
        decay = step * self.decay
        if self.length > 1:
            decay = decay.cumsum(1)
        y = self._scan(x, b, c, step, decay, memory["ssm"].flatten(0, 1), keep)
        y = y.mul_(F.silu(gate.to(y.dtype)))
        y = self.out(y.mul_(_rms_factor(y))).view(slots, count, -1)
        return y if self.order is None else y[:, self.back]

    def _convolve(self, mixed: Tensor, tail: Tensor, keep: bool) -> Tensor:
        """Convolve (g, l, channels) after the `tail` of the frames before, which is renewed."""
        padded = torch.cat([tail, mixed], 1)
        if keep:
            tail.copy_(padded[:, self.length :])
        padded = padded.to(self.taps.dtype)
        out = torch.addcmul(self.conv_bias, padded[:, : self.length], self.taps[0])
        for i in range(1, len(self.taps)):
            out.addcmul_(padded[:, i : i + self.length], self.taps[i])
        return F.silu(out, inplace=True)

    def _scan(
        self, x: Tensor, b: Tensor, c: Tensor, step: Tensor, decay: Tensor, ssm: Tensor, keep: bool
    ) -> Tensor:
        """y of tokens x (g, l, h · p) with the skip; `decay` counts from the frame's start."""
        heads = (self.heads, self.head_dim)
        flat = ssm.flatten(2)  # (g, n, h · p)
        y = torch.bmm(c, flat).unflatten(-1, heads)
        y.mul_(decay.exp().unsqueeze(-1))
        values = x.unflatten(-1, heads)
        if self.length == 1:
            own = (b * c).sum(-1, keepdim=True) * step + self.skip
            y.addcmul_(values, own.unsqueeze(-1))
        else:
            since = decay.transpose(1, 2)
            between = (since.unsqueeze(3) - since.unsqueeze(2)).add_(self.later).exp_()
            between.mul_(torch.bmm(c, b.transpose(1, 2)).unsqueeze(1))
            between.mul_(step.transpose(1, 2).unsqueeze(2)).add_(self.diagonal)
            y.add_((between @ values.transpose(1, 2)).transpose(1, 2))
        if keep:
            last = decay[:, -1:]
            weighted = values * (step * (last - decay).exp()).unsqueeze(-1)
            ssm.mul_(last.exp().unsqueeze(-1))
            if self.length == 1:
                ssm.addcmul_(b.transpose(1, 2).unsqueeze(-1), weighted)
            else:
                flat.baddbmm_(b.transpose(1, 2), weighted.flatten(2))
        return y.flatten(2)


class AttentionStepper:
    """`FrameAttention` over the last `window` frames, for one frame."""

    def __init__(
        self, attention: FrameAttention, tokens: int, dtype: torch.dtype, wide: torch.dtype
    ) -> None:
        assert attention.window is not None
        self.window, self.head_dim = attention.window, attention.head_dim
        self.qkv, self.out = Product(attention.qkv, dtype), Product(attention.out, dtype)
        norms = (attention.query_norm.weight, attention.key_norm.weight)
        self.norm = torch.stack(norms).to(wide).unsqueeze(1)
        self.cos, self.sin = _rotation(attention, tokens, -self.window, self.window, wide)
        # Queries carry the scale of the softmax.
        scale = torch.tensor([self.head_dim**-0.5, 1.0], dtype=wide, device=self.norm.device)
        cos, sin = _rotation(attention, tokens, 0, 1, wide)
        self.own_cos, self.own_sin = (
            x.transpose(0, 1).unsqueeze(2) * scale[:, None, None] for x in (cos, sin)
        )

    def gather(self, memory: LayerState) -> Tensor:
        """Keys, rotated by age, and values: (2, b, heads, frames, n, head dim).

        The last frame is left for the one that is being imagined.
        """
        keys, values = memory["keys"].transpose(2, 3), memory["values"].transpose(2, 3)
        slots, frames, heads, tokens, size = keys.shape
        shape = (2, slots, heads, frames + 1, tokens, size)
        cache = torch.empty(shape, dtype=self.cos.dtype, device=keys.device)
        past = cache[:, :, :, :-1].transpose(2, 3)
        past[0].copy_(keys).mul_(self.cos.unsqueeze(1))
        past[0].addcmul_(keys.roll(size // 2, -1), self.sin.unsqueeze(1))
        past[1].copy_(values)
        return cache

    def __call__(
        self, tokens: Tensor, memory: LayerState, cache: Tensor, mask: Tensor, keep: bool
    ) -> Tensor:
        """Attend from tokens (b, n, d) to `cache` and themselves."""
        projected = self.qkv(tokens).unflatten(-1, (3, -1, self.head_dim))
        value = projected[:, :, 2]
        query_key = projected[:, :, :2].to(cache.dtype)
        query_key = query_key * _rms_factor(query_key) * self.norm
        if keep:
            for name, new in (("keys", query_key[:, :, 1]), ("values", value)):
                past = memory[name]
                past.copy_(torch.cat([past[:, 1:], new.unsqueeze(1).to(past.dtype)], 1))
        rotated = query_key * self.own_cos
        rotated.addcmul_(query_key.roll(self.head_dim // 2, -1), self.own_sin)
        query, key = rotated.unbind(2)
        cache[0, :, :, -1] = key.transpose(1, 2)
        cache[1, :, :, -1] = value.transpose(1, 2)
        keys, values = cache.flatten(3, 4)
        scores = query.transpose(1, 2) @ keys.transpose(2, 3)
        weights = scores.add_(mask).softmax(-1)
        return self.out((weights @ values).transpose(1, 2).flatten(2))


class Product:
    """A linear layer whose weights were cast once; takes any dtype, returns that of products."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        self.weight = linear.weight.detach().to(dtype)
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


def versions(tensors: list[Tensor]) -> list[int]:
    """Differs once a tensor was written to, or all were replaced, as by a move."""
    return [tensors[0].data_ptr(), *[tensor._version for tensor in tensors]]


def _rms_factor(x: Tensor) -> Tensor:
    """What `F.rms_norm` multiplies with, (…, 1)."""
    square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
    return square.div_(x.shape[-1]).add_(torch.finfo(x.dtype).eps).rsqrt_()


def _gelu(x: Tensor) -> Tensor:
    """GELU by tanh; torch's own takes thrice as long."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    inner = (wide * wide).mul_(0.044715 * _GELU_SLOPE).add_(_GELU_SLOPE).mul_(wide).tanh_()
    return inner.add_(1).mul_(wide).mul_(0.5)


_GELU_SLOPE = (2 / torch.pi) ** 0.5


def _rotation(
    attention: FrameAttention, tokens: int, first: int, frames: int, wide: torch.dtype
) -> tuple[Tensor, Tensor]:
    """(frames, n, head dim) each: rotated = x · cos + (x, halves swapped) · sin."""
    half = attention.head_dim // 2
    device = attention.rotation.time.device
    unit = torch.zeros(1, frames, tokens, 1, attention.head_dim, dtype=wide, device=device)
    unit[..., :half] = 1
    cos, sin = attention.rotation(unit, first)[0, :, :, 0].chunk(2, -1)
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)
