"""The dream as Stable-Baselines3 knows it."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecVideoRecorder

from dreamenv.core.errors import ConfigError, EnvironmentUsageError, MissingDependencyError
from dreamenv.dream import sb3
from dreamenv.dream.observations import INFOS
from dreamenv.dream.sb3 import DreamVecEnv, make_dream_vec_env
from tests.dream.counting_dream import CONTEXT, END, SIZE, PlainDream, install, shown

HORIZON = 3


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """All dreams of this test count."""
    install(monkeypatch)


@pytest.mark.parametrize(
    ("env_id", "observation"),
    [("DreamEnv-v0", "frame"), ("DreamEnv-v0", "memory"), ("DreamEnv-MemoryMaze-v0", "memory")],
)
def test_stable_baselines3_checker(env_id: str, observation: str, debug_checkpoint: Path) -> None:
    own = {"checkpoint": debug_checkpoint} if env_id == "DreamEnv-v0" else {}
    env = gymnasium.make(env_id, render_mode="rgb_array", observation=observation, **own)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check_env(env.unwrapped, warn=True)


def test_ends_are_reported_as_stable_baselines3_expects(counting: None) -> None:
    env = DreamVecEnv(2, seed=10, horizon=HORIZON)
    plain = [PlainDream(10 + i, HORIZON) for i in range(2)]
    observations = env.reset()
    assert [shown(o) for o in observations] == [(0, p.spawn) for p in plain]
    assert env.reset_infos == [told_of_reset(p) for p in plain]
    assert env.env_method("source") == [{"seed": 100 + p.spawn} for p in plain]
    script = np.random.default_rng(0).integers(0, END + 1, (20, 2))
    for actions in script:
        observations, rewards, dones, infos = env.step(actions)
        assert rewards.dtype == np.float32 and dones.dtype == np.bool_
        for i in range(2):
            frame, reward, terminated, truncated = plain[i].step(actions[i])
            frame_seen = frame
            assert (rewards[i], dones[i]) == (reward, terminated or truncated)
            if dones[i]:
                assert shown(infos[i]["terminal_observation"]) == frame
                frame = plain[i].begin()
                assert env.reset_infos[i] == told_of_reset(plain[i])
                assert infos[i].keys() == {*INFOS, "terminal_observation", "TimeLimit.truncated"}
            else:
                assert infos[i].keys() == {*INFOS, "TimeLimit.truncated"}
            assert infos[i]["TimeLimit.truncated"] is truncated
            assert infos[i]["spawn"] == frame_seen[1]
            assert infos[i]["uncertainty"] == frame_seen[0]
            assert infos[i]["trust"] == pytest.approx(1 - frame_seen[0] / 10)
            assert all(isinstance(infos[i][name], np.generic) for name in INFOS)
            assert shown(observations[i]) == frame


def told_of_reset(plain: PlainDream) -> dict[str, Any]:
    return {"spawn": plain.spawn, "uncertainty": 0.0, "trust": 1.0}


def test_rewards_are_those_asked_for(counting: None) -> None:
    env = DreamVecEnv(1, seed=3, horizon=HORIZON, reward="sampled")
    plain = PlainDream(3, HORIZON, reward="sampled")
    env.reset()
    for _ in range(HORIZON):
        assert env.step(np.array([1]))[1] == [plain.step(1)[1]]


def test_memory_is_shown_at_the_end_of_episodes_too(counting: None) -> None:
    env = DreamVecEnv(2, seed=0, horizon=HORIZON, observation="memory")
    assert set(env.observation_space.spaces) == {"frame", "memory"}  # type: ignore[attr-defined]
    spawns = env.reset()["memory"][:, 1]  # type: ignore[call-overload]
    for _ in range(HORIZON):
        observations, _, dones, infos = env.step(np.array([0, END]))
        for i in np.flatnonzero(dones):
            last = infos[i]["terminal_observation"]
            count = HORIZON if i == 0 else 1
            assert shown(last["frame"]) == (count, spawns[i])
            assert last["memory"].tolist() == [count, spawns[i], CONTEXT + count]
            assert observations["memory"][i].tolist() == [0, env.reset_infos[i]["spawn"], CONTEXT]  # type: ignore[call-overload]
        spawns = observations["memory"][:, 1]  # type: ignore[call-overload]


def test_episodes_that_lose_trust_are_truncated(counting: None) -> None:
    env = DreamVecEnv(1, seed=0, horizon=50, min_trust=0.75)
    env.reset()
    steps = [env.step(np.array([0]))[2:] for _ in range(3)]
    assert [bool(dones[0]) for dones, _ in steps] == [False, False, True]
    last = steps[-1][1][0]
    assert last["TimeLimit.truncated"] is True and last["trust"] == pytest.approx(0.7)


def test_observations_pass_through_without_another_copy(
    counting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = DreamVecEnv(2, horizon=HORIZON)
    given: list[np.ndarray] = []
    plain_step, plain_reset = env.dreams.step, env.dreams.reset

    def noted(call: Callable) -> Callable:
        def noting(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            given.append(result[0])
            return result

        return noting

    monkeypatch.setattr(env.dreams, "step", noted(plain_step))
    monkeypatch.setattr(env.dreams, "reset", noted(plain_reset))
    handed = [env.reset(), *(env.step(np.array([0, 0]))[0] for _ in range(4))]
    assert all(ours is theirs for ours, theirs in zip(handed, given, strict=True))
    assert len({id(frames) for frames in handed}) == 5  # nothing handed out is written again


def test_options_reach_their_slots_once(counting: None) -> None:
    env = DreamVecEnv(2, seed=0)
    env.set_options([{"spawn": 7}, {"spawn": 2}])
    assert [shown(o) for o in env.reset()] == [(0, 7), (0, 2)]
    env.set_options({"spawn": 4})
    assert [shown(o) for o in env.reset()] == [(0, 4), (0, 4)]
    frames = np.zeros((2, CONTEXT, *SIZE, 3), np.uint8)
    frames[:, -1, 0, 1, 0] = 30, 31
    actions = np.zeros((2, CONTEXT - 1), np.int64)
    env.set_options([{"context": frames[i], "actions": actions[i]} for i in range(2)])
    assert [shown(o) for o in env.reset()] == [(0, 30), (0, 31)]
    assert [info["spawn"] for info in env.reset_infos] == [-1, -1]
    assert env.env_method("source", indices=[1]) == [None]
    env.seed(10)
    assert [shown(o) for o in env.reset()] == [(0, PlainDream(10 + i, 3).spawn) for i in range(2)]


@pytest.mark.parametrize(
    "options", [[{"spawn": 1}, {}], [{"context": np.zeros((n, 2, 2, 3))} for n in (3, 4)]]
)
def test_slots_need_the_same_kind_of_options(counting: None, options: list[dict]) -> None:
    env = DreamVecEnv(2)
    env.set_options(options)
    with pytest.raises(ConfigError, match="every slot the same options"):
        env.reset()
    env.set_options({"door": "open"})
    with pytest.raises(EnvironmentUsageError, match="unknown reset options"):
        env.reset()


def test_seeds_are_given_to_slots_in_order_and_used_once(counting: None) -> None:
    env = DreamVecEnv(3)
    assert env.seed(20) == [20, 21, 22]
    first = [shown(o) for o in env.reset()]
    assert first == [(0, PlainDream(20 + i, HORIZON).spawn) for i in range(3)]
    streams = [PlainDream(20 + i, HORIZON) for i in range(3)]
    assert [shown(o) for o in env.reset()] == [stream.begin() for stream in streams]
    env.seed(20)
    assert [shown(o) for o in env.reset()] == first


def test_attributes_and_methods_are_those_of_the_shared_dream(counting: None) -> None:
    env = DreamVecEnv(3, horizon=HORIZON, render_mode="rgb_array")
    assert env.get_attr("horizon") == [HORIZON] * 3
    assert env.get_attr("horizon", indices=[1]) == [HORIZON]
    env.set_attr("horizon", 9)
    assert env.get_attr("horizon", indices=0) == [9]
    with pytest.raises(ConfigError, match="'horizon' is shared by all 3 slots"):
        env.set_attr("horizon", 5, indices=[0])
    assert env.env_is_wrapped(VecMonitor, indices=[0, 2]) == [False, False]
    observations = env.reset()
    assert all(map(np.array_equal, env.get_images(), observations))
    for indices, wanted in ((None, [0, 1, 2]), ([2, 0], [2, 0]), (1, [1])):
        pictures = env.env_method("render", indices=indices)
        assert len(pictures) == len(wanted)
        assert all(map(np.array_equal, pictures, observations[wanted]))
    assert len(env.env_method("get_state")) == 3
    with pytest.raises(ConfigError, match="method 'fork' is shared by all 3"):
        env.env_method("fork", 2, indices=[0])
    with pytest.raises(AttributeError):
        env.env_method("fly")
    assert env.get_attr("action_space") == [env.action_space] * 3
    assert env.get_attr("observation_space", 1) == [env.observation_space]
    assert env.has_attr("horizon") and not env.has_attr("wings")
    assert env.render(mode="rgb_array").shape[-1] == 3
    env.close()


def test_without_a_render_mode_there_are_no_images(counting: None) -> None:
    env = DreamVecEnv(2)
    env.reset()
    assert list(env.get_images()) == [None, None]


@pytest.mark.parametrize("observation", ["frame", "memory"])
def test_ppo_learns_in_it(debug_checkpoint: Path, observation: str) -> None:
    """Not how well: that losses, resets and monitors fit together."""
    own = {"checkpoint": debug_checkpoint, "horizon": 4, "observation": observation}
    env = VecMonitor(make_dream_vec_env("DreamEnv-v0", 2, seed=0, **own))
    policy = "CnnPolicy" if observation == "frame" else "MultiInputPolicy"
    agent = PPO(policy, env, n_steps=8, batch_size=8, n_epochs=1, seed=0, device="cpu")
    agent.learn(16)
    assert agent.num_timesteps == 16
    # Horizon 4: each of the two slots finished an episode of four steps in the sixteenth step.
    assert [episode["l"] for episode in agent.ep_info_buffer or []] == [4] * 4
    env.close()


@pytest.mark.parametrize("observation", ["frame", "memory"])
def test_frames_stack(counting: None, observation: str) -> None:
    env = VecFrameStack(DreamVecEnv(2, seed=0, horizon=3, observation=observation), n_stack=2)

    def newest_and_oldest(observations: Any) -> list[tuple]:
        frames = observations["frame"] if isinstance(observations, dict) else observations
        return [(shown(f[..., 3:]), shown(f[..., :3])) for f in frames]

    spawns = [new[1] for new, _ in newest_and_oldest(env.reset())]
    for count in (1, 2):
        stacked = newest_and_oldest(env.step(np.zeros(2, int))[0])
        assert [new for new, _ in stacked] == [(count, spawn) for spawn in spawns]
        assert [old[0] for _, old in stacked] == [count - 1] * 2
    observations, _, dones, infos = env.step(np.zeros(2, int))
    assert dones.all()
    assert [old for _, old in newest_and_oldest(observations)] == [(0, 0)] * 2  # nothing before
    last = newest_and_oldest(
        [info["terminal_observation"] for info in infos]
        if observation == "frame"
        else {"frame": [info["terminal_observation"]["frame"] for info in infos]}
    )
    assert last == [((3, spawn), (2, spawn)) for spawn in spawns]


def test_videos_are_recorded(counting: None, tmp_path: Path) -> None:
    pytest.importorskip("moviepy")
    dreams = DreamVecEnv(2, seed=0, render_mode="rgb_array")
    env = VecVideoRecorder(dreams, str(tmp_path), lambda step: step == 0, video_length=3)
    assert env.frames_per_sec == dreams.dreams.metadata["render_fps"]
    env.reset()
    for _ in range(5):
        env.step(np.zeros(2, int))
    env.close()
    assert [file.suffix for file in tmp_path.iterdir()] == [".mp4"]


def test_without_stable_baselines3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded a second time under another name, on a machine that lacks the package."""
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.vec_env", None)
    spec = importlib.util.spec_from_file_location("second_copy", sb3.__file__)
    assert spec is not None and spec.loader is not None
    with pytest.raises(MissingDependencyError, match=r'pip install "dreamenv\[agents\]"'):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_ids_give_their_own_arguments(debug_checkpoint: Path) -> None:
    env = make_dream_vec_env("DreamEnv-v0", 2, checkpoint=debug_checkpoint, horizon=7)
    assert env.get_attr("horizon") == [7, 7]
    assert env.action_space == gymnasium.spaces.Discrete(5)
    with pytest.raises(ConfigError, match="CartPole-v1 is not a dreamt environment"):
        make_dream_vec_env("CartPole-v1", 2)
