"""Window attention in training, the sliding cache in stepping, and masked softmax are one thing."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dreamenv.world_model.network.attention import FrameAttention
from tests.world_model.models import TOLERANCE, randomise

WIDTH, HEAD_DIM, SLOTS = 12, 6, 2  # 3 pairs: one each for time, row, column


def attention(window: int, grid: tuple[int, int], seed: int) -> FrameAttention:
    torch.manual_seed(seed)
    module = FrameAttention(WIDTH, HEAD_DIM, window, grid).double().requires_grad_(False)
    randomise(module, seed)
    return module


def tokens(slots: int, frames: int, grid: tuple[int, int], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (slots, frames, grid[0] * grid[1], WIDTH)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def empty(module: FrameAttention, slots: int, grid: tuple[int, int]) -> dict[str, Tensor]:
    shape = (slots, module.window, grid[0] * grid[1], WIDTH // HEAD_DIM, HEAD_DIM)
    # Not zeros: what lies before the first frame must be masked, whatever it holds.
    return {"keys": torch.full(shape, 7.0).double(), "values": torch.full(shape, -9.0).double()}


def naive(module: FrameAttention, write: Tensor, read: Tensor | None = None) -> Tensor:
    """Softmax over all tokens of all frames, M_ij = 1 iff j in [i − k, i] in frame indices.

    With `read`, its queries see the written frames [i − k, i − 1] and their own frame of `read`.
    """
    slots, frames, per_frame = write.shape[:3]
    frame = torch.arange(frames).repeat_interleave(per_frame)
    age = frame[:, None] - frame[None, :]
    query, key, value = module._project(write)
    query, key = module.rotation(query, 0), module.rotation(key, 0)
    if read is None:
        mask = (age >= 0) & (age <= module.window)
    else:
        query, own_key, own_value = module._project(read)
        query, own_key = module.rotation(query, 0), module.rotation(own_key, 0)
        key, value = torch.cat([key, own_key], 1), torch.cat([value, own_value], 1)
        mask = torch.cat([(age >= 1) & (age <= module.window), age == 0], 1)
    q, k, v = (x.flatten(1, 2) for x in (query, key, value))
    scores = torch.einsum("bihd,bjhd->bhij", q, k) / HEAD_DIM**0.5
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    out = torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2)
    return module.out(out).unflatten(1, (frames, per_frame)).reshape(write.shape)


@settings(max_examples=40)
@given(
    frames=st.integers(1, 9),
    window=st.integers(1, 5),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    cut=st.integers(0, 9),
    seed=st.integers(0, 2**31),
)
def test_training_mask_equals_sliding_cache_equals_masked_softmax(
    frames: int, window: int, grid: tuple[int, int], cut: int, seed: int
) -> None:
    module = attention(window, grid, seed)
    write, read = tokens(SLOTS, frames, grid, seed), tokens(SLOTS, frames, grid, seed + 1)
    past = empty(module, SLOTS, grid)
    seen = torch.zeros(SLOTS, dtype=torch.int64)

    out, out_read, cache = module(write, past, seen, read)
    torch.testing.assert_close(out, naive(module, write), **TOLERANCE)
    torch.testing.assert_close(out_read, naive(module, write, read), **TOLERANCE)

    # Frame by frame, and cut in two: both through the cache.
    for pieces in ([1] * frames, [min(cut, frames), frames - min(cut, frames)]):
        carried, count, parts, parts_read, start = past, seen, [], [], 0
        for piece in filter(None, pieces):
            here = slice(start, start + piece)
            part, part_read, carried = module(write[:, here], carried, count, read[:, here])
            count, start = count + piece, start + piece
            parts.append(part)
            parts_read.append(part_read)
        torch.testing.assert_close(torch.cat(parts, 1), out, **TOLERANCE)
        torch.testing.assert_close(torch.cat(parts_read, 1), out_read, **TOLERANCE)
        valid = min(window, frames)
        for one, other in zip(carried.values(), cache.values(), strict=True):
            assert one.shape == other.shape
            torch.testing.assert_close(one[:, -valid:], other[:, -valid:], **TOLERANCE)


def test_slots_that_have_seen_different_numbers_of_frames_share_a_batch() -> None:
    window, grid = 3, (2, 2)
    module = attention(window, grid, 0)
    history, frame = tokens(1, 4, grid, 1), tokens(1, 2, grid, 2)
    caches, seens, expected = [], [], []
    for count in range(5):
        cache, seen = empty(module, 1, grid), torch.tensor([count])
        if count:
            _, _, cache = module(history[:, :count], cache, torch.tensor([0]))
        caches.append(cache)
        seens.append(seen)
        expected.append(module(frame, cache, seen)[0])
    past = {part: torch.cat([cache[part] for cache in caches]) for part in caches[0]}
    out, _, _ = module(frame.expand(5, -1, -1, -1), past, torch.cat(seens))
    torch.testing.assert_close(out, torch.cat(expected), **TOLERANCE)


def test_position_is_relative_in_time() -> None:
    """Ten thousand frames later the same frames are attended to in the same way."""
    module = attention(2, (1, 2), 0)
    write = tokens(1, 3, (1, 2), 0)
    past = empty(module, 1, (1, 2))
    _, _, cache = module(write[:, :2], past, torch.tensor([0]))
    young, _, _ = module(write[:, 2:], cache, torch.tensor([2]))
    old, _, _ = module(write[:, 2:], cache, torch.tensor([10_000]))
    torch.testing.assert_close(young, old, rtol=0, atol=0)


def test_order_in_time_and_place_in_the_frame_matter() -> None:
    grid = (2, 2)
    module = attention(3, grid, 0)
    write = tokens(1, 3, grid, 0)
    past, seen = empty(module, 1, grid), torch.tensor([0])
    last = module(write, past, seen)[0][:, 2]
    swapped_frames = module(write[:, [1, 0, 2]], past, seen)[0][:, 2]
    swapped_tokens = write.clone()
    swapped_tokens[:, 0] = write[:, 0][:, [1, 0, 2, 3]]
    assert not torch.allclose(last, swapped_frames)
    assert not torch.allclose(last, module(swapped_tokens, past, seen)[0][:, 2])


def test_fused_attention_equals_the_written_out_one() -> None:
    """What runs on CUDA and what runs on the CPU."""
    from dreamenv.world_model.network.attention import softmax_attention

    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 4, generator=generator, dtype=torch.float64) for n in (5, 7, 7))
    mask = torch.rand(2, 1, 5, 7, generator=generator) < 0.6
    mask[..., 0] = True
    fused = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(softmax_attention(q, k, v, mask), fused, **TOLERANCE)


HEADER = Path(sysconfig.get_paths()["include"]) / "Python.h"


@pytest.mark.skipif(
    shutil.which("c++") is None or not HEADER.exists(),
    reason="torch compiles with a C++ compiler and Python's headers",
)
def test_it_can_be_compiled_for_several_cpu_threads() -> None:
    torch.manual_seed(0)
    module = FrameAttention(64, 32, 4, (4, 4))
    given, past = torch.randn(2, 24, 16, 64), module.initial_state(2, 16, torch.zeros(()))

    def gradients(attend: Callable[..., Any]) -> list[Tensor]:
        streams = [given.clone().requires_grad_(), given.flip(0).clone().requires_grad_()]
        with torch.autocast("cpu", torch.bfloat16):
            out, out_read, _ = attend(streams[0], past, torch.zeros(2).long(), streams[1])
        (out.float().square().sum() + out_read.float().square().sum()).backward()
        return [stream.grad for stream in streams if stream.grad is not None]

    plain, threads = gradients(module), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        compiled = torch.compile(module)
        for _ in range(5):  # memory that is written beyond its end is not always needed at once
            for grad, expected in zip(gradients(compiled), plain, strict=True):
                torch.testing.assert_close(grad, expected, rtol=0, atol=0.03 * expected.abs().max())
    finally:
        torch.set_num_threads(threads)
