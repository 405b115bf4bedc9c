"""What a picky user asks of a dream beside reset and step, and how its mistakes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from counting_env import CountingEnv
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import TimeLimit

import dreamenv  # noqa: F401  (registers the ids)
from dreamenv.core.errors import ConfigError, EnvironmentUsageError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.keys import action_meanings, keys_to_action
from dreamenv.dream.memory import WithMemory
from dreamenv.dream.sb3 import DreamVecEnv, make_dream_vec_env
from dreamenv.dream.spaces import action_space
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.world_model.config import ActionConfig
from tests.dream.counting_dream import SIZE, install, shown

HORIZON = 3
INTEGERS = ActionConfig(low=(0, -1), high=(9, 9), dtype="int16")


@pytest.fixture(autouse=True)
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """All dreams of this file count."""
    install(monkeypatch)


def truncated_after(env: Any, action: Any) -> int:
    """Steps from the present moment to the next truncation."""
    for step in range(1, 100):
        if np.any(env.step(action)[3]):
            return step
    raise AssertionError("no end in sight")


def test_the_specification_names_the_horizon() -> None:
    env = gymnasium.make("DreamEnv-MemoryMaze-v0")
    assert env.spec is not None and env.spec.max_episode_steps == 1000
    assert env.get_wrapper_attr("horizon") == 1000
    # Nobody else truncates, so that a longer horizon than the id's is not cut short.
    assert not isinstance(env, TimeLimit)
    longer = gymnasium.make("DreamEnv-MemoryMaze-v0", horizon=40)
    assert longer.spec is not None and longer.spec.max_episode_steps == 40
    longer.reset(seed=0)
    assert truncated_after(longer, 0) == 40
    again = gymnasium.make(longer.spec)
    again.reset(seed=0)
    assert truncated_after(again, 0) == 40
    several = gymnasium.make_vec("DreamEnv-MemoryMaze-v0", 2, horizon=7)
    assert several.spec is not None and several.spec.max_episode_steps == 7
    sync = gymnasium.make_vec("DreamEnv-MemoryMaze-v0", 2, "sync", horizon=7)
    assert sync.get_attr("spec")[0].max_episode_steps == 7
    assert DreamEnv().spec is None


def test_the_horizon_is_set_through_the_environment() -> None:
    env = DreamEnv(horizon=HORIZON)
    env.reset(seed=0)
    env.horizon = 5
    assert (env.horizon, truncated_after(env, 0)) == (5, 5)
    wrapped = gymnasium.make("DreamEnv-v0", horizon=HORIZON)
    wrapped.set_wrapper_attr("horizon", 6)
    wrapped.reset(seed=0)
    assert (wrapped.get_wrapper_attr("horizon"), truncated_after(wrapped, 0)) == (6, 6)
    for wrong in (0, 2.5, float("nan"), "32", None):
        with pytest.raises(ConfigError, match="horizon must be a whole number of at least 1"):
            env.horizon = wrong  # type: ignore[assignment]
    assert env.horizon == 5


def test_seeds_of_slots_can_be_asked_for() -> None:
    env = DreamVectorEnv(3)
    fresh = env.np_random_seed
    assert len(set(fresh)) == 3 and min(fresh) >= 0
    env.reset()
    assert env.np_random_seed == fresh  # as Gymnasium's: asking has seeded them
    env.reset(seed=7)
    assert env.np_random_seed == (7, 8, 9)
    assert env.np_random == tuple(env.generators)
    env.reset(seed=[None, 5, None], options={"reset_mask": np.array([False, True, True])})
    assert env.np_random_seed == (7, 5, 9)
    with pytest.raises(EnvironmentUsageError):
        env.reset(seed=[1, 2, -3])
    assert env.np_random_seed == (7, 5, 9)
    state = env.get_state()
    env.set_state(state)
    assert env.np_random_seed == (-1, -1, -1)  # a state's generators have gone on since
    sync = SyncVectorEnv([DreamEnv] * 2)
    sync.reset(seed=4)
    assert sync.np_random_seed == (4, 5)
    single = DreamEnv()
    single.reset(seed=11)
    assert single.np_random_seed == 11
    single.reset()
    assert single.np_random_seed == 11
    single.set_state(single.get_state())
    assert single.np_random_seed == -1


def test_slots_are_asked_for_attributes_and_methods() -> None:
    env = DreamVectorEnv(3, horizon=HORIZON, render_mode="rgb_array")
    observations, info = env.reset(seed=0)
    assert env.get_attr("horizon") == (HORIZON,) * 3 == env.call("horizon")
    assert env.get_attr("action_space") == (Discrete(4),) * 3
    assert env.get_attr("observation_space") == (env.single_observation_space,) * 3
    assert all(map(np.array_equal, env.call("render"), observations))
    assert env.get_attr("np_random_seed") == (0, 1, 2)
    assert [source["seed"] for source in env.call("source")] == (100 + info["spawn"]).tolist()
    assert env.call("get_action_meanings") == (["0", "1", "2", "3"],) * 3
    states = env.call("get_state")
    assert [len(state) for state in states] == [1, 1, 1]
    assert [shown(state.frames[0]) for state in states] == [shown(o) for o in observations]
    env.set_attr("horizon", 5)
    env.set_attr("horizon", [6, 6, 6])
    assert env.get_attr("horizon") == (6, 6, 6) and truncated_after(env, np.zeros(3, int)) == 6
    for values in ([6, 7, 6], [6, 6], ()):
        with pytest.raises(ConfigError, match="shared by all 3 slots"):
            env.set_attr("horizon", values)
    with pytest.raises(ConfigError, match="horizon must be a whole number"):
        env.set_attr("horizon", 2.5)
    for fixed in ("denoising_steps", "num_envs", "min_trust", "near_rewards"):
        with pytest.raises(ConfigError, match=f"'{fixed}' is fixed when.*fork"):
            env.set_attr(fixed, 1)
    for together in ("reset", "step", "set_state", "fork", "close"):
        with pytest.raises(EnvironmentUsageError, match=f"call env.{together}"):
            env.call(together)
    with pytest.raises(AttributeError):
        env.call("fly")
    assert DreamVectorEnv(2).call("render") == (None, None)
    wrapped = gymnasium.wrappers.vector.RecordEpisodeStatistics(env)
    assert wrapped.np_random_seed == env.np_random_seed


@pytest.mark.parametrize("actions", [ActionConfig(n=4, start=1), INTEGERS])
def test_agents_that_would_act_outside_the_space_are_refused(
    actions: ActionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamenv.dream.vector_env.action_space", lambda _: action_space(actions))
    with pytest.raises(ConfigError, match="would act outside.*TransformAction"):
        DreamVecEnv(2)


def test_a_monitor_reports_episodes_to_stable_baselines3() -> None:
    env = make_dream_vec_env("DreamEnv-v0", 2, seed=0, horizon=HORIZON)
    env.reset()
    infos = [env.step(np.array([1, 2]))[3] for _ in range(HORIZON)][-1]
    assert [(info["episode"]["r"], info["episode"]["l"]) for info in infos] == [(3, 3), (6, 3)]
    assert isinstance(env.unwrapped, DreamVecEnv)


def test_stable_baselines3_cannot_set_what_is_fixed() -> None:
    with pytest.raises(ConfigError, match="'denoising_steps' is fixed"):
        DreamVecEnv(2).set_attr("denoising_steps", 4)


def test_actions_have_names_and_keys() -> None:
    maze = Discrete(6)
    names = ["NOOP", "FORWARD", "LEFT", "RIGHT", "FORWARD+LEFT", "FORWARD+RIGHT"]
    assert action_meanings("MemoryMaze-9x9-v0", maze) == names
    assert action_meanings("Other-v0", Discrete(3, start=-1)) == ["-1", "0", "1"]
    assert keys_to_action("Other-v0", Discrete(2, start=5)) == {(ord("0"),): 5, (ord("1"),): 6}
    with pytest.raises(EnvironmentUsageError, match="not numbered and have no names"):
        action_meanings("Other-v0", Box(0, 1, (2,)))
    assert DreamEnv().get_action_meanings() == ["0", "1", "2", "3"]


def test_errors_of_a_single_dream_do_not_speak_of_slots() -> None:
    env = DreamEnv(horizon=1)
    frames = np.zeros((2, *SIZE, 3), np.uint8)
    mistakes = [
        lambda: env.step(0),
        lambda: env.get_state(),
        lambda: (env.reset(seed=0), env.step(0), env.step(0)),
        lambda: env.step(9),
        lambda: env.step([0]),
        lambda: env.step(True),
        lambda: env.reset(options={"spawn": 99}),
        lambda: env.reset(options={"spawn": [0, 1]}),
        lambda: env.reset(options={"spawn": [[0], [1, 2]]}),
        lambda: env.reset(options={"reset_mask": np.array([True])}),
        lambda: env.reset(options={"context": frames[0]}),
        lambda: env.reset(options={"context": frames}),
        lambda: env.reset(options=["spawn"]),  # type: ignore[arg-type]
        lambda: env.reset(seed=-1),
        lambda: env.set_state(env.get_state().repeat(3)),
        lambda: env.fork(0),
    ]
    for mistake in mistakes:
        with pytest.raises(EnvironmentUsageError) as caught:
            mistake()
        told = str(caught.value)
        assert "slot" not in told and "num_envs" not in told, told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"checkpoint": None}, "checkpoint must be the path of a folder"),
        ({"device": 3.5}, "device must be the name of a torch device"),
        ({"dtype": ["float32"]}, "dtype is one of 'auto', 'float32', 'bfloat16', not"),
    ],
)
@pytest.mark.parametrize("kind", [WithMemory, DreamEnv])
def test_mistaken_types_are_told_wherever_a_checkpoint_is_loaded(
    kind: Any, arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # nothing counts here
    with pytest.raises(ConfigError, match=message):
        kind(**({"env": CountingEnv()} if kind is WithMemory else {}) | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 2.0}, "count must be a whole number of at least 1, not 2.0"),
        ({"length": "6"}, "length must be a whole number"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"rollouts": 3}, "rollouts must be the path of a folder, not 3"),
        ({"checkpoint": None}, "checkpoint must be the path of a folder"),
        ({"horizon": "32"}, "horizon must be a whole number"),
    ],
)
@pytest.mark.parametrize("kind", [DreamEnv, DreamVectorEnv])
def test_mistaken_types_are_told_when_made_from_rollouts(
    kind: Any, arguments: dict[str, Any], message: str, counting_store: Path, debug_checkpoint: Path
) -> None:
    right = {"rollouts": counting_store, "checkpoint": debug_checkpoint, "count": 2, "length": 4}
    with pytest.raises(ConfigError, match=message):
        kind.from_rollouts(**right | arguments)
