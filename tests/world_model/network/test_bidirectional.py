"""The baseline that sees both ways: within a training window, and never further than its window."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dreamenv.core.errors import ConfigError
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.bidirectional import BidirectionalDynamics
from dreamenv.world_model.network.dynamics import Prediction, Stream
from dreamenv.world_model.objective import Batch, ObjectiveConfig
from tests.world_model.batches import conditioned_model, random_batch
from tests.world_model.models import TOLERANCE, random_stream

K = 2
"""Frames before its own that a frame sees when it is imagined."""
WINDOW = K + 1
FORCING = ObjectiveConfig(scheme="diffusion_forcing", clean_prefix=0.0, pure_noise=0.2)

conditionings = pytest.mark.parametrize("conditioning", ["action", "box", "pose"])


def both_ways(conditioning: str = "action", **dynamics: object) -> WorldModel:
    changes = {"scan": "none", "attention": "bidirectional", "attention_window": K, **dynamics}
    return conditioned_model(conditioning, **changes)


def network(model: WorldModel) -> BidirectionalDynamics:
    return cast(BidirectionalDynamics, model.dynamics)


def part(stream: Stream, here: slice) -> Stream:
    return Stream(stream.noisy[:, here], stream.level[:, here])


def last_of_window(
    model: WorldModel, write: Stream, read: Stream, actions: Tensor, t: int
) -> Prediction:
    """Frame t of `read` after at most K frames of `write`, as a window without anything empty."""
    first = max(0, t - K)
    joined = [
        torch.cat([w[:, first:t], r[:, t : t + 1]], 1)
        for w, r in ((write.noisy, read.noisy), (write.level, read.level))
    ]
    whole = network(model).denoise(Stream(*joined), actions[:, first : t + 1])
    return Prediction(*(x[:, -1] for x in whole))


@conditionings
@pytest.mark.parametrize("patch", [1, 2])
def test_every_frame_is_predicted_as_the_last_of_its_own_window(
    patch: int, conditioning: str
) -> None:
    """Empty frames before the first one are as if they were not there."""
    model = both_ways(conditioning, patch=patch)
    slots, frames = 2, 5
    write, read = (random_stream(model.dynamics, slots, frames, seed) for seed in (0, 1))
    actions = random_batch(model, slots, frames).actions
    _, written, seen = model.dynamics(model.initial_state(slots), write, actions, read)
    for t in range(frames):
        for found, stream in ((written, write), (seen, read)):
            expected = last_of_window(model, write, stream, actions, t)
            for name in Prediction._fields:
                one = getattr(found, name)[:, t]
                torch.testing.assert_close(one, getattr(expected, name), **TOLERANCE, msg=name)


@conditionings
@settings(max_examples=8)
@given(
    frames=st.integers(1, 7), cut=st.integers(1, 6), k=st.integers(1, 4), seed=st.integers(0, 99)
)
def test_pieces_and_single_frames_equal_the_whole(
    conditioning: str, frames: int, cut: int, k: int, seed: int
) -> None:
    model = both_ways(conditioning, attention_window=k)
    write, read = (random_stream(model.dynamics, 2, frames, seed + i) for i in (0, 1))
    actions = random_batch(model, 2, frames, seed).actions
    state, *whole = model.dynamics(model.initial_state(2), write, actions, read)
    for pieces in ([1] * frames, [cut, frames - cut] if cut < frames else [frames]):
        carried, start = model.initial_state(2), 0
        for length in pieces:
            here = slice(start, start + length)
            looked = model.dynamics(carried, part(read, here), actions[:, here], keep=False)
            assert looked[0] is carried
            carried, *found = model.dynamics(
                carried, part(write, here), actions[:, here], part(read, here)
            )
            for one, other in zip(found, whole, strict=True):
                torch.testing.assert_close(one.features, other.features[:, here], **TOLERANCE)
            if length == 1:  # as an imagined frame is denoised
                torch.testing.assert_close(looked[1].latents, found[1].latents, **TOLERANCE)
            start += length
        for (name, one), (_, other) in zip(
            carried.named_tensors(), state.named_tensors(), strict=True
        ):
            torch.testing.assert_close(one, other, equal_nan=True, **TOLERANCE, msg=name)


@conditionings
def test_when_dreaming_nothing_later_is_seen_nor_anything_older_than_the_window(
    conditioning: str,
) -> None:
    model = both_ways(conditioning)
    frames, at = 8, 2
    write = random_stream(model.dynamics, 1, frames, 0)
    actions = random_batch(model, 1, frames).actions

    def features() -> Tensor:
        return model.dynamics(model.initial_state(1), write, actions)[1].features

    before = features()
    write.noisy[:, at] += 1
    moved = (before - features()).abs().amax((0, 2)) > TOLERANCE["atol"]
    assert moved.tolist() == [at <= t <= at + K for t in range(frames)]
    write.noisy[:, at] -= 1
    actions[:, at] = actions[:, at + 1]
    moved = (before - features()).abs().amax((0, 2)) > TOLERANCE["atol"]
    assert moved.tolist() == [at <= t <= at + K for t in range(frames)]


def test_in_a_training_window_frames_see_each_other_both_ways() -> None:
    model = both_ways()
    stream, actions = random_stream(model.dynamics, 1, WINDOW, 0), torch.tensor([[1, 2, 3]])
    before = network(model).denoise(stream, actions).features
    stream.noisy[:, 1] += 1
    moved = (network(model).denoise(stream, actions).features - before).abs().amax((0, 2))
    assert (moved > TOLERANCE["atol"]).all()


@conditionings
@pytest.mark.parametrize("scheme", ["diffusion_forcing", "clean_state"])
def test_training_is_diffusion_forcing_on_windows_of_its_own_length(
    scheme: str, conditioning: str
) -> None:
    """Long windows are cut; what is left over at their end is not used."""
    model = both_ways(conditioning).requires_grad_(True)
    rows, frames = 2, 3 * WINDOW + 2
    data = random_batch(model, rows, frames)
    objective = ObjectiveConfig(scheme=scheme, clean_prefix=0.5)
    found = model.loss(data, objective, torch.Generator().manual_seed(0))
    whole = data.latents[:, : 3 * WINDOW].unflatten(1, (3, WINDOW)).flatten(0, 1)
    cuts = [
        data.each(lambda x: x[[row], i * WINDOW : (i + 1) * WINDOW])  # noqa: B023
        for row in range(rows)
        for i in range(3)
    ]
    assert torch.equal(torch.cat([cut.latents for cut in cuts]), whole)
    names = [name for name, part in vars(data).items() if part is not None]
    together = Batch(*(torch.cat([vars(cut)[name] for cut in cuts]) for name in names))
    forcing = ObjectiveConfig(scheme="diffusion_forcing", clean_prefix=0.5)
    expected = model.loss(together, forcing, torch.Generator().manual_seed(0))
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], **TOLERANCE, msg=name)
    data.latents[:, 3 * WINDOW :] = torch.nan
    again = model.loss(data, objective, torch.Generator().manual_seed(0))
    assert torch.equal(again["total"], found["total"])


@conditionings
def test_the_loss_is_that_of_each_window_by_itself(conditioning: str) -> None:
    """One window: levels and noise drawn here, and the sum written out."""
    model = both_ways(conditioning)
    data = random_batch(model, 1, WINDOW)
    found = model.loss(data, FORCING, torch.Generator().manual_seed(5))
    source = torch.Generator().manual_seed(5)
    level = torch.rand((1, WINDOW), generator=source)
    level = torch.where(torch.rand((1, WINDOW), generator=source) < 0.2, 0.0, level) * 0.98
    torch.rand((1, 1), generator=source)  # the prefix that no row takes
    torch.rand((1, 1), generator=source)
    noise = torch.randn(data.latents.shape, generator=source).double()
    share = level.double()[..., None, None]
    noisy = share * data.latents + (1 - share) * noise
    seen = network(model).denoise(Stream(noisy, level.double()), data.actions)
    errors = [
        ((data.latents[0, t] - seen.mean[0, t]) / seen.scale[0, t] - seen.output[0, t]).square()
        for t in range(1, WINDOW)
    ]
    expected = torch.stack(errors).mean()
    torch.testing.assert_close(found["denoising"], expected, **TOLERANCE)


def test_every_weight_learns() -> None:
    model = both_ways().requires_grad_(True)
    model.loss(random_batch(model, 3, 6), FORCING, torch.Generator().manual_seed(0))[
        "total"
    ].backward()
    for name, parameter in [*model.dynamics.named_parameters(), *model.head.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.any(), name


@conditionings
def test_the_memory_is_k_frames_and_keeps_its_size(conditioning: str) -> None:
    model = both_ways(conditioning)
    state = model.initial_state(3)
    actions = random_batch(model, 3, 6).actions
    noise = torch.randn(model.noise_shape(3), dtype=torch.float64)
    sizes = []
    for t in range(6):
        frame, _, state = model.imagine(state, actions[:, t], noise)
        assert frame.isfinite().all()
        sizes.append(state.nbytes)
    assert len(set(sizes)) == 1 and not state.grows
    assert state.layers[0]["noisy"].shape[1] == K
    back = model.initial_state(3).from_bytes(state.to_bytes())
    one, other = (model.imagine(s, actions[:, 0], noise)[0] for s in (state, back))
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_windows_shorter_than_it_sees_are_refused() -> None:
    model = both_ways()
    with pytest.raises(ConfigError, match="sees 3 frames, training windows have 2: lengthen"):
        model.loss(random_batch(model, 2, 2), FORCING, torch.Generator())
