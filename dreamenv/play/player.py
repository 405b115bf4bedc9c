"""`Player`: who chooses a session's actions, a person or an agent that has taken over."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Space

from dreamenv.agents.loading import Agent
from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.play.stage import Stage

PERSON = "human"


class Player:
    """Who acts in one session.

    Attributes:
        agent: that has taken over; None where a person plays.
        name: of who acts.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.agent: Agent | None = None
        self.name = PERSON
        self._first = True

    async def choose(self, name: str | None, space: Space, seed: int) -> None:
        """Let an agent take over, or a person with None.

        Raises:
            ConfigError: there is no such agent, or it does not know these actions.
            CheckpointError: it cannot be loaded, or acts elsewhere.
        """
        self.agent = None if name is None else await self._stage.load_agent(name, space, seed)
        self.name = PERSON if name is None else name
        self._first = True

    def begin(self) -> None:
        """What is seen next does not follow what was seen last: the agent forgets."""
        self._first = True

    async def act(self, observation: dict[str, Any]) -> Any:
        """The agent's action, in its plain form.

        Args:
            observation: `frame`, and `memory` where there is a dream.

        Raises:
            EnvironmentUsageError: the agent wants a memory, and there is none.
            CheckpointError: it was trained on other observations.
        """
        agent, first = self.agent, self._first
        assert agent is not None
        if agent.observation == "memory" and "memory" not in observation:
            raise EnvironmentUsageError(
                f"{self.name} observes a world model's memory: it plays dreams, not this"
            )
        batch: Any = {name: np.asarray(value)[None] for name, value in observation.items()}
        given = batch if agent.observation == "memory" else batch["frame"]
        start = np.array([first])
        actions = await self._stage.think(lambda: agent.act(given, start))
        self._first = False
        action = np.asarray(actions)[0]
        return action.ravel().tolist() if action.ndim else action.item()
