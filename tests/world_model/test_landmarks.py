"""The landmark memory: views by pose, followed alike however frames come in."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dreamenv.core.errors import CheckpointError, ConfigError
from dreamenv.world_model.config import DynamicsConfig, WorldModelConfig
from dreamenv.world_model.landmark_config import LandmarkConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.landmarks import Sight, nearest, place_for
from dreamenv.world_model.network.planar import compose, distance, relative
from dreamenv.world_model.objective import ObjectiveConfig
from tests.world_model.batches import random_batch
from tests.world_model.models import (
    ACTIONS,
    TINY_DYNAMICS,
    TOLERANCE,
    random_actions,
    random_frames,
    tiny_config,
    tiny_model,
)

MEMORY = LandmarkConfig(count=5, nearest=2, spacing=0.4, layers=(0, 1), tracker_width=6)
SLOTS, FRAMES = 2, 17


def model_with_landmarks(seed: int = 0, **dynamics: object) -> WorldModel:
    """A tiny model with a memory so small that it overflows within `FRAMES`."""
    model = tiny_model(tiny_config({"landmarks": MEMORY} | dynamics), seed)
    assert model.dynamics.landmarks is not None
    model.dynamics.landmarks.tracker.scale.copy_(torch.tensor([0.6, 0.4, 0.9]))
    for network in (model.dynamics.landmarks.tracker.expected,
                    model.dynamics.landmarks.tracker.measured):  # fmt: skip
        network[-1].bias.normal_()  # so that nobody stands still
    return model


def watched(model: WorldModel, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Frames and the actions that led to them, of which the first begins."""
    actions = random_actions(SLOTS, FRAMES, seed).clamp(min=0)
    actions[:, 0] = -1
    return random_frames(model.config, SLOTS, FRAMES, seed), actions


def assert_same_memory(one, other) -> None:  # type: ignore[no-untyped-def]
    for (name, x), (_, y) in zip(one.named_tensors(), other.named_tensors(), strict=True):
        torch.testing.assert_close(x, y, **TOLERANCE, msg=name)


poses = st.tuples(*[st.floats(-9, 9)] * 2, st.floats(-7, 7)).map(
    lambda x: torch.tensor(x, dtype=torch.float64)
)


@settings(max_examples=30, deadline=None)
@given(poses, poses)
def test_a_relative_pose_leads_back_to_the_pose(pose: Tensor, to: Tensor) -> None:
    back = compose(to, relative(pose, to))
    torch.testing.assert_close(back[:2], pose[:2], rtol=0, atol=1e-9)
    assert abs(math.remainder(float(back[2] - pose[2]), 2 * math.pi)) < 1e-9
    turned = pose + torch.tensor([0, 0, 2 * math.pi], dtype=torch.float64)
    assert float(distance(pose, turned, 1.5)) < 1e-6


def test_frames_are_followed_alike_at_once_step_by_step_and_in_pieces() -> None:
    model = model_with_landmarks()
    frames, actions = watched(model)
    whole, outcome = model.observe(model.initial_state(SLOTS), frames, actions)
    assert (whole.landmarks["age"] > 0).all(), "the memory is meant to overflow"
    assert whole.landmarks["pose"].abs().amax() > 1
    for pieces, reuse in (([1] * FRAMES, True), ([1] * FRAMES, False), ([6, 11], False)):
        state, told, start = model.initial_state(SLOTS), [], 0
        for count in pieces:
            part = slice(start, start + count)
            state, some = model.observe(state, frames[:, part], actions[:, part], reuse=reuse)
            told.append(some.reward_probabilities)
            start += count
        assert_same_memory(state, whole)
        torch.testing.assert_close(torch.cat(told, 1), outcome.reward_probabilities, **TOLERANCE)
        assert state.nbytes == model.initial_state(SLOTS).nbytes


def test_slots_do_not_touch_each_other_and_imagining_in_place_is_the_same() -> None:
    model = model_with_landmarks()
    frames, actions = watched(model)
    state, _ = model.observe(model.initial_state(SLOTS), frames, actions)
    for t in range(8):
        generator = torch.Generator().manual_seed(t)
        noise = torch.randn(model.noise_shape(SLOTS), generator=generator, dtype=torch.float64)
        action = torch.tensor([t % ACTIONS, (3 * t + 1) % ACTIONS])
        shown, _, after = model.imagine(state, action, noise, 2)
        quick, _, same = model.imagine(state.clone(), action, noise, 2, reuse=True)
        torch.testing.assert_close(quick, shown, **TOLERANCE)
        assert_same_memory(same, after)
        alone, _, one = model.imagine(state.select([1]), action[1:], noise[1:], 2)
        torch.testing.assert_close(alone, shown[1:], **TOLERANCE)
        assert_same_memory(one, after.select([1]))
        state = after


def test_a_dream_draws_from_landmarks_and_not_from_recent_or_missing_ones() -> None:
    model = model_with_landmarks()
    frames, actions = watched(model)
    state, _ = model.observe(model.initial_state(SLOTS), frames, actions)
    noise = torch.zeros(model.noise_shape(SLOTS), dtype=torch.float64)
    action = torch.ones(SLOTS, dtype=torch.int64)

    def shown(**places: Tensor) -> Tensor:
        changed = replace(state, landmarks=state.landmarks | places)
        return model.imagine(changed, action, noise, 1)[0]

    places = state.landmarks
    assert not torch.equal(shown(views=places["views"] + 1), shown())
    none = shown(age=0 * places["age"])
    assert torch.equal(shown(age=0 * places["age"], views=places["views"] + 1), none)
    recent = shown(age=places["age"].clamp(max=TINY_DYNAMICS.attention_window))
    torch.testing.assert_close(recent, none, **TOLERANCE)


def test_the_pose_is_counted_from_where_memory_began() -> None:
    """Only relative poses matter: another origin leaves every frame as it is."""
    model = model_with_landmarks()
    frames, actions = watched(model)
    states = []
    for origin in ([0.0, 0.0, 0.0], [3.0, -2.0, 1.3]):
        state = model.initial_state(SLOTS)
        state.landmarks["pose"] = torch.tensor([origin] * SLOTS, dtype=torch.float64)
        states.append(model.observe(state, frames, actions)[0])
    noise = torch.randn(model.noise_shape(SLOTS), dtype=torch.float64)
    one, other = (model.imagine(x, torch.tensor([1, 2]), noise, 2)[0] for x in states)
    torch.testing.assert_close(one, other, **TOLERANCE)


def test_a_view_becomes_a_landmark_where_none_is_near_and_the_most_crowded_gives_way() -> None:
    config = LandmarkConfig(count=3, nearest=2, spacing=1.0, turn=1.0)
    held = torch.tensor([[[0.0, 0, 0], [5, 0, 0], [6.5, 0, 0]]])
    age = torch.tensor([[9.0, 5.0, 2.0]])
    near = place_for(torch.tensor([[0.5, 0.0, 0.0]]), held, age, config)
    assert not near[1]
    place, new = place_for(torch.tensor([[0.5, 0.0, 2.0]]), held, age, config)
    assert bool(new) and int(place) in (1, 2)
    empty = place_for(torch.tensor([[9.0, 9.0, 0.0]]), held, age * torch.tensor([1, 0, 1]), config)
    assert int(empty[0]) == 1
    index, there = nearest(torch.tensor([[6.0, 0.0, 0.0]]), held, age, config, recent=2)
    assert index[0, 0] == 1 and index[0, 1] == 0 and there.all()
    _, there = nearest(torch.tensor([[6.0, 0.0, 0.0]]), held, age, config, recent=5)
    assert there.tolist() == [[True, False]]


def test_a_model_without_landmarks_is_what_it_was_with_new_ones() -> None:
    """Looks begin with outputs of zero: what a network has learnt stays."""
    before = tiny_model()
    after = WorldModel(tiny_config({"landmarks": MEMORY})).double().eval()
    after.load_state_dict(after.state_dict() | before.state_dict())
    frames, actions = watched(before)
    outcomes = [m.observe(m.initial_state(SLOTS), frames, actions)[1] for m in (before, after)]
    torch.testing.assert_close(
        outcomes[0].reward_probabilities, outcomes[1].reward_probabilities, **TOLERANCE
    )


def test_states_are_saved_checked_and_merged_with_their_landmarks() -> None:
    model = model_with_landmarks()
    frames, actions = watched(model)
    state, _ = model.observe(model.initial_state(SLOTS), frames, actions)
    assert_same_memory(state.from_bytes(state.to_bytes()), state)
    mixed = state.merge(torch.tensor([True, False]), model.initial_state(SLOTS))
    assert not mixed.landmarks["age"][0].any()
    assert torch.equal(mixed.landmarks["views"][1], state.landmarks["views"][1])
    forged = state.clone()
    forged.landmarks["age"][0, 0] = -1.0
    assert "landmarks are of an age" in state.misfit(forged)
    plain = tiny_model()
    with pytest.raises(CheckpointError, match="another architecture"):
        plain.initial_state(SLOTS).from_bytes(state.to_bytes())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nearest": 9}, "looks at 1 to landmarks.count"),
        ({"layers": (0, 2)}, "names layer 2, but the dynamics have 2"),
        ({"layers": (1, 0)}, "in ascending order"),
        ({"layers": ()}, "in ascending order"),
        ({"spacing": -1.0}, "must not be negative"),
        ({"spacing": math.nan}, "must not be negative"),
        ({"turn": 0.0}, "turn above 0"),
        ({"count": 10**6}, "landmarks.count is from 0 to"),
        ({"tracker_width": 0}, "tracker_width"),
    ],
)
def test_memories_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(TINY_DYNAMICS, landmarks=replace(MEMORY, **changes))


def test_landmarks_are_refused_where_they_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="only training measures it"):
        WorldModel(tiny_config({"landmarks": replace(MEMORY, spacing=0.0)}))
    with pytest.raises(ConfigError, match="bidirectional attention has no landmarks"):
        DynamicsConfig(scan="none", attention="bidirectional", landmarks=replace(MEMORY))
    with pytest.raises(ConfigError, match="conditioning pose tells poses already"):
        WorldModelConfig(conditioning="pose", dynamics=DynamicsConfig(landmarks=MEMORY))


def test_a_memory_survives_the_round_trip_away_from_its_defaults() -> None:
    for field in dataclasses.fields(MEMORY):
        assert getattr(replace(MEMORY, turn=2.0), field.name) != field.default
    config = tiny_config({"landmarks": replace(MEMORY, turn=2.0)})
    assert WorldModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    plain = config.to_dict()
    del plain["dynamics"]["landmarks"]  # as of earlier versions
    assert WorldModelConfig.from_dict(plain) == tiny_config()


def test_half_lives_of_new_scans_are_of_frames_whatever_the_block() -> None:
    lives = (2.0, 200.0)
    model = WorldModel(tiny_config({"ssm_half_life": lives, "ssm_step_range": (1e-2, 1e-1)}))
    for layer, tokens in zip(model.dynamics.layers, (4, 2), strict=True):
        scan = layer.scan
        step = torch.nn.functional.softplus(scan.dt_bias.detach())
        decay = torch.exp(-scan.log_a.detach().exp() * step * tokens)  # of a frame
        halves = math.log(2) / -decay.log()
        assert float(halves.amin()) == pytest.approx(lives[0], rel=1e-3)
        assert float(halves.amax()) == pytest.approx(lives[1], rel=1e-3)
        ratios = halves[1:] / halves[:-1]
        torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios), rtol=1e-3, atol=0)
    with pytest.raises(ConfigError, match="ssm_half_life"):
        replace(TINY_DYNAMICS, ssm_half_life=(5.0, 1.0))


def test_training_with_landmarks_reaches_every_part_of_the_memory() -> None:
    """Frames drawn from landmarks alone, motions, and looks all have gradients; nothing is NaN."""
    model = model_with_landmarks().requires_grad_(True)
    data = random_batch(model, 3, FRAMES)
    k, generator = MEMORY.nearest, torch.Generator().manual_seed(0)
    shape = (3, FRAMES, k)
    views = torch.randn(*shape, *data.latents.shape[2:], generator=generator).double()
    where = torch.randn(*shape, 3, generator=generator).double()
    held = torch.rand(shape, generator=generator) < 0.7
    motion = torch.randn(3, FRAMES, 3, generator=generator).double()
    known = torch.arange(FRAMES).expand(3, -1) > 0
    data = replace(data, sight=Sight(views, where, held, motion, known), motions=motion)
    for scheme in ("clean_state", "diffusion_forcing"):
        objective = ObjectiveConfig(scheme=scheme, self_forcing=0.5, landmark_dropout=0.0)
        model.zero_grad()
        losses = model.loss(data, objective, torch.Generator().manual_seed(0))
        assert losses.keys() >= {"landmarks", "motion"}
        losses["total"].backward()
        assert model.dynamics.landmarks is not None
        for name, parameter in model.dynamics.landmarks.named_parameters():
            assert parameter.grad is not None and bool(parameter.grad.any()), name
            assert bool(parameter.grad.isfinite().all()), name
    # Without a landmark held nothing is drawn from landmarks, and nothing breaks.
    nothing = replace(data, sight=data.sight._replace(held=held & False))
    assert float(model.loss(nothing, objective, torch.Generator())["landmarks"]) == 0
