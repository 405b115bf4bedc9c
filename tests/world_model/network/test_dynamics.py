"""Time and memory: parallel = step by step, causal, slot by slot, block by block."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dreamenv.world_model.network.dynamics import Dynamics, Stream
from dreamenv.world_model.state import State
from tests.world_model.models import TOLERANCE, random_actions, random_stream, tiny_dynamics

GRID = (4, 4)
BLOCKS = [(h, w) for h in (1, 2, 4) for w in (1, 2, 4)]
SLOTS = 2


def part(stream: Stream, here: slice) -> Stream:
    return Stream(stream.noisy[:, here], stream.level[:, here])


def assert_same_state(one: State, other: State) -> None:
    """Equal memories. Ring entries from before the first frame are never looked at."""
    empty = torch.arange(one.layers[0]["keys"].shape[1], 0, -1)[None] > one.frames[:, None]
    for (name, a), (_, b) in zip(one.named_tensors(), other.named_tensors(), strict=True):
        if name.endswith(("keys", "values")):
            a, b = (x.masked_fill(empty[:, :, None, None, None], 0) for x in (a, b))
        torch.testing.assert_close(a, b, **TOLERANCE, msg=name)


def assert_pieces_equal_whole(
    dynamics: Dynamics, frames: int, pieces: list[int], seed: int
) -> None:
    """Both streams and the memory, whether run at once or in consecutive pieces."""
    write, read = (random_stream(dynamics, SLOTS, frames, seed + i) for i in (0, 1))
    actions = random_actions(SLOTS, frames, seed)
    state, written, seen = dynamics(dynamics.initial_state(SLOTS), write, actions, read)
    carried, start = dynamics.initial_state(SLOTS), 0
    for length in pieces:
        here = slice(start, start + length)
        piece = (part(write, here), actions[:, here], part(read, here))
        carried, written_part, seen_part = dynamics(carried, *piece)
        for whole, one in ((written, written_part), (seen, seen_part)):
            torch.testing.assert_close(whole.latents[:, here], one.latents, **TOLERANCE)
            torch.testing.assert_close(whole.features[:, here], one.features, **TOLERANCE)
        start += length
    assert_same_state(state, carried)


@pytest.mark.parametrize("block", BLOCKS)
@settings(max_examples=8)
@given(
    frames=st.integers(1, 8),
    cut=st.integers(1, 7),
    window=st.integers(1, 4),
    conv=st.integers(1, 5),
    chunk=st.integers(1, 70),
    seed=st.integers(0, 2**31),
)
def test_parallel_equals_stepping_and_cut_windows_for_every_block(
    block: tuple[int, int], frames: int, cut: int, window: int, conv: int, chunk: int, seed: int
) -> None:
    dynamics = tiny_dynamics(
        GRID, seed, scan_blocks=(block, (2, 2)), attention_window=window,
        ssm_conv=conv, ssm_chunk=chunk,
    )  # fmt: skip
    assert_pieces_equal_whole(dynamics, frames, [1] * frames, seed)
    if cut < frames:
        assert_pieces_equal_whole(dynamics, frames, [cut, frames - cut], seed)


@pytest.mark.parametrize("block", BLOCKS[::4])
@settings(max_examples=8)
@given(
    frames=st.integers(2, 8), cut=st.integers(1, 7), chunk=st.integers(1, 70),
    seed=st.integers(0, 2**31),
)  # fmt: skip
def test_recall_in_parallel_equals_recall_step_by_step(
    block: tuple[int, int], frames: int, cut: int, chunk: int, seed: int
) -> None:
    dynamics = tiny_dynamics(
        GRID, seed, scan_blocks=(block, (2, 2)), ssm_recall=True, ssm_chunk=chunk
    )
    assert "conv" not in dynamics.initial_state(1).layers[0]
    assert_pieces_equal_whole(dynamics, frames, [1] * frames, seed)
    if cut < frames:
        assert_pieces_equal_whole(dynamics, frames, [cut, frames - cut], seed)


def test_under_recall_a_frame_of_noise_leaves_the_scans_memory_as_it_was() -> None:
    dynamics = tiny_dynamics(GRID, ssm_recall=True)
    state, _, _ = dynamics(dynamics.initial_state(1), *clean(dynamics, 3, 0))
    stream, actions = clean(dynamics, 2, 1)
    for level, same in ((0.0, True), (0.5, False)):
        view = Stream(stream.noisy, torch.full_like(stream.level, level))
        after, _, _ = dynamics(state, view, actions)
        unchanged = [
            torch.equal(a["ssm"], b["ssm"]) for a, b in zip(after.layers, state.layers, strict=True)
        ]
        assert unchanged == [same] * len(unchanged)


def clean(dynamics: Dynamics, frames: int, seed: int) -> tuple[Stream, torch.Tensor]:
    """Random frames without noise, and actions."""
    stream = random_stream(dynamics, 1, frames, seed)
    return Stream(stream.noisy, torch.ones_like(stream.level)), random_actions(1, frames, seed)


@settings(max_examples=10)
@given(
    rows=st.sampled_from([1, 2, 3, 6]),
    columns=st.sampled_from([1, 2, 4]),
    frames=st.integers(1, 6),
    data=st.data(),
)
def test_parallel_equals_stepping_on_any_grid(
    rows: int, columns: int, frames: int, data: st.DataObject
) -> None:
    heights = [h for h in range(1, rows + 1) if rows % h == 0]
    widths = [w for w in range(1, columns + 1) if columns % w == 0]
    blocks = st.tuples(st.sampled_from(heights), st.sampled_from(widths))
    layers = data.draw(st.lists(blocks, min_size=1, max_size=3))
    dynamics = tiny_dynamics((rows, columns), scan_blocks=tuple(layers))
    assert_pieces_equal_whole(dynamics, frames, [1] * frames, data.draw(st.integers(0, 2**31)))


@pytest.mark.parametrize("block", BLOCKS)
def test_the_reading_stream_is_the_uncommitted_pass_of_imagine(block: tuple[int, int]) -> None:
    """A noisy view beside clean frames = one pass over it alone that leaves the memory be."""
    dynamics = tiny_dynamics(GRID, scan_blocks=(block,))
    frames = 6
    write, read = (random_stream(dynamics, SLOTS, frames, seed) for seed in (0, 1))
    actions = random_actions(SLOTS, frames, 0)
    _, _, seen = dynamics(dynamics.initial_state(SLOTS), write, actions, read)
    state = dynamics.initial_state(SLOTS)
    for t in range(frames):
        here = slice(t, t + 1)
        before = state.clone()
        same, looked, _ = dynamics(state, part(read, here), actions[:, here], keep=False)
        assert_same_state(same, before)
        torch.testing.assert_close(seen.latents[:, here], looked.latents, **TOLERANCE)
        torch.testing.assert_close(seen.features[:, here], looked.features, **TOLERANCE)
        state, _, _ = dynamics(state, part(write, here), actions[:, here])


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("changed", ["write", "read", "action"])
def test_nothing_later_changes_anything_earlier(block: tuple[int, int], changed: str) -> None:
    dynamics = tiny_dynamics(GRID, scan_blocks=(block, (2, 2)), ssm_chunk=32)
    frames, at = 7, 4
    write, read = (random_stream(dynamics, SLOTS, frames, seed) for seed in (0, 1))
    actions = random_actions(SLOTS, frames, 0)

    def run() -> tuple[Tensor, Tensor]:
        _, written, seen = dynamics(dynamics.initial_state(SLOTS), write, actions, read)
        return written.features, seen.features

    before = run()
    if changed == "action":
        actions[:, at] = (actions[:, at] + 2) % 5
    else:
        stream = write if changed == "write" else read
        stream.noisy[:, at] += 1
    after = run()
    for stream_before, stream_after, own in zip(before, after, ("write", "read"), strict=True):
        assert torch.equal(stream_before[:, :at], stream_after[:, :at])
        moved = (stream_before - stream_after).abs().amax((0, 2))
        differs = (moved > TOLERANCE["atol"]).tolist()
        if changed == "read":  # leaves no trace beyond its own frame
            assert differs[at:] == [own == "read", False, False]
        elif changed == own or changed == "action":
            assert differs[at:] == [True, True, True]
        else:  # a view of frame `at` does not see what is written there
            assert differs[at:] == [False, True, True]


def test_slots_do_not_touch_each_other() -> None:
    dynamics = tiny_dynamics(GRID)
    write, read = (random_stream(dynamics, 3, 4, seed) for seed in (0, 1))
    actions = random_actions(3, 4, 0)
    state, written, seen = dynamics(dynamics.initial_state(3), write, actions, read)
    write.noisy[1] += 1
    read.noisy[1] -= 1
    actions[1] = (actions[1] + 1) % 5
    changed_state, *changed = dynamics(dynamics.initial_state(3), write, actions, read)
    for one, other in zip((written, seen), changed, strict=True):
        assert torch.equal(one.features[[0, 2]], other.features[[0, 2]])
        assert not torch.equal(one.features[1], other.features[1])
    assert_same_state(state.select([0, 2]), changed_state.select([0, 2]))


def test_one_slot_of_a_batch_equals_it_alone() -> None:
    dynamics = tiny_dynamics(GRID)
    write, actions = random_stream(dynamics, 4, 5, 0), random_actions(4, 5, 0)
    state, written, _ = dynamics(dynamics.initial_state(4), write, actions)
    alone = Stream(write.noisy[2:3], write.level[2:3])
    alone_state, alone_written, _ = dynamics(dynamics.initial_state(1), alone, actions[2:3])
    torch.testing.assert_close(written.latents[2:3], alone_written.latents, **TOLERANCE)
    assert_same_state(state.select([2]), alone_state)


def test_a_scan_block_neither_reads_nor_writes_its_neighbours() -> None:
    """Within one frame, before attention mixes it, each block is a world of its own."""
    scan = tiny_dynamics(GRID, scan_blocks=((2, 2),)).layers[0].scan
    x = torch.randn(1, 3, 16, 8, dtype=torch.float64)
    changed = x.clone()
    changed[:, :, 0] += 1  # top left token, so the block of tokens 0, 1, 4, 5
    out, _, memory = scan(x, scan.initial_state(1, x), (None, None))
    out_changed, _, memory_changed = scan(changed, scan.initial_state(1, x), (None, None))
    differs = (out != out_changed).any(-1).any(1)[0].nonzero().flatten().tolist()
    assert differs == [0, 1, 4, 5]
    changed_states = memory["ssm"] != memory_changed["ssm"]
    assert changed_states.flatten(2).any(2)[0].tolist() == [True, False, False, False]


@pytest.mark.parametrize("name", ["action", "level", "previous frame"])
def test_what_conditions_a_frame_matters(name: str) -> None:
    dynamics = tiny_dynamics(GRID)
    stream, actions = random_stream(dynamics, 1, 1, 0), torch.tensor([[1]])
    state = dynamics.initial_state(1)
    state.level.fill_(1.0)
    stream.level.fill_(0.5)
    before = dynamics(state, stream, actions)[1].latents
    if name == "action":
        actions = torch.tensor([[2]])
    elif name == "level":
        stream.level.fill_(0.6)
    else:
        state.latents.add_(1.0)
    assert not torch.allclose(before, dynamics(state, stream, actions)[1].latents)
