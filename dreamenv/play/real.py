"""`RealWorld`: a real environment in a process of its own, asked from an asyncio program."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dreamenv.core.errors import DreamEnvError
from dreamenv.core.interruption import signals_held_back
from dreamenv.play.real_process import RealMoment, serve
from dreamenv.rollouts.episode import Episode

START, STEP = 300.0, 60.0
"""Seconds that an environment may take to be made or begun, and for a step."""


class RealWorldError(DreamEnvError, RuntimeError):
    """A real environment failed, hung or ended its process; the session goes on without it."""


class RealWorld:
    """One real environment; made by `start`, given up by `close`.

    Attributes:
        about: `action_space`, `observation_space`, and `keys`, those that it knows itself.
    """

    def __init__(self, env_id: str, kwargs: Mapping[str, Any], beside: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, env_id, dict(kwargs), beside), daemon=True
        )
        self.env_id = env_id
        self.about: dict[str, Any] = {}
        self._thread = ThreadPoolExecutor(1, "real")
        self._theirs = theirs

    @classmethod
    async def start(
        cls, env_id: str, kwargs: Mapping[str, Any] | None = None, beside: bool = False
    ) -> RealWorld:
        """Start the process and make the environment.

        Args:
            env_id: Gymnasium id.
            kwargs: arguments of the environment.
            beside: a dream decides when the episode ends, so there is no limit of time.

        Raises:
            RealWorldError: it cannot be made.
        """
        world = cls(env_id, kwargs or {}, beside)
        try:
            world.about = await world._on_thread(world._start)
        except BaseException:
            await world.close()
            raise
        return world

    async def begin(
        self, seed: int, source: Mapping[str, Any] | None, actions: list[Any]
    ) -> list[RealMoment]:
        """Begin an episode at a dream's source or by a seed, and take some actions.

        Raises:
            RealWorldError: it failed, or a step took too long. It is of no further use then.
        """
        return await self._on_thread(self._ask, START, "begin", seed, source, actions)

    async def step(self, action: Any) -> RealMoment:
        """Take one action; errors as for `begin`."""
        return await self._on_thread(self._ask, STEP, "step", action)

    async def go(self, actions: list[Any]) -> tuple[int, bool]:
        """Be where these actions lead from the beginning; see `_World.go`. Errors as `begin`."""
        return await self._on_thread(self._ask, START, "go", actions)

    async def present(self) -> RealMoment:
        """What it shows now, without the reward that led there; errors as `begin`."""
        return await self._on_thread(self._ask, STEP, "present")

    async def episode(self, policy: str) -> Episode:
        """Everything recorded since the reset, by somebody called `policy`; errors as `begin`."""
        return await self._on_thread(self._ask, START, "episode", policy)

    async def close(self) -> None:
        """End the process; safe to call twice."""
        await asyncio.get_running_loop().run_in_executor(None, self.kill)

    def kill(self) -> None:
        """`close`, for programs without a loop."""
        self._connection.close()
        if self._process.pid is not None:
            self._process.kill()
            self._process.join()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _on_thread(self, function: Any, *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, function, *arguments)

    def _start(self) -> dict[str, Any]:
        with signals_held_back():
            self._process.start()
        self._theirs.close()
        return self._receive(START)

    def _ask(self, seconds: float, *request: Any) -> Any:
        try:
            self._connection.send(request)
        except (OSError, ValueError) as error:
            raise self._gone() from error
        return self._receive(seconds)

    def _receive(self, seconds: float) -> Any:
        try:
            if not self._connection.poll(seconds):
                self._process.kill()
                raise RealWorldError(
                    f"{self.env_id} did not answer for {seconds:.0f} seconds and was ended"
                )
            kind, result = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._gone() from error
        if kind == "error":
            raise RealWorldError(f"{self.env_id}: {result}")
        return result

    def _gone(self) -> RealWorldError:
        self._process.join(1)
        return RealWorldError(
            f"the process of {self.env_id} is gone (exit code {self._process.exitcode})"
        )
