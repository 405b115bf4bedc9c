"""What lies between two matrix products of a dream's step, in Triton: one kernel for each gap.

The same division as `frame_kernels.c` makes on the CPU: states, keys and values are read and
written once, and nothing in between reaches memory. Everything is computed in float32; products
and caches may be bfloat16. Needs Triton, which comes with torch's CUDA builds; importing this
module imports it.

Shapes: b slots, g sequences (slots · blocks), l tokens of a frame in one block, n tokens of a
frame, h heads, d head dim, w frames of the window.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import triton
import triton.language as tl

EPSILON: tl.constexpr = tl.constexpr(1.1920928955078125e-07)
"""torch.finfo(float32).eps, which `F.rms_norm` has by default."""


@triton.jit
def _softplus(x):
    """max(x, 0) + log1p(exp(−|x|)), exact to rounding where the exponential is small."""
    small = tl.exp(-tl.abs(x))
    whole = 1.0 + small
    log = tl.where(whole == 1.0, small, tl.log(whole) * small / (whole - 1.0))
    return tl.maximum(x, 0.0) + log


@triton.jit
def convolve(
    projected, tail, taps, bias, out,
    LENGTH: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr, FIRST: tl.constexpr,
    TAPS: tl.constexpr, KEEP: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """SiLU of the causal convolution of one frame; program: (sequence, some channels).

    projected (g, l, WIDTH) with the channels from column FIRST on, tail (g, taps − 1, channels),
    moved on by a frame if KEEP, out (g, l, channels).
    """
    sequence = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask = channel < CHANNELS
    new = projected + sequence * LENGTH * WIDTH + FIRST + channel
    past = tail + sequence * (TAPS - 1) * CHANNELS + channel
    start = tl.load(bias + channel, mask=mask, other=0.0)
    for token in range(LENGTH):
        total = start
        for k in tl.static_range(TAPS):
            place = token + k - (TAPS - 1)
            before = tl.load(past + (token + k) * CHANNELS, mask & (place < 0), 0.0)
            now = tl.load(new + place * WIDTH, mask & (place >= 0), 0.0)
            tap = tl.load(taps + k * CHANNELS + channel, mask=mask, other=0.0)
            total += tap * (before.to(tl.float32) + now.to(tl.float32))
        place = sequence * LENGTH + token
        tl.store(out + place * CHANNELS + channel, total * tl.sigmoid(total), mask=mask)
    if KEEP:
        for k in tl.static_range(TAPS - 1):
            if k + LENGTH < TAPS - 1:
                moved = tl.load(past + (k + LENGTH) * CHANNELS, mask, 0.0)
            else:
                moved = tl.load(new + (k + LENGTH - (TAPS - 1)) * WIDTH, mask, 0.0)
            tl.store(past + k * CHANNELS, moved, mask=mask)


@triton.jit
def scan(
    projected, convolved, state, dt_bias, decay, skip, out, squares,
    LENGTH: tl.constexpr, HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, STATE_DIM: tl.constexpr,
    KEEP: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """Recurrence, skip and gate of one frame; program: (sequence, part of a head).

    projected (g, l, gate | x | B | C | Δ), convolved (g, l, x | B | C), state (g, state dim, h,
    head dim), written if KEEP, out (g, l, h · head dim), and squares (g, l, parts): the sums over
    each program's part of out², from which its norm is made later.
    """
    inner: tl.constexpr = HEADS * HEAD_DIM
    channels: tl.constexpr = inner + 2 * STATE_DIM
    width: tl.constexpr = inner + channels + HEADS
    split: tl.constexpr = (HEAD_DIM + BLOCK_P - 1) // BLOCK_P
    sequence = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    head = part // split
    within = part % split * BLOCK_P + tl.arange(0, BLOCK_P)
    column, is_column = head * HEAD_DIM + within, within < HEAD_DIM
    n = tl.arange(0, BLOCK_N)
    is_n = n < STATE_DIM
    places = state + (sequence * STATE_DIM + n[:, None]) * inner + column[None, :]
    memory = tl.load(places, mask=is_n[:, None] & is_column[None, :], other=0.0)
    head_bias, head_decay = tl.load(dt_bias + head), tl.load(decay + head)
    head_skip = tl.load(skip + head)
    for token in range(LENGTH):
        place = sequence * LENGTH + token
        row, mixed = projected + place * width, convolved + place * channels
        x = tl.load(mixed + column, mask=is_column, other=0.0)
        b = tl.load(mixed + inner + n, mask=is_n, other=0.0)
        c = tl.load(mixed + inner + STATE_DIM + n, mask=is_n, other=0.0)
        step = _softplus(tl.load(row + inner + channels + head).to(tl.float32) + head_bias)
        memory = memory * tl.exp(step * head_decay) + b[:, None] * (step * x)[None, :]
        y = tl.sum(memory * c[:, None], 0) + head_skip * x
        gate = tl.load(row + column, mask=is_column, other=0.0).to(tl.float32)
        y = y * gate * tl.sigmoid(gate)
        tl.store(out + place * inner + column, y, mask=is_column)
        tl.store(squares + place * HEADS * split + part, tl.sum(y * y, 0))
    if KEEP:
        tl.store(places, memory, mask=is_n[:, None] & is_column[None, :])


@triton.jit
def residual_norm(
    x, product, squares, bias, order, table, which, new_order, normed,
    gate_at, scale_at, shift_at, row_size,
    TOKENS: tl.constexpr, WIDTH: tl.constexpr, PARTS: tl.constexpr, INNER: tl.constexpr,
    ADDS: tl.constexpr, MODULATES: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_PARTS: tl.constexpr,
):  # fmt: skip
    """Add the gated product of the part before, if ADDS, and norm x for the next; one row each.

    x (b · n, WIDTH) in place, product and normed the same with tokens at `order` and `new_order`
    of a frame. With PARTS > 0 the product is of something whose norm is still owed, INNER wide,
    with `squares` (b · n, PARTS). Gates, scales (one added) and shifts stand in row `which[slot]`
    of `table`, of `row_size` numbers; without MODULATES x is only normed.
    """
    place = tl.program_id(0).to(tl.int64)
    slot, token = place // TOKENS, place % TOKENS
    d = tl.arange(0, BLOCK_D)
    inside = d < WIDTH
    row = table + tl.load(which + slot) * row_size + d
    value = tl.load(x + place * WIDTH + d, mask=inside, other=0.0)
    if ADDS:
        source = slot * TOKENS + tl.load(order + token)
        added = tl.load(product + source * WIDTH + d, mask=inside, other=0.0).to(tl.float32)
        if PARTS > 0:
            part = tl.arange(0, BLOCK_PARTS)
            owed = tl.load(squares + source * PARTS + part, mask=part < PARTS, other=0.0)
            added = added / tl.sqrt(tl.sum(owed, 0) / INNER + EPSILON)
        added += tl.load(bias + d, mask=inside, other=0.0)
        value += tl.load(row + gate_at, mask=inside, other=0.0) * added
        tl.store(x + place * WIDTH + d, value, mask=inside)
    value = value / tl.sqrt(tl.sum(value * value, 0) / WIDTH + EPSILON)
    if MODULATES:
        scale = tl.load(row + scale_at, mask=inside, other=0.0)
        value = value * scale + tl.load(row + shift_at, mask=inside, other=0.0)
    target = slot * TOKENS + tl.load(new_order + token)
    tl.store(normed + target * WIDTH + d, value, mask=inside)


@triton.jit
def _rotated(
    rows, stride, norm, cos, sin, turn, token, mask,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, NORMS: tl.constexpr,
):  # fmt: skip
    """Keys or queries (token, d), normed if NORMS: as they are, and turned by their position."""
    d = tl.arange(0, BLOCK_D)
    other = (d + HEAD_DIM // 2) % HEAD_DIM
    x = tl.load(rows + token[:, None] * stride + d[None, :], mask=mask, other=0.0)
    swapped = tl.load(rows + token[:, None] * stride + other[None, :], mask=mask, other=0.0)
    x, swapped = x.to(tl.float32), swapped.to(tl.float32)
    if NORMS:
        factor = 1.0 / tl.sqrt(tl.sum(x * x, 1) / HEAD_DIM + EPSILON)
        x *= factor[:, None] * tl.load(norm + d, d < HEAD_DIM, 0.0)[None, :]
        swapped *= factor[:, None] * tl.load(norm + other, d < HEAD_DIM, 0.0)[None, :]
    where = token[:, None] * turn + d[None, :]
    turned = x * tl.load(cos + where, mask=mask, other=0.0)
    return x, turned + swapped * tl.load(sin + where, mask=mask, other=0.0)


@triton.jit
def attend(
    qkv, keys, values, frames, norm, cos, sin, own_cos, own_sin, out,
    TOKENS: tl.constexpr, HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, WINDOW: tl.constexpr,
    KEEP: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Attention of a frame's tokens to themselves and the frames before; program: (slot, head).

    qkv (b, n, 3, h, d); keys, not turned, and values (b, w, n, h, d), oldest first, moved on by a
    frame if KEEP; frames (b,) seen so far; norm (2, d) of queries and keys; cos and sin (w, n, d)
    for keys by age, own (n, 2, d) for queries, scaled as well, and keys; out (b, n, h · d).
    """
    row: tl.constexpr = HEADS * HEAD_DIM
    slot, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    token, d = tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_D)
    is_token = token < TOKENS
    mask = is_token[:, None] & (d < HEAD_DIM)[None, :]
    new = qkv + slot * TOKENS * 3 * row + head * HEAD_DIM
    past = (slot * WINDOW * TOKENS * HEADS + head) * HEAD_DIM
    seen = tl.load(frames + slot)
    _, query = _rotated(
        new, 3 * row, norm, own_cos, own_sin, 2 * HEAD_DIM, token, mask, HEAD_DIM, BLOCK_D, True
    )
    new_key, key = _rotated(
        new + row, 3 * row, norm + HEAD_DIM, own_cos + HEAD_DIM, own_sin + HEAD_DIM,
        2 * HEAD_DIM, token, mask, HEAD_DIM, BLOCK_D, True,
    )  # fmt: skip
    cells = token[:, None] * 3 * row + d[None, :]
    new_value = tl.load(new + 2 * row + cells, mask=mask, other=0.0).to(tl.float32)
    # The frame itself first: something is always visible, so the maximum is finite.
    scores = tl.dot(query, tl.trans(key), input_precision="ieee")
    scores = tl.where(is_token[None, :], scores, -float("inf"))
    most = tl.max(scores, 1)
    weights = tl.exp(scores - most[:, None])
    total = tl.sum(weights, 1)
    mixed = tl.dot(weights, new_value, input_precision="ieee")
    old = token[:, None] * row + d[None, :]
    for age in range(WINDOW, 0, -1):
        frame = (WINDOW - age) * TOKENS
        turn = frame * HEAD_DIM
        _, key = _rotated(
            keys + past + frame * row, row, norm, cos + turn, sin + turn, HEAD_DIM, token, mask,
            HEAD_DIM, BLOCK_D, False,
        )  # fmt: skip
        value = tl.load(values + past + frame * row + old, mask=mask, other=0.0).to(tl.float32)
        scores = tl.dot(query, tl.trans(key), input_precision="ieee")
        scores = tl.where(is_token[None, :] & (age <= seen), scores, -float("inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        weights = tl.exp(scores - higher[:, None])
        fade = tl.exp(most - higher)
        total = total * fade + tl.sum(weights, 1)
        mixed = mixed * fade[:, None] + tl.dot(weights, value, input_precision="ieee")
        most = higher
    cells = (slot * TOKENS + token[:, None]) * row + head * HEAD_DIM + d[None, :]
    tl.store(out + cells, mixed / total[:, None], mask=mask)
    if KEEP:
        tl.debug_barrier()  # keys are read by other threads than those that write them
        for frame in range(WINDOW - 1):
            here = past + frame * TOKENS * row + old
            for cache in tl.static_range(2):
                kept = values if cache else keys
                tl.store(kept + here, tl.load(kept + here + TOKENS * row, mask, 0.0), mask)
        last = past + (WINDOW - 1) * TOKENS * row + old
        tl.store(keys + last, new_key, mask=mask)
        tl.store(values + last, new_value, mask=mask)
