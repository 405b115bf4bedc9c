"""The block scan between its two projections, with gradients of its own.

Three steps: `SplitTokens` (convolution, steps), `ScanChunks` (the scan, whose matrix products are
torch's) and `GatedNorm`. What is computed is written in network/layers.py and network/ssd.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dreamenv.world_model.runtime.cpu.training.kernels import (
    Mixed,
    MixedGradient,
    Split,
    SplitGradient,
    call,
    structure,
)

Gradients = tuple[Tensor | None, ...]
PARTS = ("gate", "x", "scaled", "b", "c", "step")


class SplitTokens(torch.autograd.Function):
    """Projections (b, t, n, …) of one or two streams → gate, x, x · step, B, C and step of each.

    gate and x are (g, l, inner), x · step (g, z, h, chunk, p), B and C (g, z · chunk, n), step
    (g, z · chunk, h).
    """

    @staticmethod
    def forward(
        ctx: Any, sizes: Any, tail: Tensor, write: Tensor, read: Tensor | None, weight: Tensor,
        bias: Tensor, step_bias: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """`sizes` is a `Scan`, `tail` (g, taps − 1, channels) stands before the written tokens."""
        streams = [x.contiguous() for x in (write, read) if x is not None]
        parts = [_empty_parts(sizes, x) for x in streams]
        splits = [
            structure(Split, projected=x, **part) for x, part in zip(streams, parts, strict=True)
        ]
        ctx.sizes = sizes
        call("split", write.dtype, sizes, *_two(splits), tail, weight, bias, step_bias)
        steps = [part["step"] for part in parts]
        ctx.save_for_backward(tail, weight, bias, step_bias, *streams, *steps)
        return tuple(part[name] for part in parts for name in PARTS)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        """Gradients of the projections and the three weights."""
        tail, weight, bias, step_bias, *rest = ctx.saved_tensors
        streams, steps = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        grads = tuple(grad.contiguous() for grad in grads)
        d_streams = [torch.empty_like(x) for x in streams]
        given = [structure(Split, projected=x, step=s) for x, s in zip(streams, steps, strict=True)]
        wanted = [
            structure(
                SplitGradient,
                projected=d,
                **dict(zip(PARTS, grads[i * len(PARTS) : (i + 1) * len(PARTS)], strict=True)),
            )
            for i, d in enumerate(d_streams)
        ]
        sequences = len(tail)
        d_weight, d_bias, d_step_bias = (
            x.new_empty(sequences, *x.shape) for x in (weight, bias, step_bias)
        )
        call(
            "split_gradient", streams[0].dtype, ctx.sizes, *_two(given), tail, weight, bias,
            step_bias, *_two(wanted), d_weight, d_bias, d_step_bias,
        )  # fmt: skip
        d_read = d_streams[1] if len(d_streams) > 1 else None
        return None, None, d_streams[0], d_read, d_weight.sum(0), d_bias.sum(0), d_step_bias.sum(0)


class ScanChunks(torch.autograd.Function):
    """What tokens read from their chunk and from the state before it, and the state at the end.

    Log decays are (g, z, chunk, h): `decay` since the chunk began, `gap` until it ends, `reach`
    since the chunk began without later written tokens, `own` since the frame began. `kept` is
    (g, z, h) and `state` (g, n, h, p).
    """

    @staticmethod
    def forward(
        ctx: Any, sizes: Any, scaled: Tensor, b: Tensor, c: Tensor, decay: Tensor, gap: Tensor,
        kept: Tensor, state: Tensor, read: Tensor | None, read_b: Tensor | None,
        read_c: Tensor | None, reach: Tensor | None, own: Tensor | None,
    ) -> Gradients:  # fmt: skip
        """Outputs within and from before, (g, z, h, chunk, p) and (g, z, chunk, h, p), and the
        state; then the same two of the reading stream, and what it reads of its own frames."""
        dtype, ctx.sizes, size = scaled.dtype, sizes, sizes.chunk
        decay, gap, kept = decay.contiguous(), gap.contiguous(), kept.contiguous()
        x, keys, queries = _by_head(sizes, scaled), _by_chunk(sizes, b), _by_chunk(sizes, c)
        scores = queries @ keys.mT
        weights = scores.new_empty(len(x), size, size)
        call("decay_scores", dtype, sizes, 0, scores, decay, decay, weights)
        within = (weights @ x).view_as(scaled)
        weighted = scaled.new_empty(len(keys), size, sizes.heads * sizes.head_dim)
        call("weigh", dtype, sizes, scaled, gap, weighted)
        added, after = keys.mT @ weighted, state.clone(memory_format=torch.contiguous_format)
        states = torch.empty_like(added)
        call("carry", dtype, sizes, added, kept, after, states)
        rows = _rows(sizes, scaled)
        before = (queries @ states).view(rows)
        saved = [x, keys, queries, decay, gap, kept, scores, weights, weighted, states]
        if read is None or read_b is None or read_c is None or reach is None or own is None:
            ctx.save_for_backward(*saved)
            return within, before, after, None, None, None
        reach, own = reach.contiguous(), own.contiguous()
        read_queries = _by_chunk(sizes, read_c)
        read_scores, read_weights = read_queries @ keys.mT, torch.empty_like(weights)
        call("decay_scores", dtype, sizes, 1, read_scores, reach, decay, read_weights)
        read_within = (read_weights @ x).view_as(scaled)
        read_before, read_own = (read_queries @ states).view(rows), scaled.new_empty(rows)
        call("read_own_frame", dtype, sizes, read, read_b, read_c, own, read_own)
        saved += [read_queries, reach, read_scores, read_weights, read, read_b, own]
        ctx.save_for_backward(*saved)
        return within, before, after, read_within, read_before, read_own

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_within: Tensor, d_before: Tensor, d_after: Tensor,
        d_read_within: Tensor | None, d_read_before: Tensor | None, d_read_own: Tensor | None,
    ) -> Gradients:  # fmt: skip
        """Gradients of everything but the sizes."""
        x, keys, queries, decay, gap, kept, scores, weights, weighted, states, *of_read = (
            ctx.saved_tensors
        )
        sizes, dtype, size = ctx.sizes, x.dtype, ctx.sizes.chunk
        d_within, d_before = _by_head(sizes, d_within), _by_chunk(sizes, d_before)
        d_decay, d_scores = torch.zeros_like(decay), torch.empty_like(scores)
        d_weights = d_within @ x.mT
        call(
            "decay_scores_gradient", dtype, sizes, 0, scores, decay, decay, d_weights, d_scores,
            d_decay, d_decay,
        )  # fmt: skip
        d_x = weights.mT @ d_within
        d_c = torch.baddbmm(d_scores @ keys, d_before, states.mT)
        d_b, d_states = d_scores.mT @ queries, queries.mT @ d_before
        d_read: Gradients = 5 * (None,)
        if of_read:
            assert d_read_within is not None and d_read_before is not None
            assert d_read_own is not None
            read_queries, reach, read_scores, read_weights, read, read_b, own = of_read
            d_within, d_before = _by_head(sizes, d_read_within), _by_chunk(sizes, d_read_before)
            d_reach, d_own = torch.zeros_like(reach), torch.empty_like(own)
            torch.bmm(d_within, x.mT, out=d_weights)
            call(
                "decay_scores_gradient", dtype, sizes, 1, read_scores, reach, decay, d_weights,
                d_scores, d_reach, d_decay,
            )  # fmt: skip
            d_x = torch.baddbmm(d_x, read_weights.mT, d_within)
            d_b = torch.baddbmm(d_b, d_scores.mT, read_queries)
            d_states = torch.baddbmm(d_states, read_queries.mT, d_before)
            d_scaled_read, d_b_read, d_c_read = (
                torch.empty_like(t) for t in (read, read_b, read_queries)
            )
            call(
                "read_own_frame_gradient", dtype, sizes, read, read_b, read_queries, own,
                d_read_own.contiguous(), d_scaled_read, d_b_read, d_c_read, d_own,
            )  # fmt: skip
            d_c_read = torch.baddbmm(d_c_read, d_scores, keys)
            d_c_read = torch.baddbmm(d_c_read, d_before, states.mT).view_as(read_b)
            d_read = (d_scaled_read, d_b_read, d_c_read, d_reach, d_own)
        d_state = d_after.clone(memory_format=torch.contiguous_format)
        d_added, d_kept = torch.empty_like(states), torch.empty_like(kept)
        call(
            "carry_gradient", dtype, sizes, states, kept, d_states, d_state, d_added, d_kept
        )  # fmt: skip
        d_b = torch.baddbmm(d_b, weighted, d_added.mT)
        d_gap = torch.empty_like(gap)
        call("weigh_gradient", dtype, sizes, x, gap, keys @ d_added, d_x, d_gap)
        sequences = sizes.slots * sizes.blocks
        d_b, d_c = (t.view(sequences, -1, t.shape[-1]) for t in (d_b, d_c))
        shape = (sequences, sizes.chunks, sizes.heads, size, sizes.head_dim)
        return None, d_x.view(shape), d_b, d_c, d_decay, d_gap, d_kept, d_state, *d_read


class GatedNorm(torch.autograd.Function):
    """Outputs of the scan summed, with skip, gate and norm, as rows (b, t, n, inner)."""

    @staticmethod
    def forward(
        ctx: Any, sizes: Any, within: Tensor, before: Tensor, own: Tensor | None, reach: Tensor,
        x: Tensor, gate: Tensor, skip: Tensor, weight: Tensor,
    ) -> Tensor:  # fmt: skip
        """`skip` is (h,), `weight` (inner,) the norm's."""
        reach = reach.contiguous()
        out = x.new_empty(sizes.slots, sizes.frames, sizes.tokens, x.shape[-1])
        mixed = structure(Mixed, within=within, before=before, own=own, reach=reach, x=x, gate=gate)
        call("gated_norm", x.dtype, sizes, mixed, skip, weight, out)
        ctx.sizes = sizes
        ctx.save_for_backward(within, before, own, reach, x, gate, skip, weight)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> Gradients:
        """Gradients of everything but the sizes."""
        *parts, skip, weight = ctx.saved_tensors
        sizes, names = ctx.sizes, ("within", "before", "own", "reach", "x", "gate")
        # Rows of tokens that only fill up the last chunk get no gradient.
        empty = torch.zeros_like if _is_padded(sizes) else torch.empty_like
        d_parts = [None if part is None else empty(part) for part in parts]
        d_skip, d_weight = (t.new_empty(len(parts[-1]), *t.shape) for t in (skip, weight))
        call(
            "gated_norm_gradient", d_out.dtype, sizes,
            structure(Mixed, **dict(zip(names, parts, strict=True))), skip, weight,
            d_out.contiguous(), structure(MixedGradient, **dict(zip(names, d_parts, strict=True))),
            d_skip, d_weight,
        )  # fmt: skip
        return None, *d_parts, d_skip.sum(0), d_weight.sum(0)


def _is_padded(sizes: Any) -> bool:
    return sizes.chunks * sizes.chunk != sizes.frames * sizes.block_tokens


def _empty_parts(sizes: Any, projected: Tensor) -> dict[str, Tensor]:
    """Room for what one stream is split into; zero where the last chunk is filled up."""
    new = projected.new_zeros if _is_padded(sizes) else projected.new_empty
    sequences, inner = sizes.slots * sizes.blocks, sizes.heads * sizes.head_dim
    length, padded = sizes.frames * sizes.block_tokens, sizes.chunks * sizes.chunk
    return {
        "gate": new(sequences, length, inner),
        "x": new(sequences, length, inner),
        "scaled": new(sequences, sizes.chunks, sizes.heads, sizes.chunk, sizes.head_dim),
        "b": new(sequences, padded, sizes.state_dim),
        "c": new(sequences, padded, sizes.state_dim),
        "step": new(sequences, padded, sizes.heads, dtype=torch.float32),
    }


def _two(streams: list[Any]) -> tuple[Any, Any]:
    return streams[0], streams[1] if len(streams) > 1 else None


def _by_head(sizes: Any, x: Tensor) -> Tensor:
    """(g, z, h, chunk, p) → (g · z · h, chunk, p)."""
    return x.contiguous().view(-1, sizes.chunk, sizes.head_dim)


def _by_chunk(sizes: Any, x: Tensor) -> Tensor:
    """(g, z · chunk, …) or (g, z, chunk, …) → (g · z, chunk, all the rest)."""
    return x.contiguous().view(sizes.slots * sizes.blocks * sizes.chunks, sizes.chunk, -1)


def _rows(sizes: Any, scaled: Tensor) -> tuple[int, ...]:
    g, z, h, size, p = scaled.shape
    return g, z, size, h, p
