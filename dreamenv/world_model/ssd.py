"""State space duality (SSD), the scan of Mamba-2 [Dao & Gu 2024], with two streams.

Per head, with state S (n × p), step size Δ and decay rate A < 0:

    S_i = exp(Δ_i A) S_{i-1} + Δ_i B_i x_iᵀ        y_i = S_iᵀ C_i

The scan is chunked: matrix products inside a chunk, a short recurrence between chunks.
A second, *reading* stream may run beside the writing one: each of its frames reads the state
that the writing stream left before that frame, continues it with its own tokens, and leaves no
trace. The notation of shapes: g sequences, l tokens, h heads, p head dim, n state dim. States are
stored (g, n, h, p), so that B and C, which heads share, meet all heads in one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


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

        def split(tensor: Tensor) -> Tensor:
            missing = -tensor.shape[1] % size
            padding = [0, 0] * (tensor.ndim - 2) + [0, missing]
            return F.pad(tensor, padding).unflatten(1, (-1, size))

        scaled = self.x * self.dt.to(self.x.dtype).unsqueeze(-1)
        return ScanInputs(split(scaled), split(self.dt), split(self.b), split(self.c))


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
    # Own-frame tokens: each frame is a little sequence of its own.
    frames = [t.unflatten(2, (-1, frame_tokens)).flatten(0, 1) for t in (r.x, r.dt, r.b, r.c)]
    frames = [t.reshape(-1, 1, frame_tokens, *t.shape[3:]) for t in frames]
    f = ScanInputs(*frames)
    own = own.reshape(-1, 1, frame_tokens, own.shape[-1])
    y_own = _mix(f.c, f, _decay_matrix(own, own, later[:frame_tokens, :frame_tokens]))
    y_read = y_read + y_own.reshape(y_read.shape)
    return y, y_read.flatten(1, 2)[:, :length], state


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
