"""Imagining in place gives what the reference path gives, for every architecture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dreamenv.world_model.config import ActionConfig, SamplerConfig, WorldModelConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.heads import Outcome
from dreamenv.world_model.runtime.select import can_step
from dreamenv.world_model.state import State
from tests.world_model.models import (
    FACTORED,
    TOLERANCE,
    random_actions,
    random_frames,
    random_vectors,
    tiny_config,
    tiny_model,
)

DTYPE = torch.float64
BLOCKS = ((4, 4), (2, 2), (1, 1), (1, 2))
COVERED: dict[str, WorldModelConfig] = {
    "two layers": tiny_config(),
    "every block size": tiny_config({"scan_blocks": BLOCKS}, frame_size=(64, 64)),
    "scan by frame": tiny_config({"scan": "frame"}),
    "patches": tiny_config({"patch": 2, "scan_blocks": ((2, 1), (1, 1))}, frame_size=(64, 64)),
    "box of actions": tiny_config(actions=ActionConfig(low=(-1.0, 0.0), high=(1.0, 20.0))),
    "factored actions, parts of tokens": tiny_config(actions=FACTORED, frame_size=(29, 20)),
    "context noise": tiny_config(sampler=SamplerConfig(steps=3, context_noise=0.25)),
}
OTHERS: dict[str, WorldModelConfig] = {
    "recall": tiny_config({"ssm_recall": True}),
    "full attention": tiny_config({"attention": "full"}),
    "no attention": tiny_config({"attention": "none"}),
    "no scan": tiny_config({"scan": "none"}),
    "bidirectional": tiny_config({"scan": "none", "attention": "bidirectional"}),
    "poses": tiny_config(
        conditioning="pose", actions=ActionConfig(low=(-1.0, 0.0), high=(1.0, 20.0))
    ),
}


def actions_of(model: WorldModel, slots: int, frames: int, seed: int) -> Tensor:
    if model.config.actions.discrete:
        return random_actions(slots, frames, seed)
    return random_vectors(model.config, slots, frames, seed, DTYPE)


def noise(model: WorldModel, slots: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(model.noise_shape(slots), generator=generator, dtype=DTYPE)


def slots_of_different_age(model: WorldModel) -> State:
    """Four frames were seen in slot 0, one in slot 1, none in slot 2."""
    state = model.initial_state(3)
    for t in range(4):
        frames = random_frames(model.config, 3, 1, t)
        seen, _ = model.observe(state, frames, actions_of(model, 3, 1, t))
        state = state.merge(torch.tensor([True, t == 0, False]), seen)
    return state


def assert_same(one: tuple[Tensor, Outcome, State], two: tuple[Tensor, Outcome, State]) -> None:
    torch.testing.assert_close(one[0], two[0], **TOLERANCE)
    for name in ("reward", "reward_probabilities", "continuation", "features"):
        torch.testing.assert_close(getattr(one[1], name), getattr(two[1], name), **TOLERANCE)
    tensors = dict(two[2].named_tensors())
    for name, tensor in one[2].named_tensors():
        torch.testing.assert_close(tensor, tensors[name], **TOLERANCE, msg=name)


@pytest.mark.parametrize("config", [*COVERED.values(), *OTHERS.values()],
                         ids=[*COVERED, *OTHERS])  # fmt: skip
def test_in_place_equals_the_reference(config: WorldModelConfig) -> None:
    model = tiny_model(config)
    reference = slots_of_different_age(model)
    state = reference.clone()
    for t in range(4):
        given = actions_of(model, 3, 1, 10 + t)[:, 0], noise(model, 3, t)
        wanted = model.imagine(reference, *given)
        got = model.imagine(state, *given, reuse=True)
        assert_same(got, wanted)
        reference, state = wanted[2], got[2]


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_in_place_takes_as_many_passes(steps: int) -> None:
    model = tiny_model()
    state = slots_of_different_age(model)
    given = actions_of(model, 3, 1, 0)[:, 0], noise(model, 3, 0), steps
    assert_same(model.imagine(state.clone(), *given, reuse=True), model.imagine(state, *given))


@pytest.mark.parametrize("config", COVERED.values(), ids=COVERED)
def test_in_place_overwrites_the_memory_of_every_layer(config: WorldModelConfig) -> None:
    model = tiny_model(config)
    assert can_step(model.dynamics)
    state = slots_of_different_age(model)
    before = state.clone()
    _, _, after = model.imagine(
        state, actions_of(model, 3, 1, 0)[:, 0], noise(model, 3, 0), reuse=True
    )
    for given, old, new in zip(state.layers, before.layers, after.layers, strict=True):
        for name, tensor in new.items():
            assert tensor.data_ptr() == given[name].data_ptr()
            assert not torch.equal(tensor, old[name]), f"{name} did not change"


def test_without_reuse_the_given_memory_stays() -> None:
    model = tiny_model()
    state = slots_of_different_age(model)
    before = state.clone()
    model.imagine(state, torch.tensor([0, 1, 2]), noise(model, 3, 0))
    for (name, tensor), (_, old) in zip(state.named_tensors(), before.named_tensors(), strict=True):
        assert torch.equal(tensor, old), name


def change_one_weight(model: WorldModel) -> None:
    model.dynamics.layers[0].scan.project.weight.mul_(1.5)


def load_other_weights(model: WorldModel) -> None:
    model.load_state_dict(tiny_model(seed=5).state_dict())


def take_another_precision(model: WorldModel) -> None:
    model.float()


@pytest.mark.parametrize("change", [change_one_weight, load_other_weights, take_another_precision])
def test_changed_weights_are_noticed(change: Any) -> None:
    model = tiny_model()
    state = slots_of_different_age(model)
    given = torch.tensor([0, 1, 2]), noise(model, 3, 0)
    before, _, _ = model.imagine(state.clone(), *given, reuse=True)
    change(model)
    dtype = model.dynamics.position.dtype
    state = State(
        [{name: x.to(dtype) for name, x in layer.items()} for layer in state.layers],
        state.latents.to(dtype), state.level.to(dtype), state.frames,
    )  # fmt: skip
    given = given[0], given[1].to(dtype)
    wanted, _, _ = model.imagine(state.clone(), *given)
    got, _, _ = model.imagine(state, *given, reuse=True)
    assert got.dtype == dtype and (dtype == torch.float32 or not torch.equal(got, before))
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


def test_bfloat16_products_stay_near_float32() -> None:
    """Frames of the two paths differ less than either does from float32."""
    model = tiny_model().float()
    state = model.initial_state(4)
    given = torch.tensor([0, 1, 2, 3]), noise(model, 4, 0).float()
    exact, _, _ = model.imagine(state.clone(), *given)
    model.compute_dtype = torch.bfloat16
    state = model.initial_state(4)
    reference, _, _ = model.imagine(state.clone(), *given)
    got, outcome, _ = model.imagine(state, *given, reuse=True)
    assert outcome.features is not None and outcome.features.dtype == torch.float32
    assert (got - exact).abs().mean() < 1.5 * (reference - exact).abs().mean()


@pytest.mark.parametrize("config", [*COVERED.values(), *OTHERS.values()],
                         ids=[*COVERED, *OTHERS])  # fmt: skip
def test_watching_in_place_equals_the_reference(config: WorldModelConfig) -> None:
    model = tiny_model(config)
    state = slots_of_different_age(model)
    for t in range(3):
        frames, actions = random_frames(config, 3, 1, 10 + t), actions_of(model, 3, 1, 10 + t)
        expected, outcome = model.observe(state, frames, actions)
        state, found = model.observe(state.clone(), frames, actions, reuse=True)
        black = torch.zeros(())
        assert_same((black, found, state), (black, outcome, expected))
