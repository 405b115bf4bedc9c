"""A scan that forgets only where it writes: every place of the state has a decay of its own.

Per head, with state S (n × p), write weights w (n) from 0 to below 1 and values x (p):

    S_i = (1 − w_i) ∘ S_{i−1} + w_i x_iᵀ        y_i = S_iᵀ c_i

so a place that nothing is written to keeps what it holds for ever [as in Raven, 2026]. As in
`network/ssd.py`, whose notation this takes: g sequences, l tokens, h heads, p head dim, n places;
states are (g, n, h, p), and a second, reading stream may run beside the writing one, each of whose
frames reads the state that was left before it, continues it with its own tokens, and leaves no
trace.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dreamenv.world_model.network.ssd import in_chunks

CHUNK = 24
"""Tokens per chunk, rounded up to whole frames: products of 1/(1 − w) over a chunk must fit into
float32."""
FADING = 72.0
"""The log of the largest such product; places keep e^(−FADING / tokens of a chunk) at least."""


@dataclass
class PlaceInputs:
    """One stream: values `x` (g, l, h, p), write weights `w` and reads `c`, (g, l, n)."""

    x: Tensor
    w: Tensor
    c: Tensor

    def chunked(self, size: int) -> PlaceInputs:
        """(g, l, …) → (g, chunks, size, …); padding writes nothing."""
        return PlaceInputs(*(in_chunks(part, size) for part in (self.x, self.w, self.c)))


def chunk_size(frame_tokens: int) -> int:
    """Tokens per chunk."""
    return -(-CHUNK // frame_tokens) * frame_tokens


def place_scan(
    write: PlaceInputs,
    state: Tensor,
    frame_tokens: int,
    read: PlaceInputs | None = None,
    keep: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Run the scan over whole frames.

    Args:
        write: the stream that writes the state; l is a multiple of `frame_tokens`.
        state: before the first token, (g, n, h, p).
        frame_tokens: tokens per frame within one sequence.
        read: the stream that only reads, same shapes as `write`.
        keep: False leaves the returned state as it was given, and saves computing it.

    Returns:
        y of the writing stream (g, l, h, p), y of the reading stream or None, and the state
        after the last token (g, n, h, p).
    """
    length, size = write.x.shape[1], chunk_size(frame_tokens)
    w = write.chunked(size)
    limit = 1 - torch.exp(torch.tensor(-FADING / size, dtype=w.w.dtype))
    weight = w.w.clamp(max=float(limit))
    kept = torch.log1p(-weight).cumsum(2)  # log of what places keep, from the chunk's start
    written = weight * (-kept).exp()
    before, state = _chunk_states(w.x, written, kept[:, :, -1], state, keep)

    seen = w.c * kept.exp()
    later = torch.ones(size, size, dtype=torch.bool, device=kept.device).tril()
    y = _mix(seen, written, later, w.x) + _from_state(seen, before)
    y = y.flatten(1, 2)[:, :length]
    if read is None:
        return y, None, state

    r = read.chunked(size)
    own_weight = r.w.clamp(max=float(limit))
    own = torch.log1p(-own_weight).unflatten(2, (-1, frame_tokens)).cumsum(3)
    start = (kept - torch.log1p(-weight)).unflatten(2, (-1, frame_tokens))[:, :, :, :1]
    reach = r.c * (own + start).flatten(2, 3).exp()
    frame = torch.arange(size, device=kept.device) // frame_tokens
    y_read = _mix(reach, written, frame[:, None] > frame[None, :], w.x)
    y_read = y_read + _from_state(reach, before)
    own = own.flatten(2, 3)
    near = (frame[:, None] == frame[None, :]) & later
    y_read = y_read + _mix(r.c * own.exp(), own_weight * (-own).exp(), near, r.x)
    return y, y_read.flatten(1, 2)[:, :length], state


def _mix(seen: Tensor, written: Tensor, mask: Tensor, x: Tensor) -> Tensor:
    """Σ_j (seen_i · written_j) x_j where mask[i, j]: (g, z, i, h, p)."""
    with torch.autocast(x.device.type, enabled=False):
        scores = (seen @ written.transpose(-1, -2)).masked_fill(~mask, 0.0)
    return (scores.to(x.dtype) @ x.flatten(3)).unflatten(-1, x.shape[3:])


def _from_state(seen: Tensor, before: Tensor) -> Tensor:
    """What is read of the state before each chunk: (g, z, i, h, p)."""
    with torch.autocast(seen.device.type, enabled=False):
        return (seen.to(before.dtype) @ before.flatten(3)).unflatten(-1, before.shape[3:])


def _chunk_states(
    x: Tensor, written: Tensor, end: Tensor, state: Tensor, keep: bool
) -> tuple[Tensor, Tensor]:
    """The state before each chunk (g, z, n, h, p), and after the last one (g, n, h, p)."""
    chunks = x.shape[1]
    if chunks == 1 and not keep:
        return state.unsqueeze(1), state
    kept = end.exp()
    with torch.autocast(state.device.type, enabled=False):
        values = x.to(state.dtype).flatten(3)
        added = (written * kept.unsqueeze(2)).to(state.dtype).transpose(2, 3) @ values
    added = added.unflatten(-1, state.shape[2:])
    kept = kept.to(state.dtype)[..., None, None]
    before, current = [], state
    for z in range(chunks):
        before.append(current)
        current = torch.addcmul(added[:, z], kept[:, z], current)
    return torch.stack(before, 1), current if keep else state
