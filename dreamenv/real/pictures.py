"""`Pictures`: an environment of somebody else as one whose pictures can be dreamt.

Families whose packages register environments of their own offer each of them again, under the id
`Pixels-` and its name: frames of one size, the actions that matter, no reward that the picture
does not explain, and a time limit that a wrapper counts, so that it can be taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from dreamenv.core.errors import (
    ConfigError,
    InvalidActionError,
    MissingDependencyError,
    ResetNeededError,
)
from dreamenv.core.frames import fit_frames

SIZE = 64
"""Height and width of frames, where nobody says otherwise."""


class Pictures(gymnasium.Wrapper):
    """Frames uint8 of one size, of an environment whose observation is, or holds, a picture.

    Frames are made smaller or larger by area averaging. Where the picture is missing, as at the
    end of an episode of VizDoom, the one before stands for it.

    Args:
        env: observes an RGB picture (H, W, 3) uint8, or a Dict with one.
        size: height and width of frames, in pixels; None leaves them as they come.
        key: entry of a Dict observation; "" for the observation itself.
        meanings: what actions are called, as many as there are.
        choose: numbers of the discrete actions to offer; None offers all.
        fps: frames per second of a video of it.
        render_mode: None or "rgb_array", which returns the last frame.

    Raises:
        ConfigError: a size, a render mode or a choice of actions that cannot be had.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        size: int | None = SIZE,
        key: str = "",
        meanings: Sequence[str] = (),
        choose: Sequence[int] | None = None,
        fps: int = 10,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(env)
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode is None or 'rgb_array', not {render_mode!r}.")
        if size is not None and (not isinstance(size, int) or not 8 <= size <= 1024):
            raise ConfigError(f"size is in pixels, 8 to 1024, or None, not {size!r}.")
        self._mode, self._key, self.size = render_mode, key, size
        self._choose = None if choose is None else list(choose)
        names = [str(name) for name in meanings]
        if self._choose is not None:
            there = env.action_space
            if not isinstance(there, spaces.Discrete) or not self._choose:
                raise ConfigError(f"actions are chosen from some discrete ones, not from {there}.")
            if not all(0 <= action < there.n for action in self._choose):
                raise ConfigError(f"actions are numbered 0 to {there.n - 1}, not {self._choose}.")
            self.action_space = spaces.Discrete(len(self._choose))
            names = [names[action] for action in self._choose] if names else []
        self._meanings = names
        shown: Any = env.observation_space[key] if key else env.observation_space  # type: ignore[index]
        shape = shown.shape if size is None else (size, size, 3)
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": fps}
        self._frame: np.ndarray | None = None
        self._over = False

    @property
    def render_mode(self) -> str | None:  # type: ignore[override]
        """None or "rgb_array"."""
        return self._mode

    def get_action_meanings(self) -> list[str]:
        """A name for each action, by which wrappers find the one that does nothing."""
        return [name.upper() for name in self._meanings]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; `seed` and `options` are the environment's own."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._over = False
        return self._show(observation), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one action.

        Raises:
            ResetNeededError: before the first reset, or after an episode's end.
            InvalidActionError: the action is outside the action space.
        """
        if self._frame is None or self._over:
            raise ResetNeededError("there is no episode to step through; call reset first")
        if isinstance(self.action_space, spaces.Discrete):
            if not self.action_space.contains(action):
                raise InvalidActionError(
                    f"Action {action!r} is outside the action space: give one integer from 0 to "
                    f"{int(self.action_space.n) - 1}."
                )
            action = int(action)
            if self._choose is not None:
                action = self._choose[action]
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._over = bool(terminated or truncated)
        return self._show(observation, self._over), float(reward), terminated, truncated, info  # type: ignore[arg-type]

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The last frame in mode "rgb_array", otherwise None."""
        if self._mode is None:
            return None
        if self._frame is None:
            raise ResetNeededError("there is nothing to render; call reset first")
        return self._frame.copy()

    def _show(self, observation: Any, at_end: bool = False) -> np.ndarray:
        picture = np.asarray(observation[self._key] if self._key else observation)
        missing = at_end and not picture.any() and self._frame is not None
        if not missing:
            size = picture.shape[:2] if self.size is None else (self.size, self.size)
            self._frame = fit_frames(np.array(picture), size)
        assert self._frame is not None
        return self._frame.copy()


def need(module: str, family: str, extra: str) -> Any:
    """Import a package that an environment needs.

    Raises:
        MissingDependencyError: it, or something that it needs, is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        missing = error.name or str(error)
        raise MissingDependencyError(
            f"{family} needs {missing}; install it with `pip install '{extra}'`"
        ) from error


def make_bare(module: str, game: str, family: str, extra: str, **kwargs: Any) -> gymnasium.Env:
    """Make an environment of a package by its own id, without its time limit.

    Args:
        module: that registers the id when it is imported.
        game: the id.
        family: for messages.
        extra: what to install.
        kwargs: arguments of the environment.

    Raises:
        MissingDependencyError: the package is not installed.
        ConfigError: there is no such id.
    """
    if module:
        need(module, family, extra)
    try:
        return gymnasium.make(game, max_episode_steps=-1, disable_env_checker=True, **kwargs)
    except gymnasium.error.DependencyNotInstalled as error:
        raise MissingDependencyError(
            f"{family}: {error}; install it with `pip install '{extra}'`"
        ) from error
    except gymnasium.error.UnregisteredEnv as error:
        raise ConfigError(f"there is no game {game!r} among those of {family}: {error}") from None


class PlainReward(gymnasium.Wrapper):
    """Pays 1.0 for reaching a goal, whenever that was, and passes on what is not above 0."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one action."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(np.sign(float(reward))), terminated, truncated, info
