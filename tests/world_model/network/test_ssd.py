"""The chunked scan equals the recurrence that defines it, token by token."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dreamenv.world_model.network.ssd import ScanInputs, ssd_scan
from tests.world_model.models import TOLERANCE

SEQUENCES, HEADS, HEAD_DIM, STATE_DIM = 2, 3, 2, 4


def random_inputs(length: int, seed: int) -> ScanInputs:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        size = (SEQUENCES, length, *shape)
        return torch.randn(size, generator=generator, dtype=torch.float64)

    dt = torch.nn.functional.softplus(draw(HEADS))
    return ScanInputs(draw(HEADS, HEAD_DIM), dt, draw(STATE_DIM), draw(STATE_DIM))


def recur(inputs: ScanInputs, token: int, a: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """One token of the defining recurrence: its output, and the state after it."""
    x, dt = inputs.x[:, token], inputs.dt[:, token]
    b, c = inputs.b[:, token], inputs.c[:, token]
    added = torch.einsum("gh,ghp,gn->gnhp", dt, x, b)
    state = (dt * a).exp()[:, None, :, None] * state + added
    return torch.einsum("gnhp,gn->ghp", state, c), state


@settings(max_examples=60)
@given(
    frames=st.integers(1, 7),
    frame_tokens=st.integers(1, 5),
    chunk=st.integers(1, 40),
    keep=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_scan_equals_token_by_token_recurrence(
    frames: int, frame_tokens: int, chunk: int, keep: bool, seed: int
) -> None:
    write = random_inputs(frames * frame_tokens, seed)
    read = random_inputs(frames * frame_tokens, seed + 1)
    generator = torch.Generator().manual_seed(seed)
    a = -torch.rand(HEADS, generator=generator, dtype=torch.float64) - 0.1
    shape = (SEQUENCES, STATE_DIM, HEADS, HEAD_DIM)
    start = torch.randn(shape, generator=generator, dtype=torch.float64)

    state, expected, expected_read = start, [], []
    for frame in range(frames):
        tokens = range(frame * frame_tokens, (frame + 1) * frame_tokens)
        reading = state  # what the writing stream left before this frame; dropped after it
        for token in tokens:
            y, reading = recur(read, token, a, reading)
            expected_read.append(y)
        for token in tokens:
            y, state = recur(write, token, a, state)
            expected.append(y)

    y, y_read, after = ssd_scan(write, a, start.clone(), frame_tokens, chunk, read, keep)
    torch.testing.assert_close(y, torch.stack(expected, 1), **TOLERANCE)
    torch.testing.assert_close(y_read, torch.stack(expected_read, 1), **TOLERANCE)
    torch.testing.assert_close(after, state if keep else start, **TOLERANCE)

    alone, nothing, after_alone = ssd_scan(write, a, start.clone(), frame_tokens, chunk)
    assert nothing is None
    torch.testing.assert_close(alone, y, **TOLERANCE)
    torch.testing.assert_close(after_alone, state, **TOLERANCE)


def test_scan_changes_neither_its_inputs_nor_the_given_state() -> None:
    write = random_inputs(6, 0)
    copies = [t.clone() for t in (write.x, write.dt, write.b, write.c)]
    state = torch.ones(SEQUENCES, STATE_DIM, HEADS, HEAD_DIM, dtype=torch.float64)
    ssd_scan(write, -torch.ones(HEADS, dtype=torch.float64), state, 2, 4)
    assert (state == 1).all()
    for tensor, copy in zip((write.x, write.dt, write.b, write.c), copies, strict=True):
        assert torch.equal(tensor, copy)


def test_a_hundred_thousand_tokens_stay_finite() -> None:
    """Decays multiply to zero and never overflow, in float32 as in use."""
    length = 100_000
    write = ScanInputs(
        torch.ones(1, length, 1, 1), torch.full((1, length, 1), 5.0),
        torch.ones(1, length, 1), torch.ones(1, length, 1),
    )  # fmt: skip
    y, _, state = ssd_scan(write, -torch.full((1,), 16.0), torch.ones(1, 1, 1, 1), 4, 64)
    torch.testing.assert_close(y[0, -1], torch.full((1, 1), 5.0))
    torch.testing.assert_close(state, torch.full((1, 1, 1, 1), 5.0))
