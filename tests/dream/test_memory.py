"""Agents in the real environment are given the memory that they would have in the dream."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from counting_env import CountingEnv
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from dreamenv.core.errors import ConfigError
from dreamenv.dream import episode_memory
from dreamenv.dream.episode_memory import EpisodeMemory
from dreamenv.dream.loading import load_for_dreaming
from dreamenv.dream.memory import WithMemory, WithMemoryVector
from dreamenv.dream.sb3 import VecWithMemory
from dreamenv.dream.spawns import load_spawns
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.real.replayed import SpawnedEnv
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.preprocessing import fit_frames
from tests.conftest import save_debug_checkpoint

STEPS = 14
SIZE = (64, 64)


class LoggedEnv(CountingEnv):
    """Keeps the frames and actions of its episodes; shows a new array at every step."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.frames: list[list[np.ndarray]] = []
        self.actions: list[list[Any]] = []

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        frame, info = super().reset(**kwargs)
        self.frames.append([frame.copy()])
        self.actions.append([])
        return frame.copy(), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        frame, *rest = super().step(action)
        self.frames[-1].append(frame.copy())
        self.actions[-1].append(action)
        return frame.copy(), *rest  # type: ignore[return-value]


@pytest.fixture(scope="module")
def model(debug_checkpoint: Path) -> WorldModel:
    """The debug model in float64."""
    return deepcopy(load_for_dreaming(debug_checkpoint, dtype="float32").model).double()


@pytest.fixture
def exact(model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real environments of this test are watched by the float64 model."""
    monkeypatch.setattr(
        episode_memory, "load_for_dreaming", lambda *_: SimpleNamespace(model=model)
    )


def watched_at_once(model: WorldModel, env: LoggedEnv) -> tuple[np.ndarray, np.ndarray]:
    """Frames (t, …) of all episodes one after the other, and features of each episode at once."""
    all_frames, features = [], []
    for frames, actions in zip(env.frames, env.actions, strict=True):
        fitted = fit_frames(np.stack(frames), SIZE)
        led_here = torch.from_numpy(np.array([-1, *actions]))
        start = model.initial_state(1)
        _, outcome = model.observe(start, torch.from_numpy(fitted)[None], led_here[None])
        assert outcome.features is not None
        all_frames.append(fitted)
        features.append(outcome.features[0].numpy())
    return np.concatenate(all_frames), np.concatenate(features)


def play_one(envs: list[LoggedEnv], actions: np.ndarray) -> list[list[dict]]:
    seen = []
    for i, plain in enumerate(envs):
        env = WithMemory(plain)
        seen.append([env.reset(seed=i)[0]])
        for action in actions[:, i]:
            observation, _, terminated, _, _ = env.step(action)
            seen[-1].append(observation)
            if terminated:
                seen[-1].append(env.reset()[0])
    return seen


def play_vector(mode: AutoresetMode) -> Callable[[list[LoggedEnv], np.ndarray], list[list[dict]]]:
    def play(envs: list[LoggedEnv], actions: np.ndarray) -> list[list[dict]]:
        makers = [lambda plain=plain: plain for plain in envs]
        env = WithMemoryVector(SyncVectorEnv(makers, autoreset_mode=mode))
        observations, _ = env.reset(seed=0)
        assert observations in env.observation_space
        seen = [[slot(observations, i)] for i in range(len(envs))]
        for action in actions:
            observations, _, terminated, _, info = env.step(action)
            for i in range(len(envs)):
                if terminated[i] and mode == AutoresetMode.SAME_STEP:
                    seen[i].append(info["final_obs"][i])
                seen[i].append(slot(observations, i))
            if mode == AutoresetMode.DISABLED and terminated.any():
                observations, _ = env.reset(options={"reset_mask": terminated})
                for i in np.flatnonzero(terminated):
                    seen[i].append(slot(observations, i))
        return seen

    return play


def play_stable_baselines(envs: list[LoggedEnv], actions: np.ndarray) -> list[list[dict]]:
    env = VecWithMemory(DummyVecEnv([lambda plain=plain: plain for plain in envs]))
    env.seed(0)
    observations = env.reset()
    assert [info["count"] for info in env.reset_infos] == [0] * len(envs)
    seen = [[slot(observations, i)] for i in range(len(envs))]
    for action in actions:
        observations, _, dones, infos = env.step(action)
        for i in range(len(envs)):
            if dones[i]:
                seen[i].append(infos[i]["terminal_observation"])
            seen[i].append(slot(observations, i))
    return seen


def slot(observations: dict[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
    return {name: values[i] for name, values in observations.items()}


PLAYS = {mode.name: play_vector(mode) for mode in AutoresetMode}
PLAYS |= {"one": play_one, "stable_baselines": play_stable_baselines}


@pytest.mark.parametrize("play", PLAYS.values(), ids=PLAYS.keys())
def test_memory_is_what_the_whole_episode_gives_at_once(
    exact: None, model: WorldModel, play: Callable
) -> None:
    envs = [LoggedEnv(length=length) for length in (5, 3, 40)]
    actions = np.random.default_rng(0).integers(0, 5, (STEPS, 3))
    seen = play(envs, actions)
    for env, observations in zip(envs, seen, strict=True):
        frames, features = watched_at_once(model, env)
        np.testing.assert_array_equal(np.stack([o["frame"] for o in observations]), frames)
        memories = np.stack([o["memory"] for o in observations])
        np.testing.assert_allclose(memories, features, rtol=0, atol=1e-6)
    assert [len(env.frames) > 1 for env in envs] == [True, True, False]


def test_a_real_episode_begins_with_the_memory_that_the_dream_begins_with(
    debug_checkpoint: Path,
) -> None:
    """The same seed draws the same spawns, whose context both watch."""
    dream = DreamVectorEnv(3, debug_checkpoint, dtype="float32", observation="memory")
    sources = load_spawns(debug_checkpoint).sources
    makers = [lambda: SpawnedEnv(CountingEnv(length=60), sources)] * 3
    vector = WithMemoryVector(SyncVectorEnv(makers), debug_checkpoint, dtype="float32")
    stable = VecWithMemory(DummyVecEnv(makers), debug_checkpoint, dtype="float32")
    single = WithMemory(makers[0](), debug_checkpoint, dtype="float32")
    assert vector.observation_space == dream.observation_space
    assert single.observation_space == stable.observation_space == dream.single_observation_space
    stable.seed(0)
    dreamt, told = dream.reset(seed=0)
    real, info = vector.reset(seed=0)
    assert info["spawn"].tolist() == told["spawn"].tolist()
    for observations in (real, stable.reset()):
        np.testing.assert_array_equal(observations["frame"], dreamt["frame"])
        np.testing.assert_allclose(observations["memory"], dreamt["memory"], atol=1e-5)
    for i in range(3):
        alone = single.reset(seed=i)[0]
        np.testing.assert_array_equal(alone["frame"], dreamt["frame"][i])
        np.testing.assert_allclose(alone["memory"], dreamt["memory"][i], atol=1e-5)
    without_context = WithMemory(CountingEnv(), debug_checkpoint, dtype="float32").reset(seed=0)[0]
    assert np.abs(without_context["memory"] - dreamt["memory"][0]).max() > 0.01


def test_contexts_of_other_lengths_begin_together_and_stay_the_callers(
    exact: None, model: WorldModel
) -> None:
    both, alone = EpisodeMemory(3), EpisodeMemory(1)
    frames = np.random.default_rng(0).integers(0, 256, (7, *SIZE, 3)).astype(np.uint8)
    contexts = [(frames[:n], np.arange(n - 1) % 5) for n in (7, 2, 7)]
    before = frames.copy()
    both.begin([0, 1, 2], contexts)
    both.begin([2], contexts[1:2])
    both.watch(frames[:3], np.array([4, 0, 1]))
    for i, context in enumerate((contexts[0], contexts[1], contexts[1])):
        alone.begin([0], [context])
        alone.watch(frames[i : i + 1], np.array([4, 0, 1])[i : i + 1])
        np.testing.assert_allclose(both.show()["memory"][i], alone.show()["memory"][0], atol=1e-6)
    np.testing.assert_array_equal(frames, before)


def test_continuous_actions(tmp_path: Path, box_store: Path) -> None:
    folder = save_debug_checkpoint(tmp_path / "model", box_store)
    env = WithMemory(CountingEnv(length=9, continuous=True), folder, dtype="float32")
    memories = []
    for action in ([-1, 0, 2], [2, 0, -1]):
        env.reset(seed=0)
        memories.append(env.step(np.array(action, np.float32))[0]["memory"])
    assert np.isfinite(memories).all() and not np.allclose(*memories)


@pytest.mark.filterwarnings("ignore:.*(wrapper applied|infinity).*:UserWarning")
def test_it_is_a_gymnasium_environment(debug_checkpoint: Path) -> None:
    check_env(WithMemory(LoggedEnv(length=9), debug_checkpoint), skip_render_check=True)


def test_observations_already_handed_out_do_not_change(debug_checkpoint: Path) -> None:
    env = VecWithMemory(DummyVecEnv([LoggedEnv]), debug_checkpoint)
    first = env.reset()
    before = deepcopy(first)
    env.step(np.array([1]))
    assert all(np.array_equal(first[name], before[name]) for name in first)


class WideEnv(CountingEnv):
    def __init__(self, **spaces: gymnasium.Space) -> None:
        super().__init__()
        for name, space in spaces.items():
            setattr(self, name, space)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"action_space": Discrete(7)}, r"takes actions from Discrete\(7\).*knows Discrete\(5\)"),
        ({"observation_space": Box(0, 255, (8, 8, 1), np.uint8)}, "takes uint8 frames"),
        (
            {"observation_space": Box(-np.inf, np.inf, (8, 8, 3))},
            "takes uint8 frames.*without bounds",
        ),
    ],
)
def test_environments_of_another_kind_are_refused(
    debug_checkpoint: Path, space: dict[str, gymnasium.Space], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        WithMemory(WideEnv(**space), debug_checkpoint)
    with pytest.raises(ConfigError, match=message):
        WithMemoryVector(SyncVectorEnv([lambda: WideEnv(**space)]), debug_checkpoint)
    with pytest.raises(ConfigError, match=message):
        VecWithMemory(DummyVecEnv([lambda: WideEnv(**space)]), debug_checkpoint)


def test_a_model_of_poses_is_refused(model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    config: WorldModelConfig = replace(
        model.config,
        conditioning="pose",
        actions=replace(model.config.actions, n=0, low=(0.0,), high=(1.0,)),
    )
    posed = SimpleNamespace(model=SimpleNamespace(config=config))
    monkeypatch.setattr(episode_memory, "load_for_dreaming", lambda *_: posed)
    with pytest.raises(ConfigError, match="told poses.*one trained on actions"):
        EpisodeMemory(1)
