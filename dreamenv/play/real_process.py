"""The process in which a real environment lives while somebody plays it: `serve` is its main.

A simulator that crashes, hangs, or fills the memory then ends one session's picture and nothing
else. Everything that happened since the reset is recorded, so that it can be gone back to, and
stored as a rollout.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from dreamenv.core.action_rows import action_of, row_type
from dreamenv.core.errors import DreamEnvError, EnvironmentUsageError
from dreamenv.core.interruption import end_with_parent, leave_signals_to_parent
from dreamenv.core.quiet import silence_gym_notice
from dreamenv.real.replayed import SpawnedEnv
from dreamenv.rollouts.actions import rows_of
from dreamenv.rollouts.episode import Episode

SNAPSHOT_EVERY = 16
"""Steps between two snapshots of environments that can be set back."""


@dataclass(frozen=True)
class RealMoment:
    """What a real environment shows at one step."""

    picture: NDArray[np.uint8]
    """(H, W, 1 or 3)."""
    observation: Any
    """What an agent sees; None if that is the picture."""
    reward: float
    terminated: bool
    truncated: bool
    truth: dict[str, Any]
    """`pose`, `targets`, …: where things are, as plain lists; {} where nothing tells."""


def serve(connection: Connection, env_id: str, kwargs: dict[str, Any], beside: bool) -> None:
    """Make the environment, then do what is asked for until the connection closes.

    Sends ("ready", about) or ("error", message); then for every request ("done", result) or
    ("error", message).
    """
    leave_signals_to_parent()
    end_with_parent()
    silence_gym_notice()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            world = _World(env_id, kwargs, beside)
            connection.send(("ready", world.about()))
        except Exception as error:
            connection.send(("error", _told(error)))
            return
        while True:
            name, *arguments = connection.recv()
            try:
                connection.send(("done", getattr(world, name)(*arguments)))
            except (EOFError, BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:
                connection.send(("error", _told(error)))


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, DreamEnvError) else f"{type(error).__name__}: {error}"


@dataclass
class _Record:
    """Everything since the reset of an episode."""

    seed: int | None = None
    observations: list[Any] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: list[bool] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    snapshots: dict[int, Any] = field(default_factory=dict)

    def cut_after(self, step: int) -> None:
        del self.observations[step + 1 :]
        for rows in (self.actions, self.rewards, self.terminated, self.truncated):
            del rows[step:]
        self.snapshots = {s: x for s, x in self.snapshots.items() if s <= step}


class _Recorder(gymnasium.Wrapper):
    """Records every step of the environment inside."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.record = _Record()
        inner = env.unwrapped
        self._settable = hasattr(inner, "get_state") and hasattr(inner, "set_state")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self.record = _Record(seed, [_copy(observation)])
        self.info = info
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        record, self.info = self.record, info
        record.observations.append(_copy(observation))
        record.actions.append(rows_of(self.action_space, action).copy())
        record.rewards.append(float(reward))
        record.terminated.append(bool(terminated))
        record.truncated.append(bool(truncated))
        if self._settable and len(record.rewards) % SNAPSHOT_EVERY == 0:
            record.snapshots[len(record.rewards)] = self.env.unwrapped.get_state()  # type: ignore[attr-defined]
        return observation, reward, terminated, truncated, info

    def go_back(self, step: int) -> bool:
        """Be at a step of this episode again; False if only a new episode leads there."""
        kept = [s for s in self.record.snapshots if s <= step]
        if not kept:
            return False
        actions = self.record.actions[max(kept) : step]
        self.env.unwrapped.set_state(self.record.snapshots[max(kept)])  # type: ignore[attr-defined]
        self.record.cut_after(max(kept))
        for action in actions:
            self.step(action_of(self.action_space, action))
        return True


class _World:
    def __init__(self, env_id: str, kwargs: dict[str, Any], beside: bool) -> None:
        import dreamenv  # noqa: F401 - registers ids

        # Beside a dream the session ends episodes; a limit would count the steps to the spawn.
        arguments = {**kwargs, **({"max_episode_steps": -1} if beside else {})}
        try:
            env = gymnasium.make(env_id, render_mode="rgb_array", **arguments)
        except (TypeError, gymnasium.error.Error):
            env = gymnasium.make(env_id, **arguments)
        self._recorder = _Recorder(env)
        self._env = SpawnedEnv(self._recorder)
        self._source: Mapping[str, Any] | None = None
        self._before = 0
        self._image = _is_image(env.observation_space)

    def about(self) -> dict[str, Any]:
        """Spaces, and the keys that the environment itself knows."""
        keys: dict[Any, int] = {}
        with contextlib.suppress(Exception):
            keys = dict(self._env.unwrapped.get_keys_to_action())  # type: ignore[attr-defined]
        return {
            "action_space": self._env.action_space,
            "observation_space": self._env.observation_space,
            "keys": keys,
        }

    def begin(self, seed: int, source: Mapping[str, Any] | None, actions: list[Any]) -> Any:
        """Begin where a dream began, or by a seed, and take some actions.

        Returns:
            The moments after the beginning and after each action, up to the episode's end.
        """
        options = None if source is None else {"source": source}
        observation, _ = self._env.reset(seed=seed, options=options)
        self._source, self._seed = source, seed
        self._before = len(self._recorder.record.actions)
        moments = [self._moment(observation)]
        for action in actions:
            moments.append(self.step(action))
            if moments[-1].terminated or moments[-1].truncated:
                break
        return moments

    def step(self, action: Any) -> RealMoment:
        """Take one action."""
        given = action_of(self._env.action_space, self._row(action))
        return self._moment(*self._env.step(given)[:4])

    def go(self, actions: list[Any]) -> tuple[int, bool]:
        """Be where these actions lead to from the beginning of the episode.

        Returns:
            How many of them could be taken before an end, and whether the frame is the one that
            was seen there before, as far as one was.
        """
        record = self._recorder.record
        taken = record.actions[self._before :]
        same = 0
        for old, new in zip(taken, actions, strict=False):
            if not np.array_equal(old, self._row(new)):
                break
            same += 1
        seen = record.observations[self._before + same]
        if same < len(taken) and not self._recorder.go_back(self._before + same):
            self.begin(self._seed, self._source, actions[:same])
        again = self._recorder.record.observations[self._before + same]
        repeatable = _equal(seen, again)
        for step in range(same, len(actions)):
            moment = self.step(actions[step])
            if (moment.terminated or moment.truncated) and step + 1 < len(actions):
                return step + 1, repeatable
        return len(actions), repeatable

    def present(self) -> RealMoment:
        """What it shows now."""
        record = self._recorder.record
        ends = (record.terminated[-1:], record.truncated[-1:])
        return self._moment(record.observations[-1], 0.0, *(bool(any(end)) for end in ends))

    def episode(self, policy: str) -> Episode:
        """What was recorded since the reset, the way to the beginning included.

        Raises:
            EnvironmentUsageError: frames are no images, so that rollouts cannot hold them.
        """
        record, space = self._recorder.record, self._env.action_space
        if not self._image:
            raise EnvironmentUsageError(
                f"rollouts hold frames, uint8 (H, W, 1 or 3), and {self._env.observation_space} "
                "are none"
            )
        shape, dtype = row_type(space)
        ended = np.array(record.terminated, np.bool_)
        truncated = np.array(record.truncated, np.bool_)
        if len(truncated) and not ended[-1]:
            truncated[-1] = True  # whoever played stopped here
        return Episode(
            np.stack(record.observations),
            np.array(record.actions, dtype).reshape(-1, *shape),
            np.array(record.rewards, np.float32),
            ended,
            truncated,
            record.seed,
            policy,
        )

    def _row(self, action: Any) -> NDArray:
        shape, dtype = row_type(self._env.action_space)
        return np.asarray(action, dtype).reshape(shape)

    def _moment(
        self, observation: Any, reward: Any = 0.0, terminated: Any = False, truncated: Any = False
    ) -> RealMoment:
        if self._image:
            picture, other = np.array(observation), None
        else:
            drawn = self._env.render()
            if not isinstance(drawn, np.ndarray):
                raise EnvironmentUsageError(
                    f"{self._env.spec and self._env.spec.id} shows no pictures: its observations "
                    "are none, and it has no render mode 'rgb_array'"
                )
            picture, other = np.array(drawn, np.uint8), observation
        return RealMoment(
            picture, other, float(reward), bool(terminated), bool(truncated), self._truth()
        )

    def _truth(self) -> dict[str, Any]:
        ask = getattr(self._env.unwrapped, "ground_truth", None)
        told = dict(ask()) if callable(ask) else {}
        return {
            name: np.asarray(value).tolist()
            for name, value in {**self._recorder.info, **told}.items()
            if name in TRUTHS and np.asarray(value).dtype.kind in "biuf"
        }


TRUTHS = (
    "agent_pos", "agent_dir", "maze_layout", "targets_pos", "target_index", "target_pos",
)  # fmt: skip
"""Infos, or entries of `ground_truth()`, that a map is drawn from."""


def _is_image(space: gymnasium.Space) -> bool:
    shape = space.shape or ()
    return space.dtype == np.uint8 and len(shape) == 3 and shape[-1] in (1, 3)


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def _equal(first: Any, second: Any) -> bool:
    try:
        return bool(np.array_equal(first, second))
    except (TypeError, ValueError):
        return True
