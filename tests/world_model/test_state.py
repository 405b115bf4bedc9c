"""The memory as an object: slots are chosen, merged, forked and saved without touching others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamenv.core.errors import CheckpointError
from dreamenv.world_model.state import State
from tests.world_model.models import random_actions, random_frames, tiny_config, tiny_model

MODEL = tiny_model()


def remembered(slots: int, frames: int = 3, seed: int = 0) -> State:
    """A memory in which every slot holds something else."""
    seen = random_frames(MODEL.config, slots, frames, seed)
    return MODEL.observe(MODEL.initial_state(slots), seen, random_actions(slots, frames, seed))[0]


def assert_equal(one: State, other: State) -> None:
    for (name, a), (_, b) in zip(one.named_tensors(), other.named_tensors(), strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b), name


@settings(max_examples=15)
@given(data=st.data(), slots=st.integers(1, 4))
def test_merge_and_select_agree_slot_by_slot(data: st.DataObject, slots: int) -> None:
    one, other = remembered(slots, 3, seed=0), remembered(slots, 2, seed=1)
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=slots, max_size=slots)))
    merged = one.merge(mask, other)
    for i in range(slots):
        assert_equal(merged.select([i]), (other if mask[i] else one).select([i]))
    index = data.draw(st.lists(st.integers(0, slots - 1), min_size=1, max_size=6))
    forked = one.select(index)
    assert forked.slots == len(index)
    for position, i in enumerate(index):
        assert_equal(forked.select([position]), one.select([i]))
    assert_equal(one.select(torch.tensor(index)), forked)


@pytest.mark.parametrize("attention", ["window", "full"])
def test_slots_are_replaced_in_place_or_merged(attention: str) -> None:
    model = tiny_model(tiny_config({"attention": attention}))

    def after(frames: int, slots: int, seed: int) -> State:
        seen = random_frames(model.config, slots, frames, seed)
        actions = random_actions(slots, frames, seed)
        return model.observe(model.initial_state(slots), seen, actions)[0]

    one, other = after(5, 4, seed=0), after(5, 2, seed=1)
    wanted = one.select([0]), other.select([1]), one.select([2]), other.select([0])
    replaced = one.put([3, 1], other)
    for i, state in enumerate(wanted):
        assert_equal(replaced.select([i]), state)
    in_place = replaced.layers[0]["ssm"].data_ptr() == one.layers[0]["ssm"].data_ptr()
    assert in_place == (attention == "window")


def test_a_reset_slot_equals_a_fresh_one() -> None:
    """Merging the initial memory into one slot leaves no trace of what it had seen."""
    used, fresh = remembered(3, 5), MODEL.initial_state(3)
    reset = used.merge(torch.tensor([False, True, False]), fresh)
    frames, actions = random_frames(MODEL.config, 3, 4, 7), random_actions(3, 4, 7)
    again, outcome = MODEL.observe(reset, frames, actions)
    alone, outcome_alone = MODEL.observe(MODEL.initial_state(1), frames[1:2], actions[1:2])
    torch.testing.assert_close(outcome.continuation[1:2], outcome_alone.continuation)
    for (name, a), (_, b) in zip(
        again.select([1]).named_tensors(), alone.named_tensors(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9, msg=name)
    undisturbed, _ = MODEL.observe(used, frames, actions)
    assert_equal(again.select([0, 2]), undisturbed.select([0, 2]))


def test_a_clone_shares_no_memory() -> None:
    state = remembered(2)
    before, copy = remembered(2), state.clone()
    for _, tensor in copy.named_tensors():
        tensor.zero_()
    assert_equal(state, before)
    assert_equal(state.to("cpu"), before)


def test_bytes_round_trip_and_count() -> None:
    state = remembered(2)
    assert_equal(MODEL.initial_state(2).from_bytes(state.to_bytes()), state)
    # The bytes decide how many slots there are.
    assert_equal(MODEL.initial_state(1).from_bytes(state.to_bytes()), state)
    assert_equal(state.from_bytes(state.select([1]).to_bytes()), state.select([1]))
    assert state.nbytes == sum(t.numel() * t.element_size() for _, t in state.named_tensors())
    assert state.nbytes == 2 * state.select([0]).nbytes
    assert len(remembered(2, 9).to_bytes()) == len(state.to_bytes())


def test_bytes_of_something_else_are_refused() -> None:
    state = remembered(1)
    data = state.to_bytes()
    for damaged in (b"", b"no state at all, whatever it is", data[: len(data) // 2]):
        with pytest.raises(CheckpointError, match="no saved dream state"):
            state.from_bytes(damaged)
    other = tiny_model(tiny_config(dynamics={"ssm_state_dim": 4})).initial_state(1)
    deeper = tiny_model(tiny_config(dynamics={"scan_blocks": ((2, 2),) * 3})).initial_state(1)
    for foreign in (other, deeper):
        with pytest.raises(CheckpointError, match="another architecture"):
            state.from_bytes(foreign.to_bytes())


def test_bytes_whose_parts_disagree_about_the_slots_are_refused() -> None:
    state = remembered(2)
    state.level = state.level[:1]
    with pytest.raises(CheckpointError):
        remembered(1).from_bytes(state.to_bytes())


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.frames.fill_(-1),
        lambda state: state.level.fill_(2.0),
        lambda state: state.latents.fill_(torch.nan),
        lambda state: state.layers[0].update(more=torch.zeros(1)),
    ],
)
def test_bytes_of_a_state_that_no_model_was_in_are_refused(change: Callable) -> None:
    state = remembered(1).clone()
    change(state)
    with pytest.raises(CheckpointError, match="another architecture"):
        remembered(1).from_bytes(state.to_bytes())
