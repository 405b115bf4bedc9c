"""Episodes begin and end at the right step in every autoreset mode, slot by slot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.vector_env import DreamVectorEnv
from tests.dream.counting_dream import (
    ACTIONS,
    CONTEXT,
    END,
    PlainDream,
    install,
    shown,
)

SCRIPTS = st.integers(1, 4).flatmap(
    lambda slots: st.lists(
        st.lists(st.integers(0, ACTIONS - 1), min_size=slots, max_size=slots),
        min_size=1,
        max_size=14,
    )
)


@pytest.fixture(scope="module", autouse=True)
def counting() -> Any:
    """All dreams of this file count."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        install(monkeypatch)
        yield


def begin(slots: int, horizon: int, mode: AutoresetMode) -> tuple[DreamVectorEnv, list[PlainDream]]:
    env = DreamVectorEnv(slots, horizon=horizon, autoreset_mode=mode)
    observations, info = env.reset(seed=100)
    plain = [PlainDream(100 + i, horizon) for i in range(slots)]
    assert [shown(o) for o in observations] == [(0, p.spawn) for p in plain]
    assert_told(env, info, plain)
    return env, plain


def assert_told(env: DreamVectorEnv, info: dict[str, Any], plain: list[PlainDream]) -> None:
    """All slots tell spawn, uncertainty and trust, and the environment where spawns are from."""
    values = {
        "spawn": [p.spawn for p in plain],
        "uncertainty": [p.count for p in plain],
        "trust": [pytest.approx(1 - p.count / 10) for p in plain],
    }
    for name, expected in values.items():
        assert info[name].tolist() == expected and info[f"_{name}"].all(), name
    assert env.source() == tuple({"seed": 100 + p.spawn} for p in plain)


@settings(max_examples=40)
@given(script=SCRIPTS, horizon=st.integers(1, 5))
def test_same_step(script: list[list[int]], horizon: int) -> None:
    env, plain = begin(len(script[0]), horizon, AutoresetMode.SAME_STEP)
    for actions in script:
        observations, rewards, terminated, truncated, info = env.step(np.array(actions))
        expected = [p.step(a) for p, a in zip(plain, actions, strict=True)]
        ended = [e[2] or e[3] for e in expected]
        last = [(p.spawn, p.count) for p in plain]
        first = [p.begin() if end else None for p, end in zip(plain, ended, strict=True)]
        assert rewards.tolist() == [e[1] for e in expected]
        assert terminated.tolist() == [e[2] for e in expected]
        assert truncated.tolist() == [e[3] for e in expected]
        for i, observation in enumerate(observations):
            assert shown(observation) == (first[i] if ended[i] else expected[i][0])
        assert_told(env, info, plain)
        assert ("final_obs" in info) == ("final_info" in info) == any(ended)
        if any(ended):
            final = info["final_info"]
            assert info["_final_obs"].tolist() == info["_final_info"].tolist() == ended
            assert final["_spawn"].tolist() == final["_trust"].tolist() == ended
            for i in np.flatnonzero(ended):
                assert shown(info["final_obs"][i]) == expected[i][0]
                assert (final["spawn"][i], final["uncertainty"][i]) == last[i]


@settings(max_examples=40)
@given(script=SCRIPTS, horizon=st.integers(1, 5))
def test_next_step(script: list[list[int]], horizon: int) -> None:
    env, plain = begin(len(script[0]), horizon, AutoresetMode.NEXT_STEP)
    ended = [False] * len(plain)
    for actions in script:
        observations, rewards, terminated, truncated, info = env.step(np.array(actions))
        expected = [
            (p.begin(), 0.0, False, False) if end else p.step(a)
            for p, a, end in zip(plain, actions, ended, strict=True)
        ]
        assert [shown(o) for o in observations] == [e[0] for e in expected]
        assert rewards.tolist() == [e[1] for e in expected]
        assert terminated.tolist() == [e[2] for e in expected]
        assert truncated.tolist() == [e[3] for e in expected]
        assert_told(env, info, plain)
        ended = [e[2] or e[3] for e in expected]


@settings(max_examples=40)
@given(script=SCRIPTS, horizon=st.integers(1, 5))
def test_disabled(script: list[list[int]], horizon: int) -> None:
    env, plain = begin(len(script[0]), horizon, AutoresetMode.DISABLED)
    for actions in script:
        observations, rewards, terminated, truncated, info = env.step(np.array(actions))
        expected = [p.step(a) for p, a in zip(plain, actions, strict=True)]
        assert_told(env, info, plain)
        assert [shown(o) for o in observations] == [e[0] for e in expected]
        assert rewards.tolist() == [e[1] for e in expected]
        assert terminated.tolist() == [e[2] for e in expected]
        assert truncated.tolist() == [e[3] for e in expected]
        ended = terminated | truncated
        if not ended.any():
            continue
        with pytest.raises(EnvironmentUsageError, match=r"has ended; call reset\(\)"):
            env.step(np.array(actions))
        observations, info = env.reset(options={"reset_mask": ended})
        now = [p.begin() if end else e[0] for p, end, e in zip(plain, ended, expected, strict=True)]
        assert [shown(o) for o in observations] == now
        for name in ("spawn", "uncertainty", "trust"):
            assert info[f"_{name}"].tolist() == ended.tolist(), name


def test_reset_in_mid_episode_restarts_the_clock_of_the_chosen_slots() -> None:
    env, plain = begin(3, 4, AutoresetMode.SAME_STEP)
    for _ in range(3):
        env.step(np.zeros(3, np.int64))
    observations, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    assert [shown(o)[0] for o in observations] == [3, 0, 3]
    _, _, _, truncated, _ = env.step(np.zeros(3, np.int64))
    assert truncated.tolist() == [True, False, True]
    for step in range(2, 5):
        observations, _, _, truncated, _ = env.step(np.zeros(3, np.int64))
        assert truncated.tolist() == [False, step == 4, False]


def test_a_masked_reset_with_a_seed_reseeds_only_the_chosen_slots() -> None:
    env, plain = begin(2, 9, AutoresetMode.SAME_STEP)
    mask = np.array([False, True])
    observations, _ = env.reset(seed=7, options={"reset_mask": mask})
    assert shown(observations[0]) == (0, plain[0].spawn)
    assert shown(observations[1]) == (0, PlainDream(8, 9).spawn)
    # Slot 0 goes on with the stream it had: its next spawn is that of an undisturbed slot.
    plain[0].step(END)
    observations, *_ = env.step(np.array([END, 0]))
    assert shown(observations[0]) == plain[0].begin()


def test_seeds_one_per_slot_and_none_to_go_on() -> None:
    env, plain = begin(2, 9, AutoresetMode.SAME_STEP)
    observations, _ = env.reset(seed=[5, None])
    assert shown(observations[0]) == (0, PlainDream(5, 9).spawn)
    assert shown(observations[1]) == plain[1].begin()


def test_a_reset_of_more_slots_than_are_watched_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreamenv.dream.slots.RESET_BATCH", 2)
    env, plain = begin(5, 2, AutoresetMode.SAME_STEP)
    assert env.get_state().memory.frames.tolist() == [CONTEXT] * 5
    actions = np.array([0, END, 0, END, END])
    observations, *_ = env.step(actions)
    for i, observation in enumerate(observations):
        expected = plain[i].step(actions[i])[0]
        assert shown(observation) == (plain[i].begin() if actions[i] == END else expected)


def test_a_single_dream_ends_at_its_horizon_and_must_be_reset() -> None:
    env, plain = DreamEnv(horizon=3), PlainDream(4, 3)
    observation, info = env.reset(seed=4)
    assert shown(observation) == (0, plain.spawn)
    assert info == {"spawn": plain.spawn, "uncertainty": 0.0, "trust": 1.0}
    assert env.source() == {"seed": 100 + plain.spawn}
    for _ in range(2):
        for action in (1, 2, 0):
            observation, reward, terminated, truncated, info = env.step(action)
            expected = plain.step(action)
            assert (shown(observation), reward, terminated, truncated) == expected
            assert info == {
                "spawn": plain.spawn,
                "uncertainty": plain.count,
                "trust": pytest.approx(1 - plain.count / 10),
            }
        assert truncated
        with pytest.raises(EnvironmentUsageError, match=r"has ended; call reset\(\)"):
            env.step(0)
        observation, _ = env.reset()
        assert shown(observation) == plain.begin()
    env.step(END)
    with pytest.raises(EnvironmentUsageError, match="has ended"):
        env.step(0)


def test_termination_at_the_horizon_is_a_termination() -> None:
    env = DreamEnv(horizon=2)
    env.reset(seed=0)
    env.step(0)
    _, _, terminated, truncated, _ = env.step(END)
    assert (terminated, truncated) == (True, False)


def test_what_is_returned_stays_as_it_was() -> None:
    """Later steps write into none of the arrays handed out before."""
    env, _ = begin(2, 2, AutoresetMode.SAME_STEP)
    first, *_ = env.step(np.array([0, 1]))
    kept = first.copy()
    *_, info = env.step(np.array([0, 0]))
    told = {name: values.copy() for name, values in info.items() if name != "final_info"}
    final, masks = [o.copy() for o in info["final_obs"]], info["_spawn"].copy()
    for _ in range(3):
        env.step(np.array([1, 1]))
    assert np.array_equal(first, kept)
    assert all(np.array_equal(a, b) for a, b in zip(info["final_obs"], final, strict=True))
    assert np.array_equal(info["_spawn"], masks)
    for name in ("spawn", "uncertainty", "trust"):
        assert np.array_equal(info[name], told[name]), name
