"""A stage with the untrained model and the counting environment, and a way to ask a session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dreamenv.play.limits import Limits
from dreamenv.play.messages import read_message, unpack
from dreamenv.play.session import Out, Session
from dreamenv.play.stage import Stage, StageConfig


@pytest.fixture(scope="session")
def stage(debug_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Dreams of the untrained model, whose frames are 64×64, and no real environment of that size.

    It is shared: nothing that a session does may reach another one.
    """
    config = StageConfig(
        checkpoints=(str(debug_checkpoint),),
        env="counting_env:FreshCounting-v0",
        env_kwargs={"length": 500},
        out=tmp_path_factory.mktemp("played"),
        horizon=60,
    )
    made = Stage(config, Limits(state_bytes=2**22))
    yield made
    made.close()


class Talk:
    """A session and what it has answered, called from ordinary code."""

    def __init__(self, session: Session, run: Callable[[Any], Any]) -> None:
        self.session, self._run = session, run
        self.said: list[Out] = run(session.welcome("token"))

    def say(self, kind: str, **values: Any) -> list[Out]:
        """What is answered to a message."""
        message = read_message(json.dumps({"type": kind, **values}))
        self.said = self._run(self.session.handle(message))
        return self.said

    def tick(self, count: int = 1) -> dict[str, Any]:
        """The header of the frame after some steps."""
        for _ in range(count):
            self.said = self._run(self.session.tick()) or self.said
        return self.header

    @property
    def header(self) -> dict[str, Any]:
        """Of the last frame."""
        return unpack(next(x for x in reversed(self.said) if isinstance(x, bytes)))[0]

    @property
    def pictures(self) -> list[bytes]:
        """Of the last frame."""
        return unpack(next(x for x in reversed(self.said) if isinstance(x, bytes)))[1]

    def told(self, kind: str) -> dict[str, Any]:
        """The last message of a kind."""
        found = [x for x in self.said if isinstance(x, dict) and x["type"] == kind]
        return found[-1]


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The loop of all sessions."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def talk(stage: Stage, loop: asyncio.AbstractEventLoop) -> Iterator[Callable[[], Talk]]:
    """Makes sessions, and ends them after the test."""
    made: list[Talk] = []

    def make() -> Talk:
        made.append(Talk(Session(stage), loop.run_until_complete))
        return made[-1]

    yield make
    for each in made:
        loop.run_until_complete(each.session.close())
