"""Attention over frames: causal over the last k or over all of them, or within a short window."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    """Root-mean-square norm that stays in the dtype of its input, as autocast wants it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype))


class AxialRotation(nn.Module):
    """Rotary position encoding over (time, row, column) [Su et al. 2021, per axis].

    Only differences of position enter the attention, so time may be counted from anywhere: keys
    are cached unrotated and turned by their age, which keeps angles small for ever.
    """

    def __init__(self, head_dim: int, grid: tuple[int, int], decades: float = 1.5) -> None:
        """The slowest rate of turning is 10^−decades radians a frame."""
        super().__init__()
        pairs = head_dim // 2
        counts = (pairs - 2 * (pairs // 3), pairs // 3, pairs // 3)
        ranges = (decades, 1.5, 1.5)
        with torch.device("cpu"):  # not stored, so made in earnest even where weights are not yet
            time, row, column = (
                10.0 ** -torch.linspace(0, span, n, dtype=torch.float32).double()
                for n, span in zip(counts, ranges, strict=True)
            )
            rows = torch.arange(grid[0]).double().repeat_interleave(grid[1])
            columns = torch.arange(grid[1]).double().repeat(grid[0])
            space = torch.cat([rows[:, None] * row, columns[:, None] * column], 1)
        self.register_buffer("time", time, persistent=False)
        self.register_buffer("space", space, persistent=False)
        self.time: Tensor
        self.space: Tensor

    def forward(self, x: Tensor, first_frame: int) -> Tensor:
        """Rotate `x` (b, t, n, h, d), whose frames are numbered from `first_frame`."""
        return rotate(x, self.angles(first_frame, x.shape[1], x.shape[2])[:, :, None])

    def angles(self, first_frame: int, frames: int, tokens: int) -> Tensor:
        """By how much each pair of numbers is turned, (frames, tokens, d / 2), float64."""
        times = torch.arange(first_frame, first_frame + frames, device=self.time.device)
        turn = (times[:, None] * self.time)[:, None].expand(-1, tokens, -1)
        return torch.cat([turn, self.space.expand(frames, -1, -1)], -1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """x (…, d), its halves turned against each other by angles (…, d / 2)."""
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


class FrameAttention(nn.Module):
    """Multi-head causal attention over frames, in one or two streams.

    A token attends to all tokens of its own frame and of the `window` frames before it, or of
    all frames before it if `window` is None; the cache then grows with every frame.
    """

    @property
    def caches_window(self) -> bool:
        """Whether memory is the keys and values of a fixed number of frames."""
        return bool(self.window)

    def __init__(
        self, width: int, head_dim: int, window: int | None, grid: tuple[int, int]
    ) -> None:
        super().__init__()
        self.window = window
        self.head_dim = head_dim
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        with torch.no_grad():  # start by attending to tokens that are alike
            self.qkv.weight[width : 2 * width] = self.qkv.weight[:width]
        self.out = nn.Linear(width, width, bias=False)
        self.query_norm = RMSNorm(head_dim)
        self.key_norm = RMSNorm(head_dim)
        self.rotation = AxialRotation(head_dim, grid, decades=1.5 if window else 3.0)

    def initial_state(self, slots: int, tokens: int, like: Tensor) -> dict[str, Tensor]:
        """The cache before the first frame."""
        heads = self.out.in_features // self.head_dim
        past = like.new_zeros(slots, self.window or 0, tokens, heads, self.head_dim)
        return {"keys": past, "values": past.clone()}

    def forward(
        self,
        write: Tensor,
        past: dict[str, Tensor],
        seen: Tensor,
        read: Tensor | None = None,
        keep: bool = True,
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Attend.

        Args:
            write: tokens (b, t, n, d) of the stream whose keys and values later frames see.
            past: `keys` and `values` of p frames before, unrotated, (b, p, n, h, head_dim);
                p is the window, or all that came before.
            seen: how many frames came before, (b,); older entries of `past` are masked.
            read: tokens of a stream that sees strictly earlier frames of `write` and itself.
            keep: False leaves the returned cache as it was given.

        Returns:
            Output of both streams, and the cache with the new frames in it.
        """
        before = past["keys"].shape[1]
        query, key, value = self._project(write)
        keys = torch.cat([past["keys"].to(key.dtype), key], 1)
        values = torch.cat([past["values"].to(value.dtype), value], 1)
        if keep:
            last = -self.window if self.window else 0
            past = {"keys": keys[:, last:], "values": values[:, last:]}
        rotated = self.rotation(keys, -before)
        out = self._attend(self.rotation(query, 0), rotated, values, seen, before)
        if read is None:
            return out, None, past
        query, key, value = self._project(read)
        own = (self.rotation(key, 0), value)
        return out, self._attend(self.rotation(query, 0), rotated, values, seen, before, own), past

    def _project(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(tokens).unflatten(-1, (3, -1, self.head_dim)).unbind(-3)
        return self.query_norm(q), self.key_norm(k), v

    def _attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        seen: Tensor,
        before: int,
        own: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Query frame i sees key frames up to i + before, or its frame of `own` instead of that.

        With a window, queries go in chunks of `window` frames, each against the 2·window keys it
        can see, so the cost grows with the number of frames and not with its square.
        """
        slots, frames, tokens = query.shape[:3]
        size = min(self.window or frames, frames)
        missing = -frames % size
        span = size + before
        query, keys, values = (_pad_frames(x, missing) for x in (query, keys, values))
        chunked_query = query.unflatten(1, (-1, size))
        chunked_keys, chunked_values = (_spans(x, size, before) for x in (keys, values))
        chunks = chunked_query.shape[1]
        i = torch.arange(size, device=query.device)[:, None]
        j = torch.arange(span, device=query.device)[None, :]
        visible = j <= i + (before if own is None else before - 1)
        if self.window:
            visible = visible & (j >= i)
        # Key frame m of the padded past is real iff it lies at or after before − seen.
        first = (before - seen.clamp(max=before))[:, None, None, None]
        start = torch.arange(chunks, device=query.device)[None, :, None, None] * size
        mask = visible & (start + j >= first)  # (b, chunks, size, span)
        if own is not None:
            own_keys, own_values = (_pad_frames(x, missing).unflatten(1, (-1, size)) for x in own)
            chunked_keys = torch.cat([chunked_keys, own_keys], 2)
            chunked_values = torch.cat([chunked_values, own_values], 2)
            same = torch.eye(size, dtype=torch.bool, device=query.device)
            mask = torch.cat([mask, same.expand(slots, chunks, size, size)], 3)
        mask = mask.repeat_interleave(tokens, 2).repeat_interleave(tokens, 3).flatten(0, 1)
        q, k, v = (
            x.flatten(2, 3).flatten(0, 1).transpose(1, 2)
            for x in (chunked_query, chunked_keys, chunked_values)
        )
        out = softmax_attention(q, k, v, mask.unsqueeze(1))
        out = out.transpose(1, 2).flatten(2).unflatten(0, (slots, chunks))
        out = out.unflatten(2, (size, tokens)).flatten(1, 2)[:, :frames]
        return self.out(out)


class WindowAttention(FrameAttention):
    """Attention among all frames of a window, earlier and later; nothing is cached."""

    @property
    def caches_window(self) -> bool:
        """Never."""
        return False

    def initial_state(self, slots: int, tokens: int, like: Tensor) -> dict[str, Tensor]:
        """Empty."""
        return {}

    def forward(
        self,
        write: Tensor,
        past: dict[str, Tensor],
        seen: Tensor,
        read: Tensor | None = None,
        keep: bool = True,
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Attend within (b, t, n, d), of which the first t − `seen` frames are empty."""
        query, key, value = self._project(write)
        q, k, v = (
            x.flatten(1, 2).transpose(1, 2)
            for x in (self.rotation(query, 0), self.rotation(key, 0), value)
        )
        frames, tokens = write.shape[1:3]
        real = torch.arange(frames, device=seen.device) >= frames - seen[:, None]
        mask = real.repeat_interleave(tokens, 1)[:, None, None]
        out = softmax_attention(q, k, v, mask.expand(-1, -1, q.shape[2], -1))
        return self.out(out.transpose(1, 2).flatten(2).unflatten(1, (frames, tokens))), None, past


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention (…, queries, d) over (…, keys, d) where `mask` is True.

    Written out on the CPU: torch's fused kernel takes three times as long backwards there.
    """
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    bias = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, -torch.inf)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return (scores + bias).softmax(-1).to(v.dtype) @ v


def _spans(x: Tensor, size: int, before: int) -> Tensor:
    """What each chunk of `size` frames sees, (b, chunks, size + before, …), of (b, before + t, …).

    `Tensor.unfold` says the same, but its gradient, compiled for several CPU threads in bfloat16,
    wrote beyond its memory (torch 2.13).
    """
    if x.shape[1] == size + before:
        return x.unsqueeze(1)
    assert before == size, "a cache holds as many frames as a window"
    pieces = x.unflatten(1, (-1, size))
    return torch.cat([pieces[:, :-1], pieces[:, 1:]], 2)


def _pad_frames(x: Tensor, missing: int) -> Tensor:
    return F.pad(x, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else x
