"""`OtherPythonEnv`: an environment that runs in a Python of its own, as one of Gymnasium's."""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np

from dreamenv.core.errors import (
    ConfigError,
    EnvironmentProcessError,
    InvalidActionError,
    MissingDependencyError,
    ResetNeededError,
)
from dreamenv.real.other_python.process import GRACE, EnvironmentProcess, text_of
from dreamenv.real.other_python.spaces import (
    names_of,
    parts_left_out,
    plain_action,
    space_of,
    value_of,
)

STEP_SECONDS, RESET_SECONDS = 300.0, 300.0
SEEDS = 2**31
"""Seeds are below; old environments take no larger ones."""


class OtherPythonEnv(gymnasium.Env[Any, Any]):
    """An environment of the old Gym API, or the new one, that runs in another interpreter.

    Observations and actions are the environment's own, in Gymnasium's spaces: a MineRL enum is a
    `Discrete` that numbers its texts (`names`), parts of observations that are no numbers are left
    out (`left_out`). Seeded by `reset`; without a seed, the next of the stream that began with the
    last one is taken, so that every episode is another and all are decided.

    Args:
        game: id of the environment there, "module:Id-v0" to import a module first.
        python: interpreter that has it, or the folder of its virtual environment; "" for this one.
        arguments: of the environment.
        path: folders to import from, before those of the interpreter.
        alone: let it work in an empty folder that is removed at the end.
        step_seconds: that a step may take.
        reset_seconds: that making it or a reset may take.
        grace: seconds that it has to close.
        spare: an end without a reason that comes at most so many steps before the environment's own
            limit of steps is one by time.
        render_mode: None or "rgb_array", which returns the only picture among the observations.

    Attributes:
        names: path of every enum among the actions → what its numbers are called.
        left_out: paths of observations that are no numbers.

    Raises:
        ConfigError: there is no such interpreter or environment, or its actions are no numbers.
        MissingDependencyError: the interpreter lacks a module.
        EnvironmentProcessError: it failed otherwise.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(
        self,
        game: str,
        python: str = "",
        arguments: dict[str, Any] | None = None,
        path: list[str] | None = None,
        *,
        alone: bool = False,
        step_seconds: float = STEP_SECONDS,
        reset_seconds: float = RESET_SECONDS,
        grace: float = GRACE,
        spare: int = 0,
        render_mode: str | None = None,
    ) -> None:
        if not game or not isinstance(game, str):
            raise ConfigError("name the environment: --env-kwargs game=module:Id-v0 python=PATH")
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode is None or 'rgb_array', not {render_mode!r}.")
        self.game, self.render_mode, self._spare = game, render_mode, spare
        self._seconds = {"step": step_seconds, "reset": reset_seconds, "make": reset_seconds}
        self._started = (python, game.rpartition(":")[2], alone, grace)
        folders = [os.path.abspath(os.path.expanduser(each)) for each in path or []]
        self._made = {"game": game, "arguments": arguments or {}, "path": folders}
        self._process: EnvironmentProcess | None = None
        self._steps: int | None = None
        self._picture: np.ndarray | None = None
        told = self._start()
        try:
            self._read(told)
        except BaseException:
            self.close()
            raise

    def _read(self, told: dict[str, Any]) -> None:
        """Take over what a made environment says of itself."""
        try:
            seen, acts = space_of(told["observation"]), space_of(told["action"])
            self.left_out = parts_left_out(told["observation"])
            lost, self.names = parts_left_out(told["action"]), names_of(told["action"])
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise EnvironmentProcessError(
                f"{self.game} has spaces of another form: {error}"
            ) from error
        if lost or acts is None:
            raise ConfigError(
                f"the actions {', '.join(map(repr, lost))} of {self.game} are no numbers; register "
                "it there with a wrapper that leaves them out"
            )
        if seen is None:
            raise ConfigError(f"the observations of {self.game} are no numbers")
        self.observation_space, self.action_space = seen, acts
        limit = told.get("limit")
        self._limit = limit if type(limit) is int else None

    @property
    def process(self) -> EnvironmentProcess | None:
        """The process that serves it, None after `close`."""
        return self._process

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, in a new process where the last one failed. `options` is not used."""
        super().reset(seed=seed)
        # Asked at every reset: environments of the old API forget their seed after one.
        drawn = int(self.np_random.integers(SEEDS)) if seed is None else int(seed) % SEEDS
        if self._process is None or not self._process.usable:
            self._start()
        self._steps = None
        told = self._ask("reset", seed=drawn)
        observation = self._seen(told)
        self._steps = 0
        return observation, self._info(told)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one action.

        Raises:
            ResetNeededError: before the first reset, or after an episode's end.
            InvalidActionError: the action is outside the action space.
            EnvironmentProcessError: the environment failed; `reset` starts it anew.
        """
        if self._steps is None:
            raise ResetNeededError("there is no episode to step through; call reset first")
        if not self.action_space.contains(action):
            raise InvalidActionError(f"Action {action!r} is outside {self.action_space}.")
        steps, self._steps = self._steps + 1, None
        told = self._ask("step", action=plain_action(self.action_space, action))
        observation, info = self._seen(told), self._info(told)
        reward = told.get("reward")
        terminated, truncated = bool(told.get("terminated")), told.get("truncated")
        if not isinstance(reward, float):
            raise self._failed("step", f"its reward is {reward!r}")
        if truncated is None:  # an old environment that says nothing of time
            late = self._limit is not None and steps >= self._limit - self._spare
            terminated, truncated = terminated and not late, terminated and late
        if not (terminated or truncated):
            self._steps = steps
        return observation, reward, terminated, bool(truncated), info

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The last picture in mode "rgb_array", otherwise None."""
        if self.render_mode is None or self._picture is None:
            return None
        return self._picture.copy()

    def close(self) -> None:
        """End the process; safe to call twice."""
        process, self._process, self._steps = self._process, None, None
        if process is not None:
            process.end()

    def _start(self) -> dict[str, Any]:
        if self._process is not None:
            self._process.end()
        self._process = EnvironmentProcess(*self._started)
        try:
            return self._ask("make", **self._made)
        except BaseException:
            self.close()
            raise

    def _ask(self, do: str, **told: Any) -> dict[str, Any]:
        assert self._process is not None
        answer = self._process.ask(do, self._seconds[do], **told)
        if "error" in answer:
            raise self._raised(do, answer["error"])
        return answer

    def _raised(self, do: str, error: dict[str, Any]) -> Exception:
        """What is raised here of what the environment raised there."""
        assert self._process is not None
        kinds, text = error.get("kinds", ()), text_of(error)
        if do == "make" and "ImportError" in kinds:
            return MissingDependencyError(
                f"{self._process.python} cannot make {self.game}: {text}; install it there, or "
                "name the Python that has it: --env-kwargs python=PATH",
                name=error.get("module"),
            )
        if do == "make" and error.get("kind") == "LookupError":
            return ConfigError(f"{self._process.python}: {error.get('text')}")
        return self._failed(do, text)

    def _failed(self, do: str, why: str) -> EnvironmentProcessError:
        return EnvironmentProcessError(f"{self.game} failed to {do}: {why}")

    def _seen(self, told: dict[str, Any]) -> Any:
        try:
            observation = value_of(self.observation_space, told.get("observation"))
        except ValueError as error:
            raise self._failed("be observed", str(error)) from None
        if self.render_mode is not None:
            self._picture = _only_picture(observation)
        return observation

    def _info(self, told: dict[str, Any]) -> dict[str, Any]:
        info = told.get("info")
        return dict(info) if isinstance(info, dict) else {}


def _only_picture(observation: Any) -> np.ndarray | None:
    """The first RGB picture of an observation."""
    if isinstance(observation, dict | tuple):
        parts = observation.values() if isinstance(observation, dict) else observation
        return next((found for part in parts if (found := _only_picture(part)) is not None), None)
    picture = np.asarray(observation)
    fits = picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    return picture if fits else None
