"""The layers of the network for one frame of tokens, in place."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamenv.world_model.network.attention import FrameAttention
from dreamenv.world_model.network.layers import BlockScan, DynamicsLayer
from dreamenv.world_model.state import LayerState


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
            return torch.addcmul(shift[:, part], x * rms_factor(x), scale[:, part])

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
        y = self.out(y.mul_(rms_factor(y))).view(slots, count, -1)
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
        query_key = query_key * rms_factor(query_key) * self.norm
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


def rms_factor(x: Tensor) -> Tensor:
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
