"""Dreams go on exactly from a state: set, saved, copied, pickled, forked."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.state import DreamState
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.world_model.checkpoint import load_world_model, save_world_model
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.state import State
from tests.dream.counting_dream import install
from tests.dream.stateful import ACTIONS_TAKEN, HORIZON, SLOTS, begin


def play(env: DreamVectorEnv) -> list[Any]:
    """All that the environment returns; ended slots are reset where it does not do so itself."""
    returned: list[Any] = []
    for actions in ACTIONS_TAKEN:
        returned.append(env.step(actions))
        ended = returned[-1][2] | returned[-1][3]
        if env.autoreset_mode == AutoresetMode.DISABLED and ended.any():
            returned.append(env.reset(options={"reset_mask": ended}))
    return returned


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit."""
    return data_equivalence(one, other, exact=True)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_dream_goes_on_from_its_state(
    debug_checkpoint: Path, tmp_path: Path, mode: AutoresetMode
) -> None:
    """In the environment that it was taken from; in another, from a file."""
    env = begin(debug_checkpoint, mode)
    state, path = env.get_state(), tmp_path / "states" / "dream"
    state.save(path)
    first = play(env)
    assert sum(step[3].sum() for step in first if len(step) == 5) >= SLOTS  # episodes have ended
    env.set_state(state)
    assert same(first, play(env))
    arguments: dict[str, Any] = {"observation": "memory", "reward": "sampled"}
    other = DreamVectorEnv(SLOTS, debug_checkpoint, HORIZON, 1, mode, **arguments)
    other.set_state(DreamState.load(path))
    assert same(first, play(other))


def through_pickle(env: Any) -> Any:
    return pickle.loads(pickle.dumps(env))


@pytest.mark.parametrize(
    ("copied", "mode"),
    [(copy.deepcopy, "SameStep"), (through_pickle, "NextStep"), (through_pickle, "Disabled")],
)
def test_copies_go_on_like_the_original(
    debug_checkpoint: Path, copied: Callable[[DreamVectorEnv], DreamVectorEnv], mode: str
) -> None:
    env = begin(debug_checkpoint, mode)
    env.action_space.seed(3)
    twin = copied(env)
    assert twin.loaded is env.loaded  # one model for all
    assert np.array_equal(twin.action_space.sample(), env.action_space.sample())
    first = play(env)
    assert same(first, play(twin))
    assert vars(twin).keys() == vars(env).keys()


def test_in_every_autoreset_mode_of_a_dream_that_terminates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch)
    for mode in AutoresetMode:
        env = begin(Path("counting"), mode)
        state = env.get_state()
        first = play(env)
        assert sum(step[2].sum() for step in first if len(step) == 5) > 1
        env.set_state(state)
        assert same(first, play(env))
    # In the middle of a next-step reset: the ended slot begins anew in the copy as well.
    env = DreamVectorEnv(1, horizon=1, autoreset_mode="NextStep")
    env.reset(seed=0)
    env.step(np.array([0]))
    state = env.get_state()
    assert state.ended.tolist() == [True]
    began = env.step(np.array([0]))
    env.set_state(state)
    assert same(began, env.step(np.array([0]))) and env.get_state().elapsed.tolist() == [0]
    # Where nothing begins by itself, a dream that has ended does not go on.
    other = DreamVectorEnv(1, horizon=1)
    other.set_state(state)
    with pytest.raises(EnvironmentUsageError, match=r"has ended; call reset\(\)"):
        other.step(np.array([0]))


def test_a_state_stays_as_it_was(debug_checkpoint: Path) -> None:
    """Neither the environment that it was taken from nor those it is set in write into it."""
    env = begin(debug_checkpoint)
    state = env.get_state()
    kept = copy.deepcopy(state)
    env.step(np.ones(SLOTS, np.int64))
    env.set_state(state)
    play(env)
    for (name, one), (_, other) in zip(
        state.memory.named_tensors(), kept.memory.named_tensors(), strict=True
    ):
        assert torch.equal(one, other), name
    for field in dataclasses.fields(DreamState):
        if field.name != "memory":
            one, other = getattr(state, field.name), getattr(kept, field.name)
            assert torch.equal(one, other) if torch.is_tensor(one) else same(one, other), field.name


def test_forks_without_a_seed_share_their_future(debug_checkpoint: Path) -> None:
    """As long as their actions are the same; a single fork is the dream itself."""
    env = begin(debug_checkpoint, dtype="float32")
    state, forks, only = env.get_state(), env.fork(2), env.fork(1)
    assert forks.num_envs == 6 and len(forks.get_state()) == 6
    first = play(env)
    assert same(first, play(only))
    for t, actions in enumerate(ACTIONS_TAKEN[:3]):
        observations, rewards, *_ = forks.step(np.repeat(actions, 2))
        for name, values in observations.items():
            assert np.array_equal(values[0::2], values[1::2]), name
        assert rewards[0::2].tolist() == rewards[1::2].tolist()
        frames = first[t][0]["frame"].astype(int)
        assert np.abs(observations["frame"][0::2] - frames).max() <= 1  # another batch size
    forks.set_state(state.repeat(2))
    observations, *_ = forks.step(np.array([0, 1, 1, 1, 1, 2]))
    equal = [np.array_equal(*observations["frame"][i : i + 2]) for i in (0, 2, 4)]
    assert equal == [False, True, False]


def test_forks_with_a_seed_differ(debug_checkpoint: Path) -> None:
    env = begin(debug_checkpoint, dtype="float32")
    before = play(env.fork(1))
    forks = env.fork(3, seed=7)
    seeded = env.fork(3, seed=7)
    actions = np.ones(9, np.int64)
    observations, *_ = forks.step(actions)
    assert len({frame.tobytes() for frame in observations["frame"]}) == 9
    assert same(observations, seeded.step(actions)[0])
    shifted = env.fork(2, seed=8)  # fork 0 here draws as fork 1 there did, of the same slot
    again = shifted.step(np.ones(6, np.int64))[0]["frame"][0].astype(int)
    assert np.abs(again - observations["frame"][1]).max() <= 1
    assert same(before, play(env))  # to fork leaves the dream as it is


def test_forks_take_arguments_of_their_own(debug_checkpoint: Path) -> None:
    env = begin(debug_checkpoint, "NextStep")
    assert env.fork(2).autoreset_mode == AutoresetMode.NEXT_STEP
    forks = env.fork(2, horizon=9, observation="frame", reward="expected")
    assert (forks.horizon, forks.reward) == (9, "expected")
    observations, *_ = forks.step(np.zeros(6, np.int64))
    assert observations.shape == (6, 64, 64, 3)
    # And a state taken where memory is not shown has it all the same.
    remembering = forks.fork(1, observation="memory")
    state = forks.get_state()
    forks.set_state(state)
    assert np.array_equal(remembering.get_state().features, state.features)


def test_slots_of_a_state(debug_checkpoint: Path) -> None:
    state = begin(debug_checkpoint).get_state()
    assert state.elapsed.tolist() == [2, 1, 2] and len(state.select(1)) == 1
    picked = state.select([2, 1, 2])
    assert picked.elapsed.tolist() == [2, 1, 2] and len(picked.memory.frames) == 3
    assert picked.generators == tuple(state.generators[i] for i in (2, 1, 2))
    assert picked.sources[1] == state.sources[1] is not None
    assert np.array_equal(picked.frames[0], state.frames[2])
    assert state.select(slice(1, None)).elapsed.tolist() == [1, 2]
    assert state.select(state.elapsed > 1).spawns.tolist() == state.spawns[[0, 2]].tolist()
    assert state.repeat(2).elapsed.tolist() == [2, 2, 1, 1, 2, 2]
    with pytest.raises(IndexError):
        state.select(3)


def test_a_single_dream(debug_checkpoint: Path) -> None:
    env = DreamEnv(debug_checkpoint, horizon=3, dtype="float32")
    env.reset(seed=4)
    env.step(1)
    state, twins = env.get_state(), [copy.deepcopy(env), through_pickle(env)]

    def go_on(env: DreamEnv) -> list[Any]:
        return [env.step(2), env.step(0), env.reset(), env.step(1)]

    first = go_on(env)
    assert first[1][3] is True
    env.set_state(state)
    assert same(first, go_on(env))
    assert env.np_random is env.vector.generators[0]
    for twin in twins:
        assert same(first, go_on(twin)) and twin.np_random is twin.vector.generators[0]
    env.set_state(state)
    forks = env.fork(5)
    assert isinstance(forks, DreamVectorEnv) and forks.autoreset_mode == AutoresetMode.SAME_STEP
    frames = forks.step(np.full(5, 2))[0]
    assert all(np.abs(f.astype(int) - first[0][0]).max() <= 1 for f in frames)
    assert env.fork(2, autoreset_mode="Disabled").autoreset_mode == AutoresetMode.DISABLED
    fresh = through_pickle(DreamEnv(debug_checkpoint))
    assert same(fresh.reset(seed=9), DreamEnv(debug_checkpoint).reset(seed=9))


def test_a_pickled_dream_holds_a_reference_and_no_weights(
    debug_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(debug_checkpoint, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    env = gymnasium.make_vec("DreamEnv-v0", 1, checkpoint="model")
    env.reset(seed=0)
    pickled = pickle.dumps(env)
    assert len(pickled) < (tmp_path / "model" / "model.safetensors").stat().st_size
    monkeypatch.chdir("/")  # wakes up in another folder, and knows its id
    twin = pickle.loads(pickled)
    assert same(twin.step(np.array([1])), env.step(np.array([1])))
    assert twin.spec == env.spec is not None
    bundled = DreamEnv(horizon=9)
    assert through_pickle(bundled).vector.horizon == 9


def test_states_of_a_cache_that_grows(debug_checkpoint: Path, tmp_path: Path) -> None:
    model = load_world_model(debug_checkpoint)
    dynamics = dataclasses.replace(model.config.dynamics, scan="none", attention="full")
    torch.manual_seed(0)
    full = WorldModel(dataclasses.replace(model.config, dynamics=dynamics))
    save_world_model(tmp_path, full, {"env_id": "Counting-v0"})
    shutil.copy(debug_checkpoint / "spawns.npz", tmp_path)
    env = begin(tmp_path)
    env.get_state().save(tmp_path / "state")
    first = play(env)
    env.set_state(DreamState.load(tmp_path / "state"))
    assert same(first, play(env))


def test_states_taken_of_some_slots_and_joined_go_on_as_their_dreams(
    debug_checkpoint: Path,
) -> None:
    env = begin(debug_checkpoint, "Disabled")
    first, rest = env.get_state([2]), env.get_state([0, 1])
    assert len(first) == 1 and len(rest) == 2
    np.testing.assert_array_equal(first.frames, env.get_state().frames[2:])
    joined = DreamState.join([first, rest])
    other = DreamVectorEnv(
        SLOTS, debug_checkpoint, HORIZON, 1, "Disabled", observation="memory", reward="sampled"
    )
    other.set_state(joined)
    actions = ACTIONS_TAKEN[0]
    frames, rewards, *_ = env.step(actions)
    moved, paid, *_ = other.step(actions[[2, 0, 1]])
    np.testing.assert_array_equal(moved["frame"], frames["frame"][[2, 0, 1]])
    np.testing.assert_array_equal(paid, rewards[[2, 0, 1]])
    with pytest.raises(EnvironmentUsageError, match="these are 0"):
        DreamState.join([])


def test_caches_of_unequal_age_are_joined(debug_checkpoint: Path, tmp_path: Path) -> None:
    old, young = ({"keys": torch.full((1, n, 2), float(n))} for n in (3, 1))
    states = [
        State([layer], torch.zeros(1, 1), torch.ones(1), torch.tensor([n]), grows=True)
        for layer, n in ((old, 3), (young, 1))
    ]
    keys = State.join(states).layers[0]["keys"]
    assert keys[..., 0].tolist() == [[3, 3, 3], [0, 0, 1]]
