"""One person's play: stepping, going back, forking, the real environment beside, keeping it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.play.messages import BadMessageError, unpack
from dreamenv.play.pictures import decode
from dreamenv.play.stage import Stage
from dreamenv.play.timeline import Row, Timeline
from dreamenv.rollouts.store import RolloutStore
from tests.play.conftest import Talk

Make = Callable[[], Talk]


def test_a_session_shows_the_dream_that_its_seed_spawn_and_actions_make(
    talk: Make, debug_checkpoint: Path
) -> None:
    me = talk()
    me.say("begin", seed=5, spawn=2)
    env = DreamVectorEnv(1, debug_checkpoint, observation="memory")
    observation, _ = env.reset(seed=5, options={"spawn": 2})
    np.testing.assert_array_equal(decode(me.pictures[0]), observation["frame"][0])
    for action in (1, 1, 3):
        me.say("act", action=action, n=1)
        header = me.tick()
        observation, rewards, _, _, info = env.step(np.array([action]))
        np.testing.assert_array_equal(decode(me.pictures[0]), observation["frame"][0])
        assert header["action"] == action and header["who"] == "human"
        assert header["dream"]["reward"] == pytest.approx(rewards[0], abs=1e-5)
        assert header["dream"]["uncertainty"] == pytest.approx(info["uncertainty"][0], abs=1e-5)
        assert header["dream"]["expected"] == pytest.approx(env.expected_rewards()[0], abs=1e-5)


def test_going_back_shows_what_was_seen_and_the_same_actions_lead_there_again(talk: Make) -> None:
    me = talk()
    me.say("act", action=1, n=1)
    me.tick(19)
    late = me.pictures
    me.say("go", step=17)
    assert me.header["step"] == 17 and me.header["last"] == 19 and me.header["paused"]
    for _ in range(2):
        me.say("step", action=1, n=2)
    assert me.header["step"] == me.header["last"] == 19 and me.header["n"] == 2
    difference = decode(me.pictures[0]).astype(int) - decode(late[0])
    assert np.abs(difference).max() <= 2  # to rounding


def test_a_fork_keeps_the_way_that_was_gone_and_goes_on_by_other_chances(talk: Make) -> None:
    me = talk()
    me.say("act", action=1, n=1)
    me.tick(3)
    me.say("fork")
    assert [x["name"] for x in me.told("branches")["branches"]] == ["1", "2"]
    me.say("step", action=1, n=1)
    forked = me.pictures[0]
    me.say("branch", index=0)
    assert me.header["last"] == 3 and me.told("branches")["branch"] == 0
    me.say("step", action=1, n=1)
    assert me.header["step"] == 4 and me.pictures[0] != forked
    me.say("branch", index=1)
    assert me.pictures[0] == forked
    me.say("go", step=3)
    me.say("step", action=1, n=1)  # from the fork's own chances again
    assert np.abs(decode(me.pictures[0]).astype(int) - decode(forked)).max() <= 2


def test_an_episode_ends_at_its_horizon_and_another_begins(talk: Make) -> None:
    me = talk()
    me.say("begin", horizon=2)
    assert me.tick(2)["over"] == "horizon"
    assert me.tick()["step"] == 2
    me.say("begin")
    assert me.header["step"] == 0 and me.told("begun")["horizon"] == 2


def test_an_agent_takes_over_and_hands_back(talk: Make) -> None:
    me = talk()
    me.say("agent", name="sticky")
    assert me.tick()["who"] == "sticky" == me.header["agent"]
    me.say("agent", name=None)
    assert me.tick()["who"] == "human" and me.header["agent"] is None
    me.say("agent", name="../../somewhere.zip")
    assert "no agent" in me.told("notice")["text"] and me.tick()["who"] == "human"


def test_mistakes_are_answered_and_change_nothing(talk: Make) -> None:
    me = talk()
    me.tick(2)
    for values in ({"spawn": 99}, {"checkpoint": "/etc"}, {"start": "../x"}):
        me.say("begin", **values)
        assert me.told("notice")["bad"]
    assert me.tick()["step"] == 3
    with pytest.raises(BadMessageError, match="no action"):
        me.say("act", action=77, n=1)
    with pytest.raises(BadMessageError, match="no branch"):
        me.say("branch", index=3)


def test_what_was_played_is_kept_as_film_rollout_and_start_state(talk: Make, stage: Stage) -> None:
    me = talk()
    me.say("save", what="rollout")
    assert "take a step first" in me.told("notice")["text"]
    me.tick(4)
    (film,) = me.say("save", what="gif")
    assert isinstance(film, bytes) and unpack(film)[1][0].startswith(b"GIF8")
    (film,) = me.say("save", what="mp4")
    assert isinstance(film, bytes) and unpack(film)[1][0][4:8] == b"ftyp"
    me.say("save", what="rollout")
    store = RolloutStore(me.told("notice")["text"].removeprefix("stored in "))
    episode = store.read(store.num_episodes - 1)
    assert store.env_id == "DreamEnv-v0" and episode.policy == "human" and len(episode) == 4
    np.testing.assert_array_equal(
        episode.observation[-1],
        decode(me.session.timeline.rows[4].dream.picture),  # type: ignore
    )
    assert episode.truncated.tolist() == [False, False, False, True]
    me.say("save", what="start")
    (name,) = me.told("starts")["starts"]
    last = me.session.timeline.rows[4].dream
    me.say("begin", start=name)
    assert last is not None and me.pictures[0] == last.picture and me.header["step"] == 0
    assert me.told("begun")["start"] == name


def test_sessions_that_step_together_are_one_batch_and_do_not_mix(
    talk: Make, stage: Stage, loop: asyncio.AbstractEventLoop
) -> None:
    alone = talk()
    alone.say("begin", seed=1, spawn=0)
    alone.say("act", action=2, n=1)
    alone.tick(3)
    expected = decode(alone.pictures[0]).astype(int)
    many = [talk() for _ in range(3)]
    for i, each in enumerate(many):
        each.say("begin", seed=1 + i, spawn=i)
        each.say("act", action=2 - i, n=1)
    pool = loop.run_until_complete(stage.pool(next(iter(stage.checkpoints))))
    before = pool.batches, pool.steps

    async def together() -> list:
        return await asyncio.gather(*(each.session.tick() for each in many))

    for _ in range(3):
        said = loop.run_until_complete(together())
    assert (pool.batches - before[0], pool.steps - before[1]) == (3, 9)
    shown = decode(unpack(said[0][0])[1][0]).astype(int)
    assert np.abs(shown - expected).max() <= 2  # slots share only rounding


def test_a_timeline_forgets_states_beyond_its_room_but_never_the_first_or_a_fork(
    stage: Stage, talk: Make
) -> None:
    me = talk()
    state = me.session.timeline.states[0]
    line = Timeline(4 * state.memory.nbytes, [Row()] * 400)
    for step in range(0, 400, 16):
        if line.wants_state(step):
            line.keep_state(step, state, pin=step == 48)
    assert {0, 48} <= line.states.keys() and len(line.states) <= 5
    assert line.state_before(50)[0] == 48
    assert line.fork(40, "2").states.keys() == {s for s in line.states if s <= 40}
