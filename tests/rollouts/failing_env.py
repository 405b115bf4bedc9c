"""Counting environments that fail at some seeds, each in a way of its own."""

from __future__ import annotations

import gc
import os
import signal
import struct
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from counting_env import CountingEnv

FAIL_AT = 2


class FailingEnv(CountingEnv):
    """Fails in step 2, or in the reset, of some seeds.

    After a failure it is in a state that it never recovers from.

    Args:
        how: name of the method that is called there.
        seeds: those that fail; None for all.
        at: "step" or "reset".
        while_exists: fail only as long as this file exists.
        deaths: file with the number of processes that are to die making this environment.
    """

    def __init__(
        self,
        how: str = "explode",
        seeds: Sequence[int] | None = None,
        at: str = "step",
        while_exists: str | None = None,
        length: int = 6,
        deaths: str | None = None,
    ) -> None:
        left = int(Path(deaths).read_text("utf-8")) if deaths else 0
        if deaths and left:
            Path(deaths).write_text(str(left - 1), "utf-8")
            os._exit(7)
        super().__init__(length)
        self.how, self.seeds, self.at = how, seeds, at
        self.while_exists = while_exists
        self.broken = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        if self.broken:
            raise AssertionError("used again after a failure")
        observation, info = super().reset(seed=seed)
        if self.at == "reset":
            observation, _, _, _, info = self._maybe_fail((observation, 0.0, False, False, info))
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, Any]:
        result = super().step(action)
        if self.at == "step" and self.count == FAIL_AT + 1:
            return self._maybe_fail(result)
        return result

    def _maybe_fail(self, result: Any) -> Any:
        mended = self.while_exists is not None and not Path(self.while_exists).exists()
        if mended or (self.seeds is not None and self.seed not in self.seeds):
            return result
        self.broken = self.how != "half_info"  # which is no failure yet
        return getattr(self, self.how)(*result)

    def explode(self, *result: Any) -> Any:
        raise ValueError(f"boom in {object()}")

    def explode_within_numpy(self, *result: Any) -> Any:
        return np.concatenate([np.zeros((1, 2)), np.zeros(3)])

    def leave(self, *result: Any) -> Any:
        raise SystemExit(3)

    def crash(self, *result: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSEGV)

    def vanish(self, *result: Any) -> Any:
        os._exit(7)

    def vanish_while_it_reports(self, *result: Any) -> Any:
        (pipe,) = (thing for thing in gc.get_objects() if isinstance(thing, Connection))
        os.write(pipe.fileno(), struct.pack("!i", 10**6) + b"half of a message")
        os._exit(7)

    def sleep(self, *result: Any) -> Any:
        time.sleep(10**6)

    def float_frame(self, observation: Any, *rest: Any) -> Any:
        return observation / 255, *rest

    def small_frame(self, observation: Any, *rest: Any) -> Any:
        return observation[1:], *rest

    def nan_reward(self, observation: Any, reward: float, *rest: Any) -> Any:
        return observation, float("nan"), *rest

    def vector_reward(self, observation: Any, reward: float, *rest: Any) -> Any:
        return observation, np.zeros(2), *rest

    def text_reward(self, observation: Any, reward: float, *rest: Any) -> Any:
        return observation, "1.0", *rest

    def huge_reward(self, observation: Any, reward: float, *rest: Any) -> Any:
        return observation, 2**24 + 1, *rest

    def no_flag(self, observation: Any, reward: float, terminated: bool, *rest: Any) -> Any:
        return observation, reward, None, *rest

    def no_info(self, *result: Any) -> Any:
        return *result[:-1], {}

    def text_info(self, *result: Any) -> Any:
        return *result[:-1], {"count": "three"}

    def long_info(self, *result: Any) -> Any:
        return *result[:-1], {"count": [1, 2]}

    def ragged_info(self, *result: Any) -> Any:
        return *result[:-1], {"count": [[1], [1, 2]]}

    def half_info(self, *result: Any) -> Any:
        return *result[:-1], {"count": 2.5}

    def old_api(self, *result: Any) -> Any:
        return result[:4]


class ScalingEnv(CountingEnv):
    """Multiplies the action that it is given by ten, in place."""

    def __init__(self) -> None:
        super().__init__(length=6, continuous=True)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        action *= 10
        return super().step(action)


class DimEnv(CountingEnv):
    """Declares values of at most 100, and from frame 11 on shows more."""

    def __init__(self, length: int = 20) -> None:
        super().__init__(length)
        self.observation_space = gymnasium.spaces.Box(0, 100, (8, 8, 3), np.uint8)

    def _frame(self) -> np.ndarray:
        self.buffer[:] = 90 + self.count
        return self.buffer


gymnasium.register("Failing-v0", entry_point="failing_env:FailingEnv")
gymnasium.register("Scaling-v0", entry_point="failing_env:ScalingEnv")
gymnasium.register("Dim-v0", entry_point="failing_env:DimEnv")
gymnasium.register("Limited-v0", entry_point="counting_env:CountingEnv", max_episode_steps=10)
