"""What a dream shows and pays: memory beside the frame, three kinds of reward, trust."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode

from dreamenv.core.errors import CheckpointError, ConfigError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.vector_env import DreamVectorEnv
from tests.dream.counting_dream import ACTIONS, CONTEXT, END, SURE, PlainDream, install, shown


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """All dreams of this test count."""
    install(monkeypatch)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_memory_is_that_of_the_frame_beside_it(counting: None, mode: AutoresetMode) -> None:
    """In every mode, at resets, at steps and in final observations."""

    def check(observation: dict[str, np.ndarray]) -> None:
        count, spawn = shown(observation["frame"])
        assert observation["memory"].tolist() == [count, spawn, CONTEXT + count]

    env = DreamVectorEnv(3, horizon=4, observation="memory", autoreset_mode=mode)
    observations, _ = env.reset(seed=0)
    rng, ends = np.random.default_rng(0), 0
    for _ in range(25):
        assert observations in env.observation_space
        for i in range(3):
            check({name: values[i] for name, values in observations.items()})
        observations, _, terminated, truncated, info = env.step(rng.integers(0, ACTIONS, 3))
        ended = terminated | truncated
        ends += ended.sum()
        for final in info.get("final_obs", np.array([]))[ended[: 3 * ("final_obs" in info)]]:
            check(final)
        if mode == AutoresetMode.DISABLED and ended.any():
            observations, _ = env.reset(options={"reset_mask": ended})
    assert ends > 5


def test_memory_handed_out_stays_as_it_was(counting: None) -> None:
    env = DreamVectorEnv(2, horizon=2, observation="memory")
    observations, _ = env.reset(seed=0)
    kept = {name: values.copy() for name, values in observations.items()}
    for _ in range(3):
        env.step(np.zeros(2, np.int64))
    assert all(np.array_equal(observations[name], kept[name]) for name in kept)


def test_the_space_of_memory(debug_checkpoint: Path) -> None:
    env = DreamVectorEnv(2, debug_checkpoint, observation="memory", render_mode="rgb_array")
    memory = Box(-np.inf, np.inf, (env.loaded.model.feature_size,), np.float32)
    expected = Dict(frame=Box(0, 255, (64, 64, 3), np.uint8), memory=memory)
    assert env.single_observation_space == expected
    observations, _ = env.reset(seed=0)
    assert observations in env.observation_space
    observations, *_ = env.step(np.array([1, 2]))
    assert observations in env.observation_space
    assert not np.array_equal(*observations["memory"])
    rendered = env.render()
    assert rendered is not None and np.array_equal(rendered[1], observations["frame"][1])


@pytest.mark.parametrize("mode", list(AutoresetMode)[:2])
@pytest.mark.parametrize("reward", ["likeliest", "expected", "sampled"])
def test_three_kinds_of_reward(counting: None, reward: str, mode: AutoresetMode) -> None:
    env = DreamVectorEnv(2, horizon=5, reward=reward, autoreset_mode=mode)
    env.reset(seed=3)
    plain = [PlainDream(3 + i, 5, reward) for i in range(2)]
    ended = [False, False]
    for actions in np.random.default_rng(0).integers(0, ACTIONS, (40, 2)):
        _, rewards, *_ = env.step(actions)
        for i in range(2):
            if mode == AutoresetMode.NEXT_STEP and ended[i]:
                plain[i].begin()
                assert rewards[i] == 0
                ended[i] = False
                continue
            _, expected, terminated, truncated = plain[i].step(actions[i])
            assert rewards[i] == expected
            ended[i] = terminated or truncated
            if mode == AutoresetMode.SAME_STEP and ended[i]:
                plain[i].begin()


def test_sampled_rewards_come_as_often_as_the_model_says(counting: None) -> None:
    env = DreamVectorEnv(64, horizon=100, reward="sampled")
    env.reset(seed=0)
    ones = np.concatenate([env.step(np.ones(64, np.int64))[1] for _ in range(30)])
    assert set(ones.tolist()) == {1.0, 2.0}
    assert np.mean(ones == 1) == pytest.approx(SURE, abs=0.04)  # four standard deviations


def test_an_episode_is_cut_where_trust_is_lost(counting: None) -> None:
    """Trust falls by a tenth with every step: below 0.75 at the third."""
    env = DreamVectorEnv(2, horizon=9, min_trust=0.75)
    env.reset(seed=0)
    cuts = [env.step(np.zeros(2, np.int64))[3].tolist() for _ in range(4)]
    assert cuts == [[False, False], [False, False], [True, True], [False, False]]
    single = DreamEnv(horizon=9, min_trust=0.85)
    single.reset(seed=0)
    assert single.step(0)[2:4] == (False, False)
    assert single.step(END)[2:4] == (True, False)  # terminated, hence not truncated


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observation": "state"}, "observation is one of 'frame', 'memory', not 'state'"),
        ({"reward": "largest"}, "one of 'likeliest', 'expected', 'sampled', not 'largest'"),
        ({"min_trust": 1.5}, "min_trust must be a number from 0 to 1, not 1.5"),
        ({"min_trust": float("nan")}, "min_trust must be a number from 0 to 1, not nan"),
    ],
)
def test_impossible_arguments(
    counting: None, arguments: dict[str, str | float], message: str
) -> None:
    for make in (DreamEnv, DreamVectorEnv):
        with pytest.raises(ConfigError, match=message):
            make(**arguments)


def test_without_calibration_there_is_no_trust(debug_checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(debug_checkpoint, tmp_path / "copy")
    (folder / "trust.json").unlink(missing_ok=True)
    env = DreamEnv(folder)
    for info in (env.reset(seed=0)[1], env.step(0)[4]):
        assert "trust" not in info and info["uncertainty"] >= 0
    _, info = DreamVectorEnv(2, folder).reset()
    assert "trust" not in info and info["_uncertainty"].all()
    with pytest.raises(CheckpointError, match=r"has no trust.json.*write one with"):
        DreamEnv(folder, min_trust=0.5)


def test_what_a_step_is_expected_to_pay_is_told_whatever_it_paid(debug_checkpoint: Path) -> None:
    env = DreamVectorEnv(2, debug_checkpoint, 4)
    env.reset(seed=0)
    assert np.isnan(env.expected_rewards()).all()
    paid = DreamVectorEnv(2, debug_checkpoint, 4, reward="expected")
    paid.reset(seed=0)
    env.step(np.zeros(2, np.int64))
    np.testing.assert_allclose(
        env.expected_rewards(), paid.step(np.zeros(2, np.int64))[1], rtol=1e-6
    )
