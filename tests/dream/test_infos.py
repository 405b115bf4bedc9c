"""Infos can be batched by anyone: flat, the same keys at every reset and step, small numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from counting_env import FreshCountingEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_util import make_vec_env

import dreamenv  # noqa: F401  (registers the ids)
from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.memory import WithMemory, WithMemoryVector
from dreamenv.dream.sb3 import DreamVecEnv, VecWithMemory
from dreamenv.dream.spawns import load_spawns
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.evaluation.gap.real_player import RevisitedEnv
from dreamenv.real.memory_maze.env import MemoryMazeEnv
from dreamenv.real.replayed import SpawnedEnv
from tests.dream.counting_dream import CONTEXT, END, SIZE, install

SOURCE = {"seed": 7, "actions": [1, 2], "start": 0}
OWN = {"context": np.zeros((CONTEXT, *SIZE, 3), np.uint8), "actions": np.zeros(CONTEXT - 1, int)}


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """All dreams of this test count."""
    install(monkeypatch)


def infos_of(env: gymnasium.Env, *options: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The infos of an episode for each of the `options` that it may begin with."""
    for option in options:
        yield env.reset(seed=0, options=option)[1]
        ended = False
        while not ended:
            *_, terminated, truncated, info = env.step(1)
            ended = terminated or truncated
            yield info


def kinds(info: dict[str, Any]) -> dict[str, tuple]:
    """Key → dtype and shape; of NumPy values only."""
    for name, value in info.items():
        assert isinstance(value, np.generic | np.ndarray) and value.dtype != object, name
    return {name: (value.dtype.str, value.shape) for name, value in info.items()}


DREAM = {"spawn": ("<i8", ()), "uncertainty": ("<f8", ()), "trust": ("<f8", ())}


@pytest.mark.parametrize("observation", ["frame", "memory"])
def test_a_dream_tells_the_same_at_every_reset_and_step(counting: None, observation: str) -> None:
    env = DreamEnv(horizon=3, observation=observation)
    told = [kinds(info) for info in infos_of(env, None, {"spawn": 4}, OWN, None)]
    assert told == [DREAM] * 16


def test_without_a_calibration_trust_is_never_told(debug_checkpoint: Path) -> None:
    env = DreamEnv(debug_checkpoint, horizon=2)
    without = {name: kind for name, kind in DREAM.items() if name != "trust"}
    assert [kinds(info) for info in infos_of(env, None, {"spawn": 1})] == [without] * 6


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_vector_tells_the_same_at_every_reset_and_step(
    counting: None, mode: AutoresetMode
) -> None:
    """But for what Gymnasium wants told of ends: `final_obs`, and `final_info` with these keys."""
    env = DreamVectorEnv(3, horizon=4, autoreset_mode=mode)
    expected = {name: (dtype, (3,)) for name, (dtype, _) in DREAM.items()}
    expected |= {f"_{name}": ("|b1", (3,)) for name in DREAM}
    told, ends = [env.reset(seed=0)[1], env.reset(options=OWN)[1]], 0
    for actions in np.random.default_rng(0).integers(0, END + 1, (20, 3)):
        *_, terminated, truncated, info = env.step(actions)
        ended = terminated | truncated
        final = {name: info.pop(name) for name in [*info] if "final" in name}
        told.append(info)
        if mode == AutoresetMode.SAME_STEP and ended.any():
            told.append(final.pop("final_info"))
            assert final.keys() == {"final_obs", "_final_obs", "_final_info"}
        else:
            assert not final
        if mode == AutoresetMode.DISABLED and ended.any():
            told.append(env.reset(options={"reset_mask": ended})[1])
        ends += ended.sum()
    assert ends > 5 and all(kinds(info) == expected for info in told)


def test_stable_baselines3_is_told_the_same_at_every_reset_and_step(counting: None) -> None:
    """By the adapter as by its own vectors of single dreams, up to what its contract adds."""
    ours, theirs = DreamVecEnv(2, seed=0, horizon=3), make_vec_env("DreamEnv-v0", 2, seed=0)
    for env in (ours, theirs):
        env.reset()
        for _ in range(5):
            assert [kinds(info) for info in env.reset_infos] == [DREAM] * 2
            _, _, dones, infos = env.step(np.zeros(2, int))
            for done, info in zip(dones, infos, strict=True):
                assert type(info.pop("TimeLimit.truncated")) is bool
                assert ("terminal_observation" in info) == done
                info.pop("terminal_observation", None), info.pop("episode", None)
                assert kinds(info) == DREAM


def test_gymnasium_makes_a_vector_of_bundled_dreams() -> None:
    env = gymnasium.make_vec("DreamEnv-MemoryMaze-v0", 8, vectorization_mode="sync")
    _, info = env.reset(seed=0)
    assert info["trust"] == pytest.approx(np.ones(8))
    sources = env.call("source")
    assert [len(source["actions"]) > 0 for source in sources] == [True] * 8
    single = gymnasium.make("DreamEnv-MemoryMaze-v0")
    single.reset(seed=3)
    assert single.get_wrapper_attr("source")() == sources[3]
    batch = gymnasium.make_vec("DreamEnv-MemoryMaze-v0", 8)
    batch.reset(seed=0)
    assert batch.unwrapped.source() == sources  # type: ignore[attr-defined]


def test_a_source_is_the_present_episodes_and_the_callers_to_change(counting: None) -> None:
    env = DreamVectorEnv(2, horizon=1)
    with pytest.raises(EnvironmentUsageError, match=r"before reset\(\)"):
        env.source()
    for begin in (lambda: env.reset(seed=0), lambda: env.step(np.zeros(2, int))):
        told, sources = begin()[-1], env.source()
        assert sources == tuple({"seed": 100 + spawn} for spawn in told["spawn"])
        for source in sources:
            assert source is not None
            source["seed"] = -1
    forks = env.fork(2)
    assert forks.source() == tuple({"seed": 100 + s} for s in told["spawn"].repeat(2))
    env.reset(options={**OWN, "reset_mask": np.array([True, False])})
    assert env.source() == (None, {"seed": 100 + told["spawn"][1]})


@pytest.mark.parametrize("wrap", [lambda env: env, RevisitedEnv, WithMemory])
def test_a_real_environment_at_spawns_tells_the_same_at_every_reset_and_step(
    debug_checkpoint: Path, wrap: Callable
) -> None:
    sources = load_spawns(debug_checkpoint).sources
    kind: dict = {"checkpoint": debug_checkpoint} if wrap is WithMemory else {}
    env = wrap(SpawnedEnv(NumpyCountingEnv(length=60), sources), **kind)
    infos = list(infos_of(env, None, {"source": SOURCE}, {"source": SOURCE}))
    assert all(kinds(i) == {"count": ("<i8", ()), "spawn": ("<i8", ())} for i in infos)
    assert infos[0]["spawn"] >= 0 and infos[-1]["spawn"] == -1
    assert env.get_wrapper_attr("source")() == SOURCE
    frames, actions = env.get_wrapper_attr("episode_context")()
    assert frames.shape == (3, 8, 8, 3) and actions.tolist() == [1, 2]


def test_vectors_of_real_environments_at_spawns_are_batched(debug_checkpoint: Path) -> None:
    """And begin with the memory of their spawns, whoever batches them and wraps the batch."""
    sources = load_spawns(debug_checkpoint).sources
    makers = [lambda: SpawnedEnv(NumpyCountingEnv(length=60), sources)] * 2
    recorded = gymnasium.wrappers.vector.RecordEpisodeStatistics(SyncVectorEnv(makers))
    env = WithMemoryVector(recorded, debug_checkpoint)
    _, info = env.reset(seed=0)
    for told in (info, env.step(np.zeros(2, int))[-1]):
        assert kinds(told) == {
            "count": ("<i8", (2,)),
            "_count": ("|b1", (2,)),
            "spawn": ("<i8", (2,)),
            "_spawn": ("|b1", (2,)),
        }
    assert env.unwrapped.call("source") == tuple(sources[spawn] for spawn in info["spawn"])
    stable = VecWithMemory(make_vec_env(makers[0], 2, seed=0), debug_checkpoint)
    watched = stable.reset()["memory"]
    single = WithMemory(makers[0](), debug_checkpoint)
    for i in range(2):
        np.testing.assert_allclose(watched[i], single.reset(seed=i)[0]["memory"], atol=1e-4)


def test_a_vector_that_is_no_real_environment_begins_with_its_first_frames(
    debug_checkpoint: Path,
) -> None:
    dreams = DreamVectorEnv(2, debug_checkpoint, dtype="float32")
    env = WithMemoryVector(dreams, debug_checkpoint, dtype="float32")
    shown, _ = env.reset(seed=0)
    assert (shown["frame"] == dreams.spawns.frames[dreams.reset(seed=0)[1]["spawn"], -1]).all()


class NumpyCountingEnv(FreshCountingEnv):
    """Tells its count as a NumPy scalar."""

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        frame, info = super().reset(**kwargs)
        return frame, {"count": np.int64(info["count"])}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        *rest, info = super().step(action)
        return *rest, {"count": np.int64(info["count"])}  # type: ignore[return-value]


def test_the_maze_tells_the_same_at_every_reset_and_step() -> None:
    env = MemoryMazeEnv(7, extra_obs=True)
    told = [kinds(info) for info in (env.reset(seed=0)[1], env.step(1)[-1], env.reset(seed=1)[1])]
    assert told[0] and told[0] == told[1] == told[2]
    env.close()
