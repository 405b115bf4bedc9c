"""States and seeds that no dream was ever in are refused before anything changes."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import data_equivalence

from dreamenv.core.errors import CheckpointError, EnvironmentUsageError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.state import DreamState
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.world_model.state import State

Change = Callable[[DreamState], DreamState]


@pytest.fixture(scope="module")
def env(debug_checkpoint: Path) -> DreamVectorEnv:
    env = DreamVectorEnv(2, debug_checkpoint, observation="memory")
    env.reset(seed=0)
    env.step(np.array([1, 2]))
    return env


def with_(**parts: Any) -> Change:
    return lambda state: dataclasses.replace(state, **parts)


def of_memory(change: Callable[[State], object]) -> Change:
    """The state with its memory changed in place; the original keeps its own."""

    def forge(state: DreamState) -> DreamState:
        memory = state.memory.clone()
        change(memory)
        return dataclasses.replace(state, memory=memory)

    return forge


def first_generator(**changes: Any) -> Change:
    def forge(state: DreamState) -> DreamState:
        changed = copy.deepcopy(state.generators[0])
        for name, value in changes.items():
            (changed["state"] if name in changed["state"] else changed)[name] = value
        return dataclasses.replace(state, generators=(changed, *state.generators[1:]))

    return forge


def layer(name: str, value: Any) -> Change:
    return of_memory(lambda memory: memory.layers[0].__setitem__(name, value))


FORGED: dict[str, Change] = {
    "negative frame counter": of_memory(lambda m: m.frames.fill_(-5)),
    "huge frame counter": of_memory(lambda m: m.frames.fill_(2**62)),
    "float frame counter": of_memory(lambda m: setattr(m, "frames", m.frames.float())),
    "level above 1": of_memory(lambda m: m.level.fill_(7.0)),
    "level NaN": of_memory(lambda m: m.level.fill_(torch.nan)),
    "latents NaN": of_memory(lambda m: m.latents[0, 0].fill_(torch.nan)),
    "latents of another shape": of_memory(lambda m: setattr(m, "latents", m.latents[:, :3])),
    "latents of integers": of_memory(lambda m: setattr(m, "latents", m.latents.long())),
    "memory infinite": of_memory(lambda m: m.layers[0]["ssm"].fill_(torch.inf)),
    "too few layers": of_memory(lambda m: m.layers.pop()),
    "too many layers": of_memory(lambda m: m.layers.append({})),
    "a layer that no model has": layer("other", torch.zeros(2, 3)),
    "a layer of one slot": layer("keys", torch.zeros(1, 3, 16, 2, 16)),
    "a layer that is no tensor": layer("keys", [1, 2]),
    "a layer without storage": layer("keys", torch.zeros(2, 3, 16, 2, 16, device="meta")),
    "memory that grows": of_memory(lambda m: setattr(m, "grows", True)),
    "no memory": with_(memory=None),
    "features NaN": lambda s: with_(features=s.features * torch.nan)(s),
    "features too few": lambda s: with_(features=s.features[:, 1:])(s),
    "features as an array": lambda s: with_(features=s.features.numpy())(s),
    "uncertainty negative": with_(uncertainty=torch.tensor([-1.0, 0.0])),
    "uncertainty NaN": with_(uncertainty=torch.tensor([0.0, torch.nan])),
    "frames of floats": lambda s: with_(frames=s.frames.astype(float))(s),
    "frames cut": lambda s: with_(frames=s.frames[:, 1:])(s),
    "elapsed negative": with_(elapsed=np.array([-3, 0])),
    "elapsed huge": with_(elapsed=np.array([2**62, 0])),
    "elapsed of floats": with_(elapsed=np.array([1.5, 0])),
    "ended of integers": with_(ended=np.array([0, 2])),
    "spawn that is not there": with_(spawns=np.array([0, 99])),
    "spawn below −1": with_(spawns=np.array([-2, 0])),
    "sources too few": with_(sources=()),
    "sources of text": with_(sources=("a", "b")),
    "generators too few": lambda s: with_(generators=s.generators[:1])(s),
    "generators of text": with_(generators=("a", "b")),
    "generator of another kind": first_generator(bit_generator="MT19937"),
    "generator state negative": first_generator(state=-1),
    "generator state huge": first_generator(state=2**200),
    "generator state a float": first_generator(state=0.5),
    "generator that repeats itself": first_generator(inc=0),
    "generator flag": first_generator(has_uint32=9),
    "fingerprint none": with_(fingerprint=None),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_state_is_refused_and_changes_nothing(env: DreamVectorEnv, name: str) -> None:
    before = env.get_state()
    with pytest.raises(EnvironmentUsageError):
        env.set_state(FORGED[name](before))
    assert_same_state(env.get_state(), before)


def test_what_is_no_state_is_refused(env: DreamVectorEnv) -> None:
    for other in (None, {}, "state", env.get_state().memory):
        with pytest.raises(EnvironmentUsageError, match="a state is a DreamState"):
            env.set_state(other)  # type: ignore[arg-type]


def test_a_state_that_was_taken_is_possible(env: DreamVectorEnv) -> None:
    """Right after a reset, too; of contexts of the caller's; of single precision."""
    state = env.get_state()
    env.reset(seed=1)
    env.set_state(env.get_state())
    env.reset(options={"context": state.frames[0][None]})
    env.set_state(env.get_state())
    env.set_state(state.reseed(5))
    assert_same_state(env.get_state(), state.reseed(5))
    env.set_state(state)


@pytest.mark.parametrize("seed", [-1, 1.5, "3", [3, -1], [0.5, 1], [1], {1: 2}, "ab", object()])
def test_a_reset_that_fails_changes_nothing(env: DreamVectorEnv, seed: Any) -> None:
    """Neither does one with an option that does not fit."""
    before = env.get_state()
    with pytest.raises(EnvironmentUsageError):
        env.reset(seed=seed)
    with pytest.raises(EnvironmentUsageError):
        env.reset(seed=4, options={"spawn": 99})
    assert_same_state(env.get_state(), before)


def test_the_same_seed_gives_the_same_dream_after_a_reset_that_failed(
    debug_checkpoint: Path,
) -> None:
    for env, bad in (
        (DreamVectorEnv(2, debug_checkpoint), [3, -1]),
        (DreamEnv(debug_checkpoint), -1),
    ):
        for seed in (bad, 8):
            with pytest.raises(EnvironmentUsageError):
                env.reset(seed=seed, options={"spawn": -7} if seed == 8 else None)  # type: ignore[arg-type]
        with pytest.raises(EnvironmentUsageError, match="no state before"):
            env.get_state()
        first = env.reset(seed=3)
        state = env.get_state()
        with pytest.raises(EnvironmentUsageError):
            env.reset(seed=5, options={"spawn": -7})
        again = env.reset()
        env.set_state(state)
        assert data_equivalence(env.reset(), again, exact=True)
        assert data_equivalence(env.reset(seed=3), first, exact=True)
        if isinstance(env, DreamEnv):
            assert env.np_random_seed == 3


def test_a_reset_that_fails_while_it_watches_draws_nothing(
    debug_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = DreamVectorEnv(2, debug_checkpoint)
    env.reset(seed=0)
    before = env.get_state()

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(type(env._slots._start_states), "__getitem__", fail)
    for seed in (None, 5):
        with pytest.raises(MemoryError):
            env.reset(seed=seed)
        assert_same_state(env.get_state(), before)


@pytest.mark.parametrize("seed", [-1, 0.5, "x", None])
def test_a_seed_for_other_futures_is_an_integer(env: DreamVectorEnv, seed: Any) -> None:
    with pytest.raises(EnvironmentUsageError, match="a seed is an integer of at least 0"):
        env.get_state().reseed(seed)


def test_a_flipped_bit_in_a_saved_dream_is_noticed(env: DreamVectorEnv, tmp_path: Path) -> None:
    path = tmp_path / "dream"
    env.get_state().save(path)
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(8, len(whole), 12).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="is no saved dream, or damaged"):
            DreamState.load(path)


def assert_same_state(one: DreamState, other: DreamState) -> None:
    for (name, a), (_, b) in zip(
        one.memory.named_tensors(), other.memory.named_tensors(), strict=True
    ):
        assert torch.equal(a, b), name
    for field in dataclasses.fields(DreamState):
        if field.name != "memory":
            a, b = getattr(one, field.name), getattr(other, field.name)
            assert torch.equal(a, b) if torch.is_tensor(a) else data_equivalence(a, b), field.name
