"""What a frame is known by: the action that led to it, or the pose it is seen from."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dreamenv.core.errors import ConfigError
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.network.conditioning import (
    ActionEmbedding,
    PoseEmbedding,
    make_conditioning,
)
from dreamenv.world_model.open_loop import imagine_under
from tests.world_model.batches import (
    ARCHITECTURES,
    BOX,
    POSES,
    conditioned_model,
    random_batch,
)
from tests.world_model.models import (
    ACTIONS,
    FACTORED,
    TOLERANCE,
    random_frames,
    random_stream,
    tiny_config,
)


def poses(slots: int, frames: int, seed: int = 0) -> Tensor:
    return random_batch(conditioned_model("pose"), slots, frames, seed).actions


def test_one_switch_decides() -> None:
    assert isinstance(make_conditioning(tiny_config()), ActionEmbedding)
    assert isinstance(make_conditioning(tiny_config(actions=BOX)), ActionEmbedding)
    pose = tiny_config(conditioning="pose", actions=POSES)
    assert isinstance(make_conditioning(pose), PoseEmbedding)
    assert WorldModelConfig.from_dict(pose.to_dict()) == pose


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditioning": "place"}, "conditioning is one of action, pose, not 'place'"),
        ({"conditioning": "pose"}, "poses are a box of numbers: give actions low and high"),
    ],
)
def test_impossible_conditionings_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config(**changes)


def test_discrete_actions_and_the_start_token_look_up_their_row() -> None:
    embedding = conditioned_model("action").dynamics.action
    actions = torch.tensor([[-1, 0, 3]])
    assert torch.equal(embedding(actions)[0], embedding.table.weight[[ACTIONS, 0, 3]])
    assert embedding.first(actions[:, 1:]).tolist() == [[-1, -1]]
    assert embedding.none(2, 3, torch.device("cpu")).tolist() == [[-1] * 3] * 2


def test_continuous_actions_are_scaled_to_their_box() -> None:
    embedding = conditioned_model("box").dynamics.action
    actions = torch.tensor([[[-1.0, 0.0], [1.0, 3.0], [0.5, 0.75]]], dtype=torch.float64)
    scaled = torch.tensor([[[-1.0, -1.0], [1.0, 1.0], [0.5, -0.5]]], dtype=torch.float64)
    torch.testing.assert_close(embedding(actions), embedding.mlp(scaled), **TOLERANCE)
    start = torch.full_like(actions, torch.nan)
    assert torch.equal(embedding(start)[0, 0], embedding.start)
    for empty in (embedding.first(actions), embedding.none(1, 3, torch.device("cpu"))):
        assert empty.shape == actions.shape and empty.isnan().all()


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_a_pose_becomes_waves_from_twice_the_box_to_an_eighth_of_it(seed: int) -> None:
    embedding = conditioned_model("pose").dynamics.action
    given_poses = poses(1, 1, seed)
    features = []
    for value, (low, high) in zip(given_poses[0, 0].tolist(), POSES.bounds, strict=True):
        place = (value - low) / (high - low) - 0.5  # −½ … ½ within the box
        angles = [2 * math.pi * place / wave for wave in (2, 1, 1 / 2, 1 / 4, 1 / 8)]
        features += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    expected = embedding.mlp(torch.tensor(features, dtype=torch.float64))
    torch.testing.assert_close(embedding(given_poses)[0, 0], expected, rtol=1e-6, atol=1e-6)


def test_no_two_places_of_the_box_look_the_same() -> None:
    """Its opposite edges least of all, which a wave as long as the box would confuse."""
    embedding = conditioned_model("pose").dynamics.action
    for dim, (low, high) in enumerate(POSES.bounds):
        line = torch.tensor([[0.5 * (a + b) for a, b in POSES.bounds]]).double().repeat(33, 1)
        line[:, dim] = torch.linspace(low, high, 33)
        angle = ((line - embedding.middle) / embedding.half_range)[..., None] * embedding.rates
        features = torch.cat([angle.sin(), angle.cos()], -1).flatten(-2)
        distance = torch.cdist(features, features)
        assert (distance + 9 * torch.eye(33)).min() > 0.5
        assert distance[0, -1] >= 2


def test_poses_have_no_start_token() -> None:
    """A frame is seen from somewhere also where memory begins."""
    embedding = conditioned_model("pose").dynamics.action
    given_poses = poses(2, 3)
    assert torch.equal(embedding.first(given_poses), given_poses)
    empty = embedding.none(2, 3, torch.device("cpu"))
    assert empty.shape == given_poses.shape and empty.isfinite().all()


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_a_pose_conditions_its_own_frame_and_those_after_it(architecture: str) -> None:
    model = conditioned_model("pose", **ARCHITECTURES[architecture])
    frames, at = 5, 2
    write, read = (random_stream(model.dynamics, 1, frames, seed) for seed in (0, 1))
    given_poses = poses(1, frames)

    def run() -> list[Tensor]:
        state = model.initial_state(1)
        _, written, seen = model.dynamics(state, write, given_poses, read)
        return [written.features, seen.features]

    before = run()
    given_poses[:, at, 0] += 0.5
    for one, other in zip(before, run(), strict=True):
        assert torch.equal(one[:, :at], other[:, :at])
        moved = (one - other).abs().amax((0, 2))[at : at + 2]
        assert (moved > TOLERANCE["atol"]).all()


def test_any_pose_can_be_asked_for_from_one_memory() -> None:
    model = conditioned_model("pose")
    frames = random_frames(model.config, 1, 4, 0)
    state, _ = model.observe(model.initial_state(1), frames, poses(1, 4))
    asked = poses(6, 1, 9)[:, 0]
    noise = torch.randn(model.noise_shape(1), dtype=torch.float64).expand(6, -1, -1, -1)
    seen, _, _ = model.imagine(state.select([0] * 6), asked, noise)
    for i in range(6):
        alone, _, _ = model.imagine(state, asked[[i]], noise[[i]])
        torch.testing.assert_close(seen[[i]], alone, **TOLERANCE)
    assert (torch.pdist(seen.flatten(1)) > 1e-6).all()


def test_imagining_under_poses_is_imagining_from_each() -> None:
    """What evaluation calls: watch, then look from the recorded poses one after the other."""
    model = conditioned_model("pose")
    frames, given_poses = random_frames(model.config, 2, 6, 0), poses(2, 6)
    found = imagine_under(model, frames, given_poses, 3, torch.Generator().manual_seed(1))
    source = torch.Generator().manual_seed(1)
    state = model.initial_state(2)
    for t in range(3):
        state, _ = model.observe(state, frames[:, [t]], given_poses[:, [t]])
    for t in range(3, 6):
        noise = torch.randn(model.noise_shape(2), generator=source).double()
        frame, _, state = model.imagine(state, given_poses[:, t], noise)
        torch.testing.assert_close(found.frames[:, t - 3], frame, **TOLERANCE)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_pose_that_is_no_number_is_refused(bad: float) -> None:
    model = conditioned_model("pose")
    given_poses = poses(1, 2)
    given_poses[0, 0] = bad  # what begins a window of continuous actions
    with pytest.raises(
        ConfigError, match="a pose holds NaN or infinity; every frame has one, the first too"
    ):
        model.observe(model.initial_state(1), random_frames(model.config, 1, 2, 0), given_poses)


def test_every_factor_of_an_action_has_a_vector_of_its_own() -> None:
    embed = ActionEmbedding(FACTORED, 6)
    rows = torch.tensor([[2.0, 7.0, 0.0, 1.0]])
    seen = [embed(rows)]
    for column, value in ((0, 1.0), (1, 8.0), (2, 1.0), (3, 0.0)):
        other = rows.clone()
        other[0, column] = value
        seen.append(embed(other))
    for i, one in enumerate(seen):
        assert one.shape == (1, 6)
        assert not any(torch.allclose(one, other) for other in seen[:i])


def test_no_action_has_no_factors() -> None:
    embed = ActionEmbedding(FACTORED, 6)
    nothing = embed.none(2, 1, torch.device("cpu"))
    torch.testing.assert_close(embed(nothing), embed.start.expand(2, 1, 6))
