"""The verbs together: observe in any pieces, imagine from there, refuse what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dreamenv.core.errors import ConfigError
from dreamenv.world_model.config import ActionConfig, SamplerConfig
from dreamenv.world_model.diffusion import add_noise, belief
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.dynamics import Stream
from dreamenv.world_model.network.heads import Outcome
from dreamenv.world_model.open_loop import imagine_under, psnr
from dreamenv.world_model.preprocessing import to_unit
from dreamenv.world_model.state import State
from tests.world_model.models import (
    TOLERANCE,
    random_actions,
    random_frames,
    tiny_config,
    tiny_model,
)

MODEL = tiny_model()
DTYPE = torch.float64


def noise(model: WorldModel, slots: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(model.noise_shape(slots), generator=generator, dtype=DTYPE)


def assert_same_outcome(one: Outcome, other: Outcome) -> None:
    for name in ("reward", "reward_probabilities", "continuation"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), **TOLERANCE)


@settings(max_examples=12)
@given(
    slots=st.integers(1, 3),
    pieces=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
)
def test_observe_at_once_equals_any_pieces_equals_frame_by_frame(
    slots: int, pieces: list[int], seed: int
) -> None:
    count = sum(pieces)
    frames = random_frames(MODEL.config, slots, count, seed)
    actions = random_actions(slots, count, seed)
    whole, outcome = MODEL.observe(MODEL.initial_state(slots), frames, actions)
    assert outcome.reward.shape == (slots, count)
    dreamt = MODEL.imagine(whole, torch.ones(slots, dtype=torch.int64), noise(MODEL, slots, seed))
    for lengths in (pieces, [1] * count):
        state, start = MODEL.initial_state(slots), 0
        for length in lengths:
            here = slice(start, start + length)
            state, part = MODEL.observe(state, frames[:, here], actions[:, here])
            assert_same_outcome(part, outcome[:, here])
            start += length
        assert torch.equal(state.frames, torch.full((slots,), count))
        # Whatever the memories hold, the futures that follow from them are the same.
        again = MODEL.imagine(
            state, torch.ones(slots, dtype=torch.int64), noise(MODEL, slots, seed)
        )
        torch.testing.assert_close(again[0], dreamt[0], **TOLERANCE)
        assert_same_outcome(again[1], dreamt[1])


def test_uint8_frames_and_the_same_frames_as_floats_are_one() -> None:
    frames, actions = random_frames(MODEL.config, 1, 2, 0), random_actions(1, 2, 0)
    _, one = MODEL.observe(MODEL.initial_state(1), frames, actions)
    _, other = MODEL.observe(MODEL.initial_state(1), to_unit(frames, DTYPE), actions)
    assert_same_outcome(one, other)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("context_noise", [0.0, 0.3])
def test_imagine_is_k_looks_along_the_flow_and_one_write(steps: int, context_noise: float) -> None:
    """Written out from the definition: z̃ ← z̃ + (ẑ − z̃)/(1 − τ) · 1/K."""
    config = tiny_config(sampler=SamplerConfig(steps=steps, context_noise=context_noise))
    model = tiny_model(config)
    state, _ = model.observe(
        model.initial_state(2), random_frames(config, 2, 3, 0), random_actions(2, 3, 0)
    )
    action, eps = torch.tensor([1, 3]), noise(model, 2, 0)
    frames, outcome, after = model.imagine(state, action, eps)

    z = eps[:, :1]
    for k in range(steps):
        level = torch.full((2, 1), k / steps, dtype=DTYPE)
        _, prediction, _ = model.dynamics(state, Stream(z, level), action[:, None])
        z = z + (prediction.latents - z) / (1 - k / steps) / steps
    level = torch.full((2, 1), 1 - context_noise, dtype=DTYPE)
    written = Stream(add_noise(z, level, eps[:, 1:]), level)
    expected, prediction, _ = model.dynamics(state, written, action[:, None])
    torch.testing.assert_close(frames, model.tokenizer.decode(z[:, 0], config.grid), **TOLERANCE)
    assert_same_outcome(outcome, model.head(prediction.features[:, 0]))
    for (name, a), (_, b) in zip(after.named_tensors(), expected.named_tensors(), strict=True):
        torch.testing.assert_close(a, b, **TOLERANCE, msg=name)
    # The last look decides the frame: at K passes the pull of the last one is all the way.
    torch.testing.assert_close(
        model.imagine(state, action, eps, steps=steps)[0], frames, **TOLERANCE
    )


def test_imagine_changes_neither_the_state_nor_the_noise_it_is_given() -> None:
    state, _ = MODEL.observe(
        MODEL.initial_state(1), random_frames(MODEL.config, 1, 3, 0), random_actions(1, 3, 0)
    )
    before, eps = state.clone(), noise(MODEL, 1, 0)
    eps_before = eps.clone()
    first, _, _ = MODEL.imagine(state, torch.tensor([2]), eps)
    for (_, a), (_, b) in zip(state.named_tensors(), before.named_tensors(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(eps, eps_before)
    second, _, _ = MODEL.imagine(state, torch.tensor([2]), eps)
    assert torch.equal(first, second)


def test_an_untrained_model_repeats_the_last_frame() -> None:
    """Its output layer is zero, and the belief without the network is the frame before."""
    config = tiny_config()
    torch.manual_seed(0)
    model = WorldModel(config).double().eval()
    state, _ = model.observe(
        model.initial_state(1), random_frames(config, 1, 3, 0), random_actions(1, 3, 0)
    )
    last = model.tokenizer.decode(state.latents, config.grid)
    for step in range(3):
        frame, _, state = model.imagine(state, torch.tensor([0]), noise(model, 1, step), 1)
        torch.testing.assert_close(frame, last, **TOLERANCE)


def test_memory_does_not_grow() -> None:
    state = MODEL.initial_state(2)
    before = [(name, x.shape, x.dtype) for name, x in state.named_tensors()]
    for step in range(20):
        _, _, state = MODEL.imagine(state, torch.tensor([0, 1]), noise(MODEL, 2, step))
        assert [(name, x.shape, x.dtype) for name, x in state.named_tensors()] == before
    frames = random_frames(MODEL.config, 2, 9, 0)
    state, _ = MODEL.observe(state, frames, random_actions(2, 9, 0))
    assert [(name, x.shape, x.dtype) for name, x in state.named_tensors()] == before
    assert state.frames.tolist() == [29, 29]


def test_memory_keeps_its_bytes_in_bfloat16_too() -> None:
    config = tiny_config()
    torch.manual_seed(0)
    model = WorldModel(config).eval()
    model.compute_dtype = torch.bfloat16
    state = model.initial_state(1)
    before = [(name, x.dtype) for name, x in state.named_tensors()]
    assert dict(before)["layers.0.ssm"] == torch.float32
    state, _ = model.observe(state, random_frames(config, 1, 2, 0), random_actions(1, 2, 0))
    assert [(name, x.dtype) for name, x in state.named_tensors()] == before
    eps = noise(model, 1, 0).float()
    _, _, state = model.imagine(state, torch.tensor([1]), eps)
    assert [(name, x.dtype) for name, x in state.named_tensors()] == before


def test_open_loop_is_observe_then_imagine_under_the_recorded_actions() -> None:
    frames, actions = random_frames(MODEL.config, 2, 5, 0), random_actions(2, 5, 0).clamp(min=0)
    loop = imagine_under(MODEL, frames, actions, 3, torch.Generator().manual_seed(4))
    state, _ = MODEL.observe(MODEL.initial_state(2), frames[:, :3], actions[:, :3])
    generator = torch.Generator().manual_seed(4)
    for t in (3, 4):
        eps = torch.randn(MODEL.noise_shape(2), generator=generator).to(DTYPE)
        frame, outcome, state = MODEL.imagine(state, actions[:, t], eps)
        torch.testing.assert_close(loop.frames[:, t - 3], frame, **TOLERANCE)
        assert_same_outcome(loop.outcome[:, t - 3], outcome)
    frames[:, 3:] = 0  # what comes after the context is not looked at
    blind = imagine_under(MODEL, frames, actions, 3, torch.Generator().manual_seed(4))
    assert torch.equal(loop.frames, blind.frames)


def test_psnr_of_a_known_error() -> None:
    assert psnr(torch.full((2, 4, 4, 3), 0.1)).tolist() == pytest.approx([20.0, 20.0], abs=1e-4)


def test_continuous_actions_are_scaled_by_their_bounds_and_nan_starts() -> None:
    actions = ActionConfig(low=(-2.0, 10.0), high=(2.0, 30.0))
    model = tiny_model(tiny_config(actions=actions))
    embed = model.dynamics.action
    unit = embed.mlp(torch.tensor([[1.0, -0.5]], dtype=DTYPE))
    torch.testing.assert_close(embed(torch.tensor([[2.0, 15.0]], dtype=DTYPE)), unit, **TOLERANCE)
    start = embed(torch.tensor([[torch.nan, torch.nan]], dtype=DTYPE))
    torch.testing.assert_close(start[0], embed.start, **TOLERANCE)
    frames = random_frames(model.config, 1, 2, 0)
    state, _ = model.observe(model.initial_state(1), frames, torch.zeros(1, 2, 2, dtype=DTYPE))
    one, _, _ = model.imagine(state, torch.tensor([[0.0, 20.0]]), noise(model, 1, 0))
    other, _, _ = model.imagine(state, torch.tensor([[2.0, 20.0]]), noise(model, 1, 0))
    assert one.isfinite().all() and not torch.allclose(one, other)


Bad = Callable[[State, Tensor, Tensor], tuple[State, Tensor, Tensor]]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda s, f, a: (s, f[:, :, :16], a), r"frames must be \(b, t ≥ 1, 32, 32, 3\)"),
        (lambda s, f, a: (s, f[:, :0], a[:, :0]), "t ≥ 1"),
        (lambda s, f, a: (s, f[0], a), "frames must be"),
        (lambda s, f, a: (s, f.long(), a), "uint8, or floats"),
        (lambda s, f, a: (s, to_unit(f) * torch.nan, a), "NaN"),
        (lambda s, f, a: (s, to_unit(f) / 0, a), "infinity"),
        (lambda s, f, a: (s, f, a[:, :1]), "actions of shape"),
        (lambda s, f, a: (s, f, a.float()), "integer actions"),
        (lambda s, f, a: (s, f, a + 5), "0 … 4"),
        (lambda s, f, a: (s, f, a - 5), "0 … 4"),
        (lambda s, f, a: (s.select([0]), f, a), "1 slots"),
    ],
)
def test_what_does_not_fit_is_refused(bad: Bad, message: str) -> None:
    frames, actions = random_frames(MODEL.config, 2, 2, 0), random_actions(2, 2, 0)
    state = MODEL.initial_state(2)
    MODEL.observe(state, frames, actions)
    with pytest.raises(ConfigError, match=message):
        MODEL.observe(*bad(state, frames, actions))


def test_the_outcome_depends_on_the_frame_that_was_imagined() -> None:
    """Reward and continuation are read off the committed frame, not off the action alone."""
    state, _ = MODEL.observe(
        MODEL.initial_state(1), random_frames(MODEL.config, 1, 3, 0), random_actions(1, 3, 0)
    )
    action = torch.tensor([1])
    continuations = {
        round(float(MODEL.imagine(state, action, noise(MODEL, 1, seed))[1].continuation), 9)
        for seed in range(4)
    }
    assert len(continuations) == 4


def test_sampling_stays_inside_the_belief_at_every_level() -> None:
    """The mean that the network corrects is what `belief` says of the frame before."""
    state, _ = MODEL.observe(
        MODEL.initial_state(1), random_frames(MODEL.config, 1, 2, 0), random_actions(1, 2, 0)
    )
    stream = Stream(noise(MODEL, 1, 0)[:, :1], torch.full((1, 1), 0.5, dtype=DTYPE))
    _, prediction, _ = MODEL.dynamics(state, stream, torch.tensor([[1]]))
    previous = state.latents[:, None], state.level[:, None]
    mean, scale = belief(*stream[:2], *previous[:2], MODEL.dynamics.change)
    expected = mean + scale * prediction.output
    torch.testing.assert_close(prediction.latents, expected, **TOLERANCE)


def test_steps_of_a_call_override_the_checkpoint() -> None:
    model = tiny_model(replace(tiny_config(), sampler=SamplerConfig(steps=3)))
    state = model.initial_state(1)
    eps, action = noise(model, 1, 0), torch.tensor([1])
    default, three, one = (model.imagine(state, action, eps, k)[0] for k in (None, 3, 1))
    assert torch.equal(default, three) and not torch.allclose(default, one)
