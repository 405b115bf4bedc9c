"""Real environments: alone, beside a dream at the same start, and when they fail."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from counting_env import step_of

from dreamenv.play.limits import Limits
from dreamenv.play.pictures import decode
from dreamenv.play.session import Session
from dreamenv.play.stage import Stage, StageConfig
from dreamenv.rollouts.store import RolloutStore
from tests.play.conftest import Talk

ENV = "counting_env:FreshCounting-v0"


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_an_environment_is_played_without_a_dream_gone_back_in_and_kept(
    tmp_path: Path, loop: asyncio.AbstractEventLoop
) -> None:
    config = StageConfig(env=ENV, env_kwargs={"length": 6}, out=tmp_path)
    stage = Stage(config, Limits(real=1))
    me = Talk(Session(stage), loop.run_until_complete)
    assert me.told("begun")["dreams"] is False and len(me.told("begun")["controls"]) == 5
    me.say("begin", seed=7)
    me.tick(4)
    assert step_of(decode(me.pictures[0])) == 4 and me.header["real"]["return"] == 5.0
    me.say("go", step=2)
    me.say("step", action=3, n=1)
    assert step_of(decode(me.pictures[0])) == 3 and me.header["last"] == 3
    me.say("save", what="rollout")
    store = RolloutStore(tmp_path / "rollouts" / "FreshCounting-v0")
    episode = store.read(0)
    assert episode.seed == 7 and episode.action.tolist() == [0, 0, 3] and episode.truncated[-1]
    assert [step_of(frame) for frame in episode.observation] == [0, 1, 2, 3]
    me.say("save", what="start")
    assert "only a dream" in me.told("notice")["text"]
    me.say("pause", on=False)
    assert me.tick(3)["over"] == "terminated"
    loop.run_until_complete(me.session.close())
    stage.close()


def test_beside_a_dream_it_begins_at_the_same_frame_takes_the_same_actions_and_may_fail(
    debug_checkpoint: Path, tmp_path: Path, loop: asyncio.AbstractEventLoop
) -> None:
    config = StageConfig((str(debug_checkpoint),), ENV, {"length": 500}, out=tmp_path)
    stage = Stage(config, Limits(real=1))
    me = Talk(Session(stage), loop.run_until_complete)
    me.tick(2)
    assert me.header["worlds"] == ["dream"]
    me.say("real", on=True)
    assert me.header["worlds"] == ["dream", "real"] and me.told("begun")["real"]
    source = me.session._begun.source  # type: ignore[union-attr]
    assert source is not None
    beginning = me.session.timeline.rows[0].real
    assert beginning is not None
    assert step_of(decode(beginning.picture)) == len(source["actions"])
    assert step_of(decode(me.pictures[1])) == len(source["actions"]) + 2
    assert me.tick(3)["step"] == 5
    assert step_of(decode(me.pictures[1])) == len(source["actions"]) + 5
    me.say("save", what="rollout")
    real = RolloutStore(tmp_path / "rollouts" / "FreshCounting-v0").read(0)
    assert len(real) == len(source["actions"]) + 5 and real.seed == source["seed"]
    np.testing.assert_array_equal(real.action[: len(source["actions"])], source["actions"])

    other = Talk(Session(stage), loop.run_until_complete)
    other.say("real", on=True)
    assert "in use" in other.told("notice")["text"] and other.tick()["step"] == 1

    world = me.session.worlds.real
    assert world is not None and world._process.pid is not None
    os.kill(world._process.pid, signal.SIGKILL)
    header = me.tick()
    assert "is gone" in me.told("notice")["text"] and header["step"] == 6
    assert me.tick()["worlds"] == ["dream"]
    other.say("real", on=True)  # its place is free again
    assert other.header["worlds"] == ["dream", "real"]
    for each in (me, other):
        loop.run_until_complete(each.session.close())
    stage.close()
