"""Windowed attention from projections to heads' outputs, with a gradient of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dreamenv.world_model.runtime.cpu.training.kernels import Attention, call, structure

Gradients = tuple[Tensor | None, ...]


class AttendWindow(torch.autograd.Function):
    """Causal attention of two streams over `window` frames; see `FrameAttention`.

    Takes projections (b, t, n, 3, h, d), the second of them or None, the norms' weights (d,), and
    without gradient: keys and values (b, window, n, h, d) of frames before, how many of those are
    real (b,), and cosine and sine (window + t, n, d / 2) of the rotation. Gives (b, t, n, h · d) of
    each stream, or None.
    """

    @staticmethod
    def forward(
        ctx: Any, write: Tensor, read: Tensor | None, query_weight: Tensor, key_weight: Tensor,
        past_keys: Tensor, past_values: Tensor, seen: Tensor, cosine: Tensor, sine: Tensor,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """The outputs of both streams."""
        write, read = write.contiguous(), None if read is None else read.contiguous()
        dtype = write.dtype
        others = (
            seen.contiguous(), past_keys.to(dtype).contiguous(), past_values.to(dtype).contiguous(),
            cosine, sine, query_weight, key_weight,
        )  # fmt: skip
        out = write.new_empty(*write.shape[:3], write.shape[4] * write.shape[5])
        out_read = None if read is None else torch.empty_like(out)
        call("attend_window", dtype, _attention(write, *others), write, read, out, out_read)
        ctx.save_for_backward(write, read, *others)
        return out, out_read

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_out_read: Tensor | None) -> Gradients:
        """Gradients of the projections and of the norms' weights."""
        write, read, *others = ctx.saved_tensors
        d_write, d_read = torch.empty_like(write), None if read is None else torch.empty_like(read)
        slots, heads, size = write.shape[0], write.shape[4], write.shape[5]
        d_query, d_key = others[-1].new_zeros(2, slots * heads, size)
        call(
            "attend_window_gradient", write.dtype, _attention(write, *others), write, read,
            d_out.contiguous(),
            None if read is None or d_out_read is None else d_out_read.contiguous(),
            d_write, d_read, d_query, d_key,
        )  # fmt: skip
        return d_write, d_read, d_query.sum(0), d_key.sum(0), *5 * (None,)


def _attention(
    write: Tensor, seen: Tensor, past_keys: Tensor, past_values: Tensor, cosine: Tensor,
    sine: Tensor, query_weight: Tensor, key_weight: Tensor,
) -> Any:  # fmt: skip
    sizes = structure(
        Attention, seen=seen, past_keys=past_keys, past_values=past_values, cosine=cosine,
        sine=sine, query_weight=query_weight, key_weight=key_weight,
    )  # fmt: skip
    sizes.slots, sizes.frames, sizes.tokens, _, sizes.heads, sizes.head_dim = write.shape
    sizes.window = past_keys.shape[1]
    return sizes
