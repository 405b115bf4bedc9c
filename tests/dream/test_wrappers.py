"""Dreams under Gymnasium's wrappers, and beside Gymnasium's own vector environment."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

import dreamenv  # noqa: F401  (registers the ids)
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.vector_env import DreamVectorEnv
from tests.dream.counting_dream import ACTIONS, END, install, shown

MODES = pytest.mark.parametrize("mode", list(AutoresetMode))


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """All dreams of this test count."""
    install(monkeypatch)


@pytest.fixture(autouse=True)
def strict() -> Iterator[None]:
    """What Gymnasium only warns of fails here, but for the two things that are meant."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*A Box observation space m..imum value is")
        warnings.filterwarnings("ignore", message=".*autoreset mode is same-step")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


@pytest.mark.parametrize("observation", ["frame", "memory"])
@pytest.mark.parametrize("reward", ["likeliest", "expected", "sampled"])
def test_gymnasium_checker_in_every_mode(
    debug_checkpoint: Path, observation: str, reward: str
) -> None:
    arguments: dict[str, Any] = {"checkpoint": debug_checkpoint, "denoising_steps": 1, "horizon": 4}
    env = gymnasium.make("DreamEnv-v0", observation=observation, reward=reward, **arguments)
    check_env(env.unwrapped, skip_render_check=True)


def test_gymnasium_checker_on_the_bundled_dream() -> None:
    """With windows and pictures."""
    check_env(gymnasium.make("DreamEnv-MemoryMaze-v0", horizon=4).unwrapped)


@MODES
@pytest.mark.parametrize("observation", ["frame", "memory"])
def test_as_gymnasium_makes_a_vector_of_single_dreams(
    counting: None, mode: AutoresetMode, observation: str
) -> None:
    """Observations, rewards, flags and infos of every step, masked resets included."""
    arguments: dict[str, Any] = {"horizon": 4, "observation": observation, "reward": "sampled"}
    ours = DreamVectorEnv(3, autoreset_mode=mode, **arguments)
    theirs = SyncVectorEnv([lambda: DreamEnv(**arguments)] * 3, autoreset_mode=mode)
    for name in ("observation_space", "action_space", "single_observation_space", "num_envs"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.metadata == theirs.metadata
    alike(ours.reset(seed=[4, 9, 2]), theirs.reset(seed=[4, 9, 2]))
    for actions in np.random.default_rng(0).integers(0, ACTIONS, (40, 3)):
        step = ours.step(actions)
        alike(step, theirs.step(actions))
        ended = step[2] | step[3]
        if mode == AutoresetMode.DISABLED and ended.any():
            options = [{"reset_mask": ended.copy()} for _ in range(2)]  # Gymnasium takes it out
            alike(ours.reset(options=options[0]), theirs.reset(options=options[1]))
    alike(ours.reset(seed=1), theirs.reset(seed=1))
    alike(ours.reset(), theirs.reset())


def alike(ours: tuple, theirs: tuple) -> None:
    assert data_equivalence(ours[:-1], theirs[:-1], exact=True)
    same_info(ours[-1], theirs[-1])


def same_info(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Equal keys and masks, and equal values where the masks are True."""
    assert ours.keys() == theirs.keys()
    for name in [name for name in ours if not name.startswith("_")]:
        mask = ours[f"_{name}"]
        assert np.array_equal(mask, theirs[f"_{name}"]), name
        if name == "final_info":
            same_info(ours[name], theirs[name])
        else:
            assert data_equivalence(list(ours[name][mask]), list(theirs[name][mask])), name


def test_environments_are_told_by_their_direct_bases() -> None:
    """As skrl tells which wrapper an environment needs."""
    assert gymnasium.Env in DreamEnv.__bases__ and VectorEnv in DreamVectorEnv.__bases__


def test_time_limit(counting: None) -> None:
    env = wrappers.TimeLimit(DreamEnv(horizon=9), 3)
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step(0)[3] for _ in range(3)] == [False, False, True]


def test_frame_stack(counting: None) -> None:
    env = wrappers.FrameStackObservation(DreamEnv(horizon=9), 3)
    env.reset(seed=0)
    for _ in range(4):
        stack, *_ = env.step(0)
    assert stack in env.observation_space
    assert [shown(frame)[0] for frame in stack] == [2, 3, 4]
    both = wrappers.FrameStackObservation(DreamEnv(observation="memory"), 2)
    both.reset(seed=0)
    stacks, *_ = both.step(0)
    assert stacks in both.observation_space and stacks["memory"][:, 0].tolist() == [0, 1]


def test_frame_stack_of_a_vector(counting: None) -> None:
    """A single environment's wrappers go with Gymnasium's own vector environment."""
    stack = [lambda env: wrappers.FrameStackObservation(env, 2)]
    env = gymnasium.make_vec("DreamEnv-v0", 2, "sync", wrappers=stack, horizon=9)
    env.reset(seed=0)
    env.step(np.zeros(2, np.int64))
    stacks, *_ = env.step(np.zeros(2, np.int64))
    assert [[shown(frame)[0] for frame in stack] for stack in stacks] == [[1, 2]] * 2


def test_episode_statistics(counting: None) -> None:
    env = wrappers.RecordEpisodeStatistics(DreamEnv(horizon=3))
    env.reset(seed=0)
    steps = [env.step(action) for action in (2, 1, 2)]
    assert [("episode" in step[4]) for step in steps] == [False, False, True]
    assert (steps[-1][4]["episode"]["r"], steps[-1][4]["episode"]["l"]) == (5, 3)


@MODES
def test_episode_statistics_of_a_vector(counting: None, mode: AutoresetMode) -> None:
    """Two episodes in each slot; slot 1 terminates earlier."""
    dreams = DreamVectorEnv(2, horizon=3, autoreset_mode=mode)
    env = wrappers.vector.RecordEpisodeStatistics(dreams)
    env.reset(seed=0)
    told: list[list[tuple[float, int]]] = [[], []]
    for actions in [(1, 1), (1, END), (1, 1), (0, 0), (2, 2), (2, END), (2, 2), (2, 2)]:
        _, _, terminated, truncated, info = env.step(np.array(actions))
        for i in np.flatnonzero(info.get("_episode", np.zeros(2, bool))):
            told[i].append((info["episode"]["r"][i], info["episode"]["l"][i]))
        ended = terminated | truncated
        if mode == AutoresetMode.DISABLED and ended.any():
            env.reset(options={"reset_mask": ended})
    expected: dict[AutoresetMode, list[list[tuple[float, int]]]] = {
        AutoresetMode.SAME_STEP: [[(3, 3), (4, 3)], [(1 + END, 2), (3, 3), (2 + END - 2, 1)]],
        AutoresetMode.NEXT_STEP: [[(3, 3), (6, 3)], [(1 + END, 2), (2 + END, 3)]],
    }
    expected[AutoresetMode.DISABLED] = expected[AutoresetMode.SAME_STEP]
    assert told == expected[mode]


def test_wrappers_of_vectors(counting: None) -> None:
    """Gymnasium's wrappers of batched observations refuse same-step autoreset, whoever does it."""

    def make(**kwargs: Any) -> DreamVectorEnv:
        return DreamVectorEnv(2, horizon=2, autoreset_mode="NextStep", **kwargs)

    memory = wrappers.vector.FilterObservation(make(observation="memory"), ["memory"])
    for observations in (memory.reset(seed=0)[0], memory.step(np.zeros(2, np.int64))[0]):
        assert observations.keys() == {"memory"} and observations in memory.observation_space
    grey = wrappers.vector.GrayscaleObservation(make())
    observations, _ = grey.reset(seed=0)
    assert observations.shape == (2, 16, 16) and observations in grey.observation_space
    listed = wrappers.vector.DictInfoToList(DreamVectorEnv(2))
    _, infos = listed.reset(seed=0)
    assert [sorted(info) for info in infos] == [["spawn", "trust", "uncertainty"]] * 2
    halved = wrappers.vector.TransformReward(DreamVectorEnv(2), lambda reward: reward / 2)
    halved.reset(seed=0)
    assert halved.step(np.array([1, 2]))[1].tolist() == [0.5, 1.0]


def test_videos(counting: None, tmp_path: Path) -> None:
    env = wrappers.RecordVideo(
        DreamEnv(horizon=3, render_mode="rgb_array"), str(tmp_path / "one"), lambda episode: True
    )
    dreams = DreamVectorEnv(3, horizon=3, render_mode="rgb_array")
    vector = wrappers.vector.RecordVideo(
        dreams, str(tmp_path / "three"), step_trigger=lambda step: step == 0, video_length=4
    )
    for recorded in (env, vector):
        recorded.reset(seed=0)
        actions = np.zeros(3, np.int64) if recorded is vector else 0
        for _ in range(3):
            recorded.step(actions)
        if recorded is vector:
            recorded.step(actions)
        recorded.close()
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["rl-video-episode-0.mp4"]
    for folder in ("one", "three"):
        (video,) = (tmp_path / folder).glob("*.mp4")
        assert video.stat().st_size > 500
