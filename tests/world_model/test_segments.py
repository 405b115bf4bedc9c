"""Long windows in segments: the memory is handed on, gradients are not, and some rows forget."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dreamenv.world_model.diffusion import sample_levels
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.dynamics import Stream
from dreamenv.world_model.objective import Batch, ObjectiveConfig, context_levels, forcing_levels
from dreamenv.world_model.state import State
from tests.world_model.batches import (
    ARCHITECTURES,
    REWARDS,
    conditioned_model,
    copy_of,
    random_batch,
)
from tests.world_model.models import TOLERANCE

FORCING = ObjectiveConfig(scheme="diffusion_forcing")
CLEAN = ObjectiveConfig(scheme="clean_state")
SELF = replace(CLEAN, self_forcing=0.6)
OBJECTIVES = {"forcing": FORCING, "clean": CLEAN, "self": SELF}
NAMES = ("denoising", "reward", "continuation", "total")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy_view(latents: Tensor, level: Tensor, source: torch.Generator) -> Stream:
    """Every frame at its level, with noise drawn as the objective draws it."""
    noise = torch.randn(latents.shape, generator=source).double()
    level = level.double()
    mixed = level[..., None, None] * latents + (1 - level[..., None, None]) * noise
    return Stream(mixed, level)


def one(stream: Stream, row: int, t: int) -> Stream:
    """Frame t of a row, as a batch of one row and one frame."""
    return Stream(*(x[row : row + 1, t : t + 1] for x in stream[:2]))


def slow_segments(
    model: WorldModel,
    data: Batch,
    objective: ObjectiveConfig,
    source: torch.Generator,
    segments: int = 1,
    reset: float = 0.0,
    detach: bool = True,
) -> Iterator[dict[str, Tensor]]:
    """`segment_losses`, row after row and frame after frame, each under the memory carried on."""
    rows, frames = data.rewards.shape
    length = frames // segments
    memories = [model.initial_state(1) for _ in range(rows)]
    for begin in range(0, frames, length):
        latents = data.latents[:, begin : begin + length]
        actions = data.actions[:, begin : begin + length].clone()
        if begin:
            forgets = torch.rand(rows, generator=source) < reset
            for row in range(rows):
                if detach:
                    memories[row] = memories[row].detach()
                if forgets[row]:
                    memories[row] = model.initial_state(1)
                    if model.config.conditioning == "action":
                        actions[row, 0] = -1 if model.config.actions.discrete else torch.nan
        write, read, scored = slow_views(model, memories, latents, actions, objective, source)
        sums = {name: [0.0, 0.0] for name in NAMES[:3]}  # value · weight, weight
        for row in range(rows):
            for t in range(length):
                follows = int(memories[row].frames) > 0
                action = actions[row : row + 1, t : t + 1]
                seen = None
                if read is not None:
                    _, seen, _ = model.dynamics(
                        memories[row], one(read, row, t), action, keep=False
                    )
                memories[row], written, _ = model.dynamics(
                    memories[row], one(write, row, t), action
                )
                seen = seen or written
                if not follows:
                    continue
                if scored[row, t]:
                    target = (latents[row, t] - seen.mean[0, 0]) / seen.scale[0, 0].clamp(min=1e-3)
                    sums["denoising"][0] += (seen.output[0, 0] - target).square().mean()
                    sums["denoising"][1] += 1
                reward = float(data.rewards[row, begin + t])
                if float(write.level[row, t]) > 0.75 and not math.isnan(reward):
                    outcome = model.head(written.features[0, 0])
                    chance = outcome.reward_probabilities[REWARDS.index(reward)]
                    sums["reward"][0] -= chance.log()
                    sums["reward"][1] += 1
                    ends = bool(data.terminated[row, begin + t])
                    stays = 1 - outcome.continuation if ends else outcome.continuation
                    sums["continuation"][0] -= stays.log()
                    sums["continuation"][1] += 1
        found = {
            name: torch.as_tensor(total, dtype=torch.float64) / max(weight, 1.0)
            for name, (total, weight) in sums.items()
        }
        found["total"] = found["denoising"] + objective.reward_weight * found["reward"]
        found["total"] = found["total"] + objective.continuation_weight * found["continuation"]
        yield found


def slow_views(
    model: WorldModel,
    memories: list[State],
    latents: Tensor,
    actions: Tensor,
    objective: ObjectiveConfig,
    source: torch.Generator,
) -> tuple[Stream, Stream | None, Tensor]:
    """The written frames of a segment, the views that only read, and which frames are scored."""
    rows, length = latents.shape[:2]
    if objective.scheme == "diffusion_forcing":
        level, scored = forcing_levels(
            (rows, length), objective.clean_prefix, source, objective.pure_noise
        )
        return noisy_view(latents, level, source), None, scored
    level = context_levels((rows, length), objective.context_noise, source)
    write = noisy_view(latents, level, source)
    if objective.self_forcing:
        count = math.ceil(objective.self_forcing * rows)
        starts = 1 + (torch.rand((count, 1), generator=source) * (length - 1)).long()
        for _ in range(objective.self_forcing_rounds):
            unseen = noisy_view(latents[:count], torch.zeros(count, length), source)
            before = Stream(write.noisy.clone(), write.level.clone())
            for row in range(count):
                state = memories[row]
                for t in range(length):
                    action = actions[row : row + 1, t : t + 1]
                    with torch.no_grad():
                        view = one(unseen, row, t)
                        _, guess, _ = model.dynamics(state, view, action, keep=False)
                        state, _, _ = model.dynamics(state, one(before, row, t), action)
                    if t >= int(starts[row]):
                        write.noisy[row, t] = guess.latents[0, 0]
                        write.level[row, t] = 1.0
    level = 0.98 * sample_levels((rows, length), source, objective.pure_noise)
    return write, noisy_view(latents, level, source), torch.ones(rows, length)


def gradients(model: WorldModel, loss: Tensor) -> dict[str, Tensor]:
    """Of every weight that the loss depends on; the weights' own are left empty."""
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("conditioning", ["action", "box", "pose"])
@pytest.mark.parametrize("objective", OBJECTIVES)
@settings(max_examples=6)
@given(
    architecture=st.sampled_from(sorted(ARCHITECTURES)),
    rows=st.integers(1, 3),
    segments=st.integers(2, 3),
    length=st.integers(2, 3),
    reset=st.sampled_from([0.3, 0.0]),
    seed=st.integers(0, 2**31),
)
def test_losses_and_gradients_equal_those_of_one_frame_at_a_time(
    conditioning: str, objective: str, architecture: str, rows: int, segments: int, length: int,
    reset: float, seed: int,
) -> None:  # fmt: skip
    model = conditioned_model(conditioning, seed, **ARCHITECTURES[architecture])
    model.requires_grad_(True)
    data = random_batch(model, rows, segments * length, seed)
    arguments = (data, OBJECTIVES[objective])
    fast = model.segment_losses(*arguments, generator(seed), segments, reset)
    slow = slow_segments(model, *arguments, generator(seed), segments, reset)
    count = 0
    for found, expected in zip(fast, slow, strict=True):
        assert set(found) == set(NAMES)
        for name in NAMES:
            torch.testing.assert_close(found[name], expected[name], **TOLERANCE, msg=name)
        if expected["total"].requires_grad:  # else no frame of this segment is scored
            got, wanted = (gradients(model, losses["total"]) for losses in (found, expected))
            for name, value in wanted.items():
                torch.testing.assert_close(got[name], value, **TOLERANCE, msg=name)
            assert all(not got[name].any() for name in got.keys() - wanted.keys())
        count += 1
    assert count == segments


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_stop_at_the_border_where_they_would_go_on(objective: str) -> None:
    model = conditioned_model("action").requires_grad_(True)
    arguments = (random_batch(model, 2, 6), OBJECTIVES[objective])
    *_, found = model.segment_losses(*arguments, generator(0), 2)
    *_, stopped = slow_segments(model, *arguments, generator(0), 2)
    *_, going_on = slow_segments(model, *arguments, generator(0), 2, detach=False)
    torch.testing.assert_close(found["total"], going_on["total"], **TOLERANCE)
    wanted, longer = gradients(model, stopped["total"]), gradients(model, going_on["total"])
    for name, value in gradients(model, found["total"]).items():
        torch.testing.assert_close(value, wanted[name], **TOLERANCE)
    assert any(not torch.allclose(longer[name], wanted[name]) for name in wanted)


def test_no_graph_of_an_earlier_segment_is_alive_when_the_next_begins() -> None:
    """So that windows may be longer than memory would allow."""
    model = conditioned_model("action", attention="full").requires_grad_(True)
    saved: list[weakref.ref] = []
    alive_at_entry: list[int] = []
    grads_at_entry: list[bool] = []
    forward = model.dynamics.forward

    class Saved:
        """What autograd keeps for going backwards, where it can be counted."""

        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor.detach()  # with its graph it would keep itself alive
            saved.append(weakref.ref(self))

    def counted(state: State, *rest: Any, **named: Any) -> Any:
        alive_at_entry.append(sum(reference() is not None for reference in saved))
        grads_at_entry.append(any(x.requires_grad for _, x in state.named_tensors()))
        return forward(state, *rest, **named)

    model.dynamics.forward = counted  # type: ignore[method-assign]
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda kept: kept.tensor):
        for losses in model.segment_losses(random_batch(model, 2, 9), CLEAN, generator(0), 3):
            losses["total"].backward()
    assert len(saved) > 100
    assert alive_at_entry == [0, 0, 0] and grads_at_entry == [False] * 3


@pytest.mark.parametrize("conditioning", ["action", "box", "pose"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_segment_is_the_plain_loss(objective: str, conditioning: str) -> None:
    model = conditioned_model(conditioning)
    arguments = (random_batch(model, 3, 5), OBJECTIVES[objective])
    (found,) = model.segment_losses(*arguments, generator(0))
    plain = model.loss(*arguments, generator(0))
    assert all(torch.equal(found[name], plain[name]) for name in NAMES)


def stretch(data: Batch, begin: int, end: int, model: WorldModel) -> Batch:
    """Frames `begin` … `end` − 1 as a window that begins there."""
    part = data.each(lambda x: x[:, begin:end].clone())
    if model.config.conditioning == "action":
        part.actions[:, 0] = -1 if model.config.actions.discrete else torch.nan
    return part


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("conditioning", ["action", "box", "pose"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_when_every_row_forgets_segments_are_windows_of_their_own(
    objective: str, conditioning: str, architecture: str
) -> None:
    model = conditioned_model(conditioning, **ARCHITECTURES[architecture])
    rows, segments, length = 3, 3, 3
    data = random_batch(model, rows, segments * length)
    source = generator(0)
    found = model.segment_losses(data, OBJECTIVES[objective], generator(0), segments, reset=1.0)
    for number, losses in enumerate(found):
        if number:
            torch.rand(rows, generator=source)  # who forgets
        own = stretch(data, number * length, (number + 1) * length, model)
        expected = model.loss(own, OBJECTIVES[objective], source)
        for name in NAMES:
            torch.testing.assert_close(losses[name], expected[name], **TOLERANCE, msg=name)


@pytest.mark.parametrize("attention", ["window", "full", "none"])
@pytest.mark.parametrize("objective", ["forcing", "clean"])
def test_rows_forget_one_by_one(
    objective: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row goes on as if none forgot, or begins as if all did; the share is as configured."""
    rows, share = 60, 0.3
    model = conditioned_model("action", attention=attention)
    data = random_batch(model, rows, 6)
    scored: list[Tensor] = []

    def recorded(value: Tensor, weight: Tensor) -> Tensor:
        scored.append((value * weight).detach())
        return (value * weight).sum()

    monkeypatch.setattr("dreamenv.world_model.objective._mean", recorded)

    def second_segment(reset: float) -> Tensor:
        """All losses of every frame of the second half, (rows, 9)."""
        scored.clear()
        list(model.segment_losses(data, OBJECTIVES[objective], generator(0), 2, reset))
        return torch.cat(scored[3:], 1)

    going_on, forgotten, mixed = (second_segment(reset) for reset in (0.0, 1.0, share))
    differs = (going_on - forgotten).abs().amax(1) > 1e-6
    forgets = (mixed - going_on).abs().amax(1) > 1e-6
    assert differs.sum() > 0.9 * rows and not (forgets & ~differs).any()
    assert abs(float(forgets.double().mean()) - share) < 0.15
    expected = torch.where(forgets[:, None], forgotten, going_on)
    torch.testing.assert_close(mixed, expected, **TOLERANCE)


def test_the_callers_windows_stay_as_they_were() -> None:
    model = conditioned_model("action")
    data = random_batch(model, 4, 6)
    before = copy_of(data)
    for losses in model.segment_losses(data, CLEAN, generator(0), 3, reset=1.0):
        assert losses["total"].isfinite()
    assert torch.equal(data.actions, before.actions) and torch.equal(data.latents, before.latents)


@pytest.mark.parametrize("conditioning", ["action", "pose"])
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_segments_in_half_precision(architecture: str, conditioning: str) -> None:
    """As in training: states of both precisions are merged and handed on."""
    model = conditioned_model(conditioning, **ARCHITECTURES[architecture]).float()
    data = random_batch(model, 4, 8)
    data.latents = data.latents.float()
    if conditioning == "pose":
        data.actions = data.actions.float()
    plain = list(model.segment_losses(data, CLEAN, generator(0), 4, 0.5))
    model.compute_dtype = torch.bfloat16
    half = list(model.segment_losses(data, CLEAN, generator(0), 4, 0.5))
    for one_loss, other in zip(plain, half, strict=True):
        torch.testing.assert_close(one_loss["total"], other["total"], rtol=0.1, atol=0.05)
