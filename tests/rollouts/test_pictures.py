"""Frames out of whatever an environment shows: entries, channel order, grey, floats, sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from counting_env import CameraEnv, CountingEnv, FloatFrameEnv, frame_of, step_of
from gymnasium.spaces import Box, Dict, Discrete, Space, Tuple
from gymnasium.utils.env_checker import check_env

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.collect import collect
from dreamenv.rollouts.pictures import FrameObservation, Picture, as_recorded
from dreamenv.rollouts.policies import make_policy
from dreamenv.rollouts.recording import record_episode
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.summary import describe

RGB = Box(0, 255, (40, 60, 3), np.uint8)


@pytest.mark.parametrize(
    ("form", "key"), [("dict", "camera/rgb"), ("floats", ""), ("grey", "")], ids=str
)
def test_frames_are_those_of_the_environment_whatever_form_they_come_in(
    form: str, key: str
) -> None:
    env = as_recorded(CameraEnv(form, length=7), key)
    episode = record_episode(env, make_policy("uniform"), seed=3, policy_seed=0)
    expected = np.stack([frame_of(t, 3) for t in range(8)])
    if form == "grey":
        expected = expected[..., :1]
    np.testing.assert_array_equal(episode.observation, expected)


def test_a_batch_of_observations_is_read_as_each_alone() -> None:
    for form, key in (("dict", "camera/rgb"), ("floats", ""), ("grey", "")):
        vector = gymnasium.vector.SyncVectorEnv([lambda form=form: CameraEnv(form, length=9)] * 3)
        picture = Picture.of(vector.single_observation_space, key)
        observations, _ = vector.reset(seed=[1, 2, 3])
        frames = picture(observations)
        assert frames.shape == (3, *picture.space.shape)
        assert frames.dtype == np.uint8
        np.testing.assert_array_equal(frames[2], picture(CameraEnv(form).reset(seed=3)[0]))


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (RGB, (40, 60, 3)),
        (Box(0, 255, (1, 40, 60), np.uint8), (40, 60, 1)),
        (Box(0, 255, (40, 60), np.uint8), (40, 60, 1)),
        (Box(-1.0, 1.0, (3, 40, 60), np.float32), (40, 60, 3)),
        (Box(0, 255, (40, 60, 3), np.int64), (40, 60, 3)),
        (Dict(pixels=RGB, state=Box(-1, 1, (4,))), (40, 60, 3)),
        (Tuple([Discrete(3), RGB]), (40, 60, 3)),
    ],
)
def test_the_space_of_the_frames(space: Space, shape: tuple[int, ...]) -> None:
    picture = Picture.of(space)
    assert picture.space == Box(0, 255, shape, np.uint8)
    space.seed(0)
    assert picture(space.sample()) in picture.space


def test_floats_are_scaled_by_their_bounds() -> None:
    picture = Picture.of(Box(-1.0, 1.0, (8, 8), np.float32))
    frame = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    assert picture(frame)[0, 0, 0] == 0
    assert picture(frame)[-1, -1, 0] == 255
    np.testing.assert_allclose(picture(frame)[..., 0] / 255 * 2 - 1, frame, atol=1 / 255)


@pytest.mark.parametrize("value", [-0.5, 1.5, 255.0, np.nan])
def test_floats_outside_their_bounds_are_no_picture(value: float) -> None:
    picture = Picture.of(Box(0.0, 1.0, (8, 8), np.float32))
    with pytest.raises(RolloutError, match="outside the 0 to 1 that the observation space names"):
        picture(np.full((8, 8), value))


@pytest.mark.parametrize(
    ("space", "key", "message"),
    [
        (Dict(a=RGB, b=RGB), "", "several parts .*'a', 'b'.*--image-key"),
        (Dict(a=RGB), "c", "no image 'c' among the observations: there are 'a'"),
        (Dict(a=Box(-1, 1, (4,))), "", "no part of .* is one; render frames"),
        (Dict(a=Box(-1, 1, (4,))), "a", "the observation 'a' is Box.*AddRenderObservation"),
        (RGB, "a", "no image 'a' to choose from .*leave out --image-key"),
        (Box(0, 255, (4, 84, 84), np.uint8), "", "frames stacked.*remembers the others"),
        (Box(0, 255, (84, 84, 4), np.uint8), "", "frames stacked"),
        (Box(-np.inf, np.inf, (84, 84, 3), np.float32), "", "without bounds.*black"),
        (Box(0, 10, (16, 16, 3), np.int32), "", "grid of codes.*RGBImgPartialObsWrapper"),
        (Box(0, 10, (16, 16, 3), np.uint8), "", "grid of codes"),
        (Discrete(4), "", "need an image observation"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_helps(
    space: Space, key: str, message: str
) -> None:
    with pytest.raises(RolloutError, match=message):
        Picture.of(space, key)


def test_frames_as_they_are_need_no_wrapper() -> None:
    env = CountingEnv()
    assert as_recorded(env) is env


def test_the_wrapper_is_a_gymnasium_environment_of_the_size_asked_for() -> None:
    env = FrameObservation(CameraEnv(length=9), "camera/rgb", (16, 24))
    assert env.observation_space == Box(0, 255, (16, 24, 3), np.uint8)
    check_env(env, skip_render_check=True)


@pytest.mark.parametrize(
    ("form", "key", "told"),
    [
        ("dict", "camera/rgb", "the entry 'camera/rgb' of the observations"),
        ("floats", "", "(3, 8, 8) float32 from 0 to 1, kept as uint8 (8, 8, 3)"),
    ],
)
def test_a_collection_notes_what_its_frames_are(
    tmp_path: Path, form: str, key: str, told: str
) -> None:
    arguments: dict[str, Any] = {"env_kwargs": {"form": form, "length": 9}, "progress": False}
    collect("counting_env:Camera-v0", 18, "uniform", 1, tmp_path, 0, **arguments, image_key=key)
    store = RolloutStore(tmp_path)
    assert store.image_key == key
    assert [step_of(frame) for frame in store.read(0).observation] == list(range(10))
    assert told in describe(store)
    with pytest.raises(RolloutError, match="was collected with image_key"):
        collect(
            "counting_env:Camera-v0", 99, "uniform", 1, tmp_path, 0, **arguments, image_key="depth"
        )


def test_frames_declared_as_floats_and_given_as_bytes_are_refused() -> None:
    """Values up to 255 in a space up to 1: nobody can say which is meant."""
    env = as_recorded(FloatFrameEnv())
    with pytest.raises(RolloutError, match="outside the 0 to 1"):
        record_episode(env, make_policy("uniform"), seed=0, policy_seed=0)
