"""State space duality (SSD), the scan of Mamba-2 [Dao & Gu 2024], with two streams.

Per head, with state S (n × p), step size Δ and decay rate A < 0:

    S_i = exp(Δ_i A) S_{i-1} + Δ_i B_i x_iᵀ        y_i = S_iᵀ C_i

The scan is chunked: matrix products inside a chunk, a short recurrence between chunks.
A second, *reading* stream may run beside the writing one: each of its frames reads the state
that the writing stream left before that frame, continues it with its own tokens, and leaves no
trace. The notation of shapes: g sequences, l tokens, h heads, p head dim, n state dim. States are
stored (g, n, h, p), so that B and C, which heads share, meet all heads in one matrix product.

On CUDA scans of several frames run on mamba-ssm's kernels where those can be had; see `ssd_scan`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dreamenv.world_model.network.mamba_kernels import chunk_scan_for

KERNEL_CHUNK = 128
"""Tokens per chunk of mamba-ssm's kernels, both streams counted; only speed depends on it. They
tune themselves for every size anew, which takes minutes, so there is one for all."""


@dataclass
class ScanInputs:
    """One stream: `x` (g, l, h, p), `dt` = Δ > 0 (g, l, h), `b` and `c` (g, l, n)."""

    x: Tensor
    dt: Tensor
    b: Tensor
    c: Tensor

    def chunked(self, size: int) -> ScanInputs:
        """(g, l, …) → (g, chunks, size, …) with Δ multiplied into x.

        Padding has Δ = 0, which changes no state.
        """

        scaled = self.x * self.dt.to(self.x.dtype).unsqueeze(-1)
        return ScanInputs(*(in_chunks(part, size) for part in (scaled, self.dt, self.b, self.c)))


def in_chunks(tensor: Tensor, size: int) -> Tensor:
    """(g, l, …) → (g, chunks, size, …), zeros where the last chunk is longer than what is left."""
    padding = [0, 0] * (tensor.ndim - 2) + [0, -tensor.shape[1] % size]
    return F.pad(tensor, padding).unflatten(1, (-1, size))


def ssd_scan(
    write: ScanInputs,
    a: Tensor,
    state: Tensor,
    frame_tokens: int,
    chunk: int,
    read: ScanInputs | None = None,
    keep: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Run the scan over whole frames.

    On CUDA, many frames are scanned by `scan_by_kernel` where mamba-ssm's kernels can be had. Both
    paths round products to the dtype of x and keep the state in float32, but sum in other orders:
    in float32 they agree to 1e-5 of the largest value (1e-3 where products are TF32), in bfloat16
    to 2e-2, and either is as near to float64 as the other.

    Args:
        write: the stream that writes the state; l is a multiple of `frame_tokens`.
        a: decay rates A < 0, (h,).
        state: the state before the first token, (g, n, h, p).
        frame_tokens: tokens per frame within one sequence.
        chunk: tokens per chunk; rounded up to whole frames.
        read: the stream that only reads, same shapes as `write`.
        keep: False leaves the returned state as it was given, and saves computing it.

    Returns:
        y of the writing stream (g, l, h, p), y of the reading stream or None, and the state
        after the last token (g, n, h, p).
    """
    length = write.x.shape[1]
    if write.x.is_cuda and length > frame_tokens:
        kernel = chunk_scan_for(write.x)
        if kernel is not None:
            return scan_by_kernel(kernel, write, a, state, frame_tokens, read, keep)
    size = min(-(-chunk // frame_tokens) * frame_tokens, length)
    w = write.chunked(size)
    decay = (w.dt * a).cumsum(2)  # log decay from the chunk's start to after token i, (g, z, l, h)
    before, state = _chunk_states(w, decay, state, keep)

    later = torch.ones(size, size, dtype=torch.bool, device=a.device).tril()
    y = _mix(w.c, w, _decay_matrix(decay, decay, later))
    y = y + _from_state(w.c, decay, before)
    y = y.flatten(1, 2)[:, :length]
    if read is None:
        return y, None, state

    r = read.chunked(size)
    own = (r.dt * a).unflatten(2, (-1, frame_tokens)).cumsum(3)  # since the frame began
    frame_start = (decay - w.dt * a).unflatten(2, (-1, frame_tokens))[:, :, :, :1]
    reach = (own + frame_start).flatten(2, 3)
    frame = torch.arange(size, device=a.device) // frame_tokens
    y_read = _mix(r.c, w, _decay_matrix(reach, decay, frame[:, None] > frame[None, :]))
    y_read = y_read + _from_state(r.c, reach, before)
    y_read = y_read + _own_frames(r, own).reshape(y_read.shape)
    return y, y_read.flatten(1, 2)[:, :length], state


def scan_by_kernel(
    kernel: Callable[..., Any],
    write: ScanInputs,
    a: Tensor,
    state: Tensor,
    frame_tokens: int,
    read: ScanInputs | None = None,
    keep: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """`ssd_scan` by mamba-ssm's `mamba_chunk_scan_combined`, which knows a single stream.

    The reading stream goes along in the same sequence, every frame of it before the written
    frame: its tokens have Δ = 0, so they leave the state alone, and with S the state before the
    frame the kernel returns Sᵀ c_i for them. What is missing, the decay since the frame began and
    the frame's own tokens, is applied afterwards; it reaches no further than a frame.
    """
    x, dt, b, c = write.x, write.dt, write.b, write.c
    if read is not None:
        x, b = (_interleave(torch.zeros_like(t), t, frame_tokens) for t in (x, b))
        dt = _interleave(torch.zeros_like(dt), dt, frame_tokens)
        c = _interleave(read.c, c, frame_tokens)
    y, after = kernel(
        x, dt, a, b.to(x.dtype).unsqueeze(2), c.to(x.dtype).unsqueeze(2), KERNEL_CHUNK,
        initial_states=state.permute(0, 2, 3, 1), return_final_states=True,
    )  # fmt: skip
    after = after.permute(0, 3, 1, 2).to(state.dtype).contiguous() if keep else state
    if read is None:
        return y, None, after
    y_read, y = y.unflatten(1, (-1, 2, frame_tokens)).unbind(2)
    r = read.chunked(frame_tokens)
    own = (r.dt * a).cumsum(2)
    y_read = y_read * own.exp().unsqueeze(-1) + _own_frames(r, own).reshape(y_read.shape)
    return y.flatten(1, 2), y_read.flatten(1, 2), after


def _interleave(read: Tensor, write: Tensor, frame_tokens: int) -> Tensor:
    """(g, l, …) twice → (g, 2 l, …): a frame of `read`, the same one of `write`, and so on."""
    frames = [t.unflatten(1, (-1, frame_tokens)) for t in (read, write)]
    return torch.stack(frames, 2).flatten(1, 3)


def _own_frames(r: ScanInputs, own: Tensor) -> Tensor:
    """What tokens read from those of their own frame, (frames, 1, frame tokens, h, p).

    Every frame is a little sequence of its own; `r` is chunked in whole frames, and `own` is the
    log decay since each frame began, (g, …, frame tokens, h).
    """
    size, heads = own.shape[-2:]
    parts = (r.x, r.dt, r.b, r.c)
    f = ScanInputs(*(t.reshape(-1, 1, size, *t.shape[3:]) for t in parts))
    own = own.reshape(-1, 1, size, heads)
    later = torch.ones(size, size, dtype=torch.bool, device=own.device).tril()
    return _mix(f.c, f, _decay_matrix(own, own, later))


def _decay_matrix(to: Tensor, since: Tensor, mask: Tensor) -> Tensor:
    """exp(to_i − since_j) where mask[i, j], else 0: (g, z, h, i, j) from (g, z, l, h)."""
    to, since = to.transpose(2, 3), since.transpose(2, 3)
    difference = to[..., :, None] - since[..., None, :]
    return difference.masked_fill(~mask, -torch.inf).exp()


def _mix(c: Tensor, source: ScanInputs, decay: Tensor) -> Tensor:
    """Σ_j (c_i · b_j) decay_ij x_j, with Δ already in x: (g, z, i, h, p)."""
    scores = (c @ source.b.transpose(-1, -2)).unsqueeze(2)
    weights = (scores * decay).to(source.x.dtype)
    return (weights @ source.x.transpose(2, 3)).transpose(2, 3)


def _from_state(c: Tensor, decay: Tensor, before: Tensor) -> Tensor:
    """exp(decay_i) Sᵀ c_i with the state S before the chunk: (g, z, i, h, p)."""
    if before.shape[1] == 1:
        # A step of a dream: the state outweighs the tokens, so it is not converted.
        with torch.autocast(c.device.type, enabled=False):
            read = c.to(before.dtype) @ before.flatten(3)
    else:
        read = c @ before.flatten(3).to(c.dtype)
    return read.unflatten(-1, before.shape[3:]) * decay.exp().unsqueeze(-1)


def _chunk_states(w: ScanInputs, decay: Tensor, state: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    """The state before each chunk (g, z, n, h, p), and after the last one (g, n, h, p)."""
    chunks = w.x.shape[1]
    if chunks == 1 and not keep:
        return state.unsqueeze(1), state
    end = decay[:, :, -1:]
    weighted = w.x * (end - decay).exp().unsqueeze(-1).to(w.x.dtype)
    dtype = state.dtype if chunks == 1 else weighted.dtype
    with torch.autocast(state.device.type, enabled=False):
        added = w.b.to(dtype).transpose(2, 3) @ weighted.to(dtype).flatten(3)
    added = added.unflatten(-1, state.shape[2:])
    kept = end.exp().unsqueeze(-1)
    before, current = [], state
    for z in range(chunks):
        before.append(current)
        current = torch.addcmul(added[:, z].to(state.dtype), kept[:, z], current)
    joined = torch.stack(before, 1) if chunks > 1 else state.unsqueeze(1)
    return joined, current if keep else state
