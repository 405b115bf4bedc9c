"""The dream as Gymnasium knows it: checkers, ids, seeds, and errors that say what to do."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import dreamenv  # noqa: F401  (registers the ids)
from dreamenv.core.errors import (
    CheckpointError,
    ConfigError,
    EnvironmentUsageError,
    InvalidActionError,
    ResetNeededError,
)
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.vector_env import DreamVectorEnv
from tests.conftest import save_debug_checkpoint


@pytest.fixture(scope="module")
def box_checkpoint(tmp_path_factory: pytest.TempPathFactory, box_store: Path) -> Path:
    """Like `debug_checkpoint`, with three continuous actions."""
    return save_debug_checkpoint(tmp_path_factory.mktemp("box") / "checkpoint", box_store)


@pytest.mark.parametrize("checkpoint", ["debug_checkpoint", "box_checkpoint"])
def test_gymnasium_checker(checkpoint: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(checkpoint)
    env = gymnasium.make("DreamEnv-v0", checkpoint=folder, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what the checker only warns of fails here
        # The counting environment's actions are in [−1, 2], and the dream's are the same.
        warnings.filterwarnings("ignore", message=".*For Box action spaces")
        check_env(env.unwrapped)


def play(env: DreamEnv | DreamVectorEnv, seed: Any, actions: list[Any]) -> list[tuple]:
    observation, _ = env.reset(seed=seed)
    return [(observation,), *(env.step(action)[:4] for action in actions)]


def test_same_seed_same_actions_same_dream_in_any_slot(debug_checkpoint: Path) -> None:
    """Slot 0 of 1 and slot 5 of 8, whose neighbours do something else; and the single dream."""
    arguments: dict[str, Any] = {"checkpoint": debug_checkpoint, "dtype": "float32", "horizon": 6}
    rng = np.random.default_rng(0)
    actions = rng.integers(0, 5, 15)
    crowd = rng.integers(0, 5, (15, 8))
    crowd[:, 5] = actions
    seeds = [31, 7, 99, 2, 1, 42, 6, 3]
    alone = play(DreamVectorEnv(1, **arguments), [42], [np.array([a]) for a in actions])
    among = play(DreamVectorEnv(8, **arguments), seeds, list(crowd))
    for one, other in zip(alone, among, strict=True):
        assert np.abs(one[0][0].astype(int) - other[0][5].astype(int)).max() <= 1
        for values, others in zip(one[1:], other[1:], strict=True):
            assert values[0] == pytest.approx(others[5], abs=1e-4)
    assert not np.array_equal(among[-1][0][5], among[-1][0][4])
    single = DreamEnv(**arguments)
    observation, _ = single.reset(seed=42)
    for t, action in enumerate(actions[:6]):
        assert np.abs(observation.astype(int) - alone[t][0][0].astype(int)).max() <= 1
        observation, reward, terminated, truncated, _ = single.step(int(action))
        assert reward == pytest.approx(float(alone[t + 1][1][0]), abs=1e-4)
        assert truncated == bool(alone[t + 1][3][0])
    again = play(DreamVectorEnv(1, **arguments), [42], [np.array([a]) for a in actions])
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(alone, again, strict=True))


def test_another_seed_or_action_is_another_dream(debug_checkpoint: Path) -> None:
    env = DreamEnv(debug_checkpoint, dtype="float32")
    base = play(env, 0, [1, 1, 1, 1])
    assert not np.array_equal(base[-1][0], play(env, 1, [1, 1, 1, 1])[-1][0])
    turned = play(env, 0, [1, 1, 2, 1])
    assert [np.array_equal(a[0], b[0]) for a, b in zip(base, turned, strict=True)] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_spaces_follow_the_model(debug_checkpoint: Path, box_checkpoint: Path) -> None:
    env = DreamVectorEnv(3, debug_checkpoint)
    assert env.single_action_space == gymnasium.spaces.Discrete(5)
    assert env.single_observation_space == gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    assert env.observation_space.shape == (3, 64, 64, 3)
    box = DreamEnv(box_checkpoint)
    assert box.action_space == gymnasium.spaces.Box(-1.0, 2.0, (3,), np.float32)
    env.reset(seed=0)
    observations, rewards, terminated, truncated, _ = env.step(env.action_space.sample())
    assert observations.dtype == np.uint8 and rewards.dtype == np.float64
    assert terminated.dtype == truncated.dtype == np.bool_
    assert env.observation_space.contains(observations)


def test_the_first_observation_is_the_last_frame_of_the_spawn(debug_checkpoint: Path) -> None:
    env = DreamVectorEnv(4, debug_checkpoint, render_mode="rgb_array")
    observations, info = env.reset(seed=3)
    frames = env.loaded.spawns.frames
    assert all(
        np.array_equal(o, frames[s, -1]) for o, s in zip(observations, info["spawn"], strict=True)
    )
    assert len(set(info["spawn"].tolist())) > 1
    rendered = env.render()
    assert rendered is not None and all(map(np.array_equal, rendered, observations))
    assert DreamVectorEnv(1, debug_checkpoint).render() is None


def test_ids_make_single_and_vector_dreams(debug_checkpoint: Path) -> None:
    env = gymnasium.make("DreamEnv-v0", checkpoint=debug_checkpoint, horizon=3)
    env.reset(seed=0)
    assert [env.step(0)[3] for _ in range(3)] == [False, False, True]
    limited = gymnasium.make("DreamEnv-v0", checkpoint=debug_checkpoint, max_episode_steps=2)
    limited.reset(seed=0)
    assert [limited.step(0)[3] for _ in range(2)] == [False, True]
    vector = gymnasium.make_vec(
        "DreamEnv-v0", num_envs=3, checkpoint=debug_checkpoint, max_episode_steps=2
    )
    assert isinstance(vector, DreamVectorEnv) and vector.horizon == 2 and vector.num_envs == 3
    assert vector.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    vector.reset(seed=0)
    assert [vector.step(np.zeros(3, int))[3].tolist() for _ in range(2)] == [
        [False] * 3,
        [True] * 3,
    ]
    vector.close()


def test_make_vec_in_sync_mode_equals_the_vector_entry_point(debug_checkpoint: Path) -> None:
    made = [
        gymnasium.make_vec("DreamEnv-v0", 2, mode, checkpoint=debug_checkpoint, dtype="float32")
        for mode in ("sync", "vector_entry_point")
    ]
    (one, _), (other, _) = (env.reset(seed=5) for env in made)
    assert np.array_equal(one, other)
    for _ in range(3):
        one, other = (env.step(np.array([1, 2]))[0] for env in made)
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


def test_an_unknown_id_names_the_nearest() -> None:
    with pytest.raises(gymnasium.error.NameNotFound, match="DreamEnv-MemoryMaze"):
        gymnasium.make("DreamEnv-MemoryMaz-v0")
    with pytest.raises(gymnasium.error.VersionNotFound, match="DreamEnv"):
        gymnasium.make("DreamEnv-v7")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            ({name: value}, f"{name} must be a whole number of at least 1, not ")
            for name in ("horizon", "max_episode_steps", "num_envs", "denoising_steps")
            for value in (0, -3, 2.0, 2.5, float("nan"), float("inf"), "32", True, [1])
        ),
        ({"num_envs": None}, "num_envs must be a whole number"),
        ({"horizon": None}, "horizon must be a whole number"),
        ({"render_mode": "ansi"}, "None, 'rgb_array', 'human', not 'ansi'"),
        ({"render_mode": ["human"]}, "render_mode is one of None"),
        ({"observation": np.zeros(2)}, "observation is one of 'frame', 'memory', not"),
        ({"reward": None}, "reward is one of 'likeliest', 'expected', 'sampled', not None"),
        ({"min_trust": "0.5"}, "min_trust must be a number from 0 to 1, not '0.5'"),
        ({"min_trust": float("nan")}, "min_trust must be a number from 0 to 1"),
        ({"min_trust": True}, "min_trust must be a number from 0 to 1"),
        ({"spawns": "x"}, "spawns must be dreamenv.dream.spawns.Spawns.*not 'x'"),
        ({"checkpoint": None}, "checkpoint must be the path of a folder, not None"),
        ({"checkpoint": b"bundled:memory_maze_9x9"}, "checkpoint must be the path of a folder"),
        ({"device": 3.5}, "device must be the name of a torch device, or 'auto', not 3.5"),
        ({"dtype": torch.float32}, "dtype is one of 'auto', 'float32', 'bfloat16', not"),
        ({"autoreset_mode": []}, "autoreset_mode is one of"),
        ({"autoreset_mode": "SameStep?"}, "autoreset_mode is one of"),
        ({"device": "abacus"}, "no torch device 'abacus'"),
        ({"dtype": "float16"}, "one of 'auto', 'float32', 'bfloat16', not 'float16'"),
    ],
)
def test_impossible_arguments(
    debug_checkpoint: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        DreamVectorEnv(**{"checkpoint": debug_checkpoint, **arguments})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_this_machine_lacks(debug_checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="no torch device 'cuda' here.*use 'auto' or 'cpu'"):
        DreamVectorEnv(checkpoint=debug_checkpoint, device="cuda")


def test_missing_checkpoints_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no world model.*dreamenv train"):
        DreamEnv(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"bundles no world model 'atari'.*checkpoint="):
        DreamEnv("bundled:atari")


VECTOR: list[tuple[Callable[[DreamVectorEnv], Any], str]] = [
    (lambda e: e.step(np.array([0, 5])), "2 elements of Discrete"),
    (lambda e: e.step(np.array([0, -1])), "2 elements of Discrete"),
    (lambda e: e.step(np.array([0.0, 1.0])), "2 elements of Discrete"),
    (lambda e: e.step(np.array([0])), "2 elements of Discrete"),
    (lambda e: e.step(0), "2 elements of Discrete"),
    (lambda e: e.step(None), "2 elements of Discrete"),
    (lambda e: e.reset(seed=[1]), "2 slots need as many seeds"),
    (lambda e: e.reset(options={"depth": 0}), r"unknown reset options \['depth'\]; there are"),
    (lambda e: e.reset(options={"reset_mask": np.array([1, 0])}), "2 booleans with one True"),
    (lambda e: e.reset(options={"reset_mask": np.array([True])}), "2 booleans"),
    (lambda e: e.reset(options={"reset_mask": np.zeros(2, bool)}), "with one True"),
]


@pytest.mark.parametrize(("use", "message"), VECTOR)
def test_misuse_of_a_vector_is_explained(
    debug_checkpoint: Path, use: Callable[[DreamVectorEnv], Any], message: str
) -> None:
    env = DreamVectorEnv(2, debug_checkpoint)
    with pytest.raises(ResetNeededError, match=r"call reset\(\) before step\(\)"):
        env.step(np.array([0, 0]))
    with pytest.raises(ResetNeededError, match="first reset must reset every slot"):
        env.reset(options={"reset_mask": np.array([True, False])})
    before, _ = env.reset(seed=0)
    with pytest.raises(EnvironmentUsageError, match=message):
        use(env)
    # Nothing moved: the dream goes on as if nothing had been asked.
    one = env.step(np.array([0, 1]))[0]
    env.reset(seed=0)
    assert np.array_equal(one, env.step(np.array([0, 1]))[0])


def test_misuse_of_a_single_dream_is_explained(
    debug_checkpoint: Path, box_checkpoint: Path
) -> None:
    env = DreamEnv(debug_checkpoint)
    with pytest.raises(ResetNeededError, match="before step"):
        env.step(0)
    env.reset(seed=0)
    for action in (5, -1, 1.5, "left", None):
        with pytest.raises(InvalidActionError, match="not in the action space Discrete"):
            env.step(action)
    box = DreamEnv(box_checkpoint)
    box.reset(seed=0)
    for action in (np.full(3, 2.5, np.float32), np.full(3, np.nan, np.float32), np.zeros(2)):
        with pytest.raises(InvalidActionError, match="not in the action space Box"):
            box.step(action)


def test_misuse_can_be_caught_as_gymnasiums_own_errors(debug_checkpoint: Path) -> None:
    for env in (DreamEnv(debug_checkpoint, 1), DreamVectorEnv(1, debug_checkpoint, 1)):
        one, other = (0, 9) if isinstance(env, DreamEnv) else (np.array([0]), np.array([9]))
        unready = [lambda: env.step(one), env.get_state, env.source, lambda: env.fork(1)]  # noqa: B023
        for use in unready:
            with pytest.raises(gymnasium.error.ResetNeeded):
                use()
        env.reset(seed=0)
        with pytest.raises(gymnasium.error.InvalidAction):
            env.step(other)
    ending = DreamEnv(debug_checkpoint, horizon=1)
    ending.reset(seed=0)
    ending.step(0)
    with pytest.raises(gymnasium.error.ResetNeeded, match="has ended"):
        ending.step(0)


def test_dreams_of_one_checkpoint_share_their_weights(debug_checkpoint: Path) -> None:
    one, other = (DreamVectorEnv(n, debug_checkpoint, dtype="float32") for n in (1, 3))
    assert one.loaded is other.loaded
    assert DreamVectorEnv(1, debug_checkpoint, dtype="bfloat16").loaded is not one.loaded


def test_a_checkpoint_written_anew_is_read_anew(tmp_path: Path, counting_store: Path) -> None:
    folder = save_debug_checkpoint(tmp_path / "model", counting_store)
    first = DreamEnv(folder).vector.loaded
    (folder / "model.safetensors").touch()
    assert DreamEnv(folder).vector.loaded is not first


def test_bfloat16_dreams_stay_near_and_keep_their_bytes(debug_checkpoint: Path) -> None:
    dreams = [DreamVectorEnv(2, debug_checkpoint, dtype=d) for d in ("float32", "bfloat16")]
    frames = []
    for env in dreams:
        env.reset(seed=0)
        held = env.state_nbytes
        observation = env.step(np.array([1, 2]))[0]
        assert env.state_nbytes == held
        frames.append(observation.astype(int))
    assert np.abs(frames[0] - frames[1]).mean() < 4


def test_bytes_do_not_grow_with_time(debug_checkpoint: Path) -> None:
    env = DreamVectorEnv(1, debug_checkpoint, horizon=1000, denoising_steps=1)
    env.reset(seed=0)
    held = env.state_nbytes
    for _ in range(100):
        env.step(np.array([1]))
    assert env.state_nbytes == held
