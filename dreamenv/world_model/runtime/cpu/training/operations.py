"""A layer's operations in compiled C; see network/operations.py for what each one is."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamenv.core.settings import kernels_wanted
from dreamenv.world_model.runtime.cpu.training.attention import AttendWindow
from dreamenv.world_model.runtime.cpu.training.kernels import Scan, library_for
from dreamenv.world_model.runtime.cpu.training.residual import AdaptiveNorm, BiasedGelu, GatedAdd
from dreamenv.world_model.runtime.cpu.training.scan import GatedNorm, ScanChunks, SplitTokens

Run = tuple[Tensor, Tensor | None, dict[str, Tensor]]
LANES = 16
"""A head of attention must have a multiple of so many numbers."""
MOST_BLOCK_TOKENS = 64
"""Of a scan: beyond it a frame's own tokens are better multiplied by torch's products."""
MOST_HEAD_BYTES = 2**19
"""That a head of attention may work on at once: kernels have it on their stack, to be in cache."""


def compiled_operations(tokens: Tensor) -> CompiledOperations | None:
    """The operations for tokens of a layer, or None where they cannot be had.

    Products are in the dtype of autocast, so in bfloat16 or float32; tokens are float32.
    """
    if tokens.device.type != "cpu" or tokens.dtype != torch.float32 or not kernels_wanted():
        return None
    half = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if half else tokens.dtype
    return None if library_for(dtype) is None else CompiledOperations(dtype)


class CompiledOperations:
    """Gradients and all; parts of other kinds than those compiled run as they are written.

    In float32 outputs and gradients agree with the reference to 1e-4 of the largest value. In
    bfloat16 fewer numbers are rounded on the way, so both are compared with float32: the compiled
    operations err no more than the reference does.

    Args:
        dtype: of products.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def enter(self, x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """x and its adaptive norm."""
        return AdaptiveNorm.apply(x, scale.to(self.dtype), shift.to(self.dtype))

    def leave(self, x: Tensor, gate: Tensor, output: Tensor) -> Tensor:
        """The gated residual."""
        return GatedAdd.apply(x, gate.to(self.dtype), output.to(self.dtype))

    def mlp(self, part: nn.Sequential, x: Tensor) -> Tensor:
        """An MLP whose first bias is added on the way through GELU."""
        first, _, second = part
        assert isinstance(first, nn.Linear)
        return second(BiasedGelu.apply(F.linear(x, first.weight), first.bias))

    def scan(self, part: Any, write: Tensor, state: dict[str, Tensor], **rest: Any) -> Run:
        """A `BlockScan` with a convolution in small blocks, whose memory gets no gradient."""
        fits = not part.recall and part.block[0] * part.block[1] <= MOST_BLOCK_TOKENS
        if not fits or any(memory.requires_grad for memory in state.values()):
            return part(write, state, **rest)
        return self._scan(part, write, state, rest["read"], rest["keep"])

    def attend(self, part: Any, write: Tensor, state: dict[str, Tensor], **rest: Any) -> Run:
        """A `FrameAttention` with a small window, whose memory gets no gradient."""
        fits = part.caches_window and part.head_dim % LANES == 0
        if (
            not fits
            or _head_bytes(part, write.shape[2]) > MOST_HEAD_BYTES
            or any(memory.requires_grad for memory in state.values())
        ):
            return part(write, state, **rest)
        return self._attend(part, write, state, **rest)

    def _scan(
        self, part: Any, write: Tensor, state: dict[str, Tensor], read: Tensor | None, keep: bool
    ) -> Run:
        slots, frames, tokens = write.shape[:3]
        order = _order(part)
        frame_tokens = order.shape[1]
        length = frames * frame_tokens
        size = min(-(-part.chunk // frame_tokens) * frame_tokens, length)
        sizes = Scan(
            slots, frames, tokens, part.blocks, frame_tokens, part.heads, part.head_dim,
            part.state_dim, len(part.conv_weight), size, -(-length // size), order.data_ptr(),
        )  # fmt: skip
        sizes.kept_alive = order
        projected = part.project(write)
        read_projected = None if read is None else part.project(read)
        tail = state["conv"].flatten(0, 1).to(self.dtype).contiguous()
        weights = part.conv_weight, part.conv_bias, part.dt_bias
        split = SplitTokens.apply(sizes, tail, projected, read_projected, *weights)
        gate, x, scaled, b, c, step = split[:6]
        a = -part.log_a.exp()

        def chunked(step: Tensor) -> Tensor:
            return (step * a).unflatten(1, (-1, size))

        own_decay = chunked(step)
        decay = own_decay.cumsum(2)  # as in `ssd_scan`
        end = decay[:, :, -1:]
        inputs = (scaled, b, c, decay, end - decay, end.squeeze(2).exp())
        of_read: tuple[Any, ...] = (None,) * 5
        if read is not None:
            own = chunked(split[11]).unflatten(2, (-1, frame_tokens)).cumsum(3)
            start = (decay - own_decay).unflatten(2, (-1, frame_tokens))[:, :, :, :1]
            of_read = (*split[8:11], (own + start).flatten(2, 3), own.flatten(2, 3))
        ssm = state["ssm"].flatten(0, 1).float()
        within, before, after, *seen = ScanChunks.apply(sizes, *inputs, ssm, *of_read)
        norm = part.skip, part.norm.weight
        out = part.out(GatedNorm.apply(sizes, within, before, None, decay, x, gate, *norm))
        new = {}
        if keep:
            new["ssm"] = after.unflatten(0, (slots, -1))
            new["conv"] = _last_tokens(part, tail, projected).unflatten(0, (slots, -1))
        if read is None:
            return out, None, new
        read_within, read_before, read_own = seen
        parts = read_within, read_before, read_own, of_read[3], split[7], split[6]
        return out, part.out(GatedNorm.apply(sizes, *parts, *norm)), new

    def _attend(
        self,
        part: Any,
        write: Tensor,
        past: dict[str, Tensor],
        seen: Tensor,
        read: Tensor | None = None,
        keep: bool = True,
    ) -> Run:
        before, frames = past["keys"].shape[1], write.shape[1]
        shape = (3, -1, part.head_dim)
        projected = part.qkv(write).unflatten(-1, shape)
        read_projected = None if read is None else part.qkv(read).unflatten(-1, shape)
        weights = part.query_norm.weight, part.key_norm.weight
        turn = part.rotation.angles(-before, before + frames, write.shape[2])
        out, out_read = AttendWindow.apply(
            projected, read_projected, *weights, past["keys"], past["values"], seen,
            turn.cos().float(), turn.sin().float(),
        )  # fmt: skip
        if keep:
            _, key, value = projected[:, -before:].unbind(-3)
            joined = {"keys": part.key_norm(key), "values": value}
            past = {
                name: torch.cat([past[name].to(new.dtype), new], 1)[:, -before:]
                for name, new in joined.items()
            }
        return part.out(out), None if out_read is None else part.out(out_read), past


def _head_bytes(part: Any, tokens: int) -> int:
    """What the gradient of one head of attention works on (csrc_training/windowed_attention.c)."""
    frames, rows = part.window + 2, tokens + LANES
    return 4 * frames * rows * (4 * part.head_dim + 2 * rows)


def _order(part: Any) -> Tensor:
    """Tokens of the frame in the order of blocks, (blocks, tokens of a block), int32."""
    return _block_order(part.grid, part.block)


@lru_cache(maxsize=64)
def _block_order(grid: tuple[int, int], block: tuple[int, int]) -> Tensor:
    (rows, columns), (height, width) = grid, block
    places = torch.arange(rows * columns, dtype=torch.int32, device="cpu")
    places = places.view(rows // height, height, columns // width, width)
    return places.transpose(1, 2).reshape(-1, height * width).contiguous()


def _last_tokens(part: Any, tail: Tensor, projected: Tensor) -> Tensor:
    """What the convolution's next tokens will see before them, (g, taps − 1, channels)."""
    count = tail.shape[1]
    frames = math.ceil(count / (part.block[0] * part.block[1]))
    last = projected[:, -frames:, :, part.inner : part.inner + part.channels]
    joined = torch.cat([tail, part._to_blocks(last)], 1)
    return joined[:, joined.shape[1] - count :]
