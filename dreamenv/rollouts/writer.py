"""Writing a rollout store. An episode is committed by one line in the journal, written last."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import gymnasium
import numpy as np
import zarr

from dreamenv.core.errors import RolloutError
from dreamenv.core.locks import release_lock, take_lock
from dreamenv.core.reading import is_stray
from dreamenv.rollouts.arrays import (
    check_layouts,
    create_array,
    discard_uncommitted,
    field_types,
    open_arrays,
    rows_taken,
    write_rows,
)
from dreamenv.rollouts.episode import Episode, check_episode
from dreamenv.rollouts.failure import EpisodeError, Failure
from dreamenv.rollouts.integrity import read_layout, require_own
from dreamenv.rollouts.journal import append_record, create_journal, read_journal
from dreamenv.rollouts.spaces import (
    require_action_space,
    require_image_space,
    space_from_dict,
    space_to_dict,
)

JOURNAL = "episodes.jsonl"
LOCK = "writer.lock"


class RolloutWriter:
    """Appends episodes to a store; an existing store of the same environment is continued.

    One writer at a time; any number of readers. After a kill at any moment the store holds every
    episode whose `append` had returned.

    Args:
        path: folder of the store, made if absent.
        env_id: id of the environment the episodes come from.
        observation_space: uint8 Box (H, W, C), C = 1 or 3.
        action_space: see `dreamenv.rollouts.spaces.require_action_space`.
        metadata: plain data kept with the store; a continued store keeps its first.

    Raises:
        RolloutError: the folder holds something else, or a store of another environment or of
            other spaces, or another process is writing to it.
    """

    def __init__(
        self,
        path: str | Path,
        env_id: str,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.env_id = env_id
        self.observation_space = require_image_space(observation_space)
        self.action_space = require_action_space(action_space)
        self._types = field_types(self.observation_space, self.action_space)
        self._lock: IO[bytes] | None = None
        self._num_episodes = self._num_steps = self._reward_events = self._num_skipped = 0
        self._next_row = self._journal_bytes = 0
        self._described: set[str] = set()  # arrays of which the journal knows the layout
        if not (self.path / JOURNAL).exists():
            self._require_own_folder()
        try:
            require_own(self.path, [JOURNAL, LOCK, *self._types])
            self._take_lock()
            if not (self.path / JOURNAL).exists():
                self._create(metadata or {})
            self._open()
        except OSError as error:
            self.close()
            raise RolloutError(f"cannot write to {self.path}: {error}") from error
        except BaseException:
            self.close()
            raise

    @property
    def num_episodes(self) -> int:
        """Number of committed episodes."""
        return self._num_episodes

    @property
    def num_steps(self) -> int:
        """Number of committed environment steps."""
        return self._num_steps

    @property
    def reward_events(self) -> int:
        """Number of committed steps with a reward other than 0."""
        return self._reward_events

    @property
    def num_skipped(self) -> int:
        """Number of committed failures: seeds that were skipped."""
        return self._num_skipped

    def append(self, episode: Episode, skipped: Sequence[Failure] = ()) -> None:
        """Store one whole episode; it is committed when this returns.

        Args:
            episode: what was recorded.
            skipped: failures since the episode before; committed with this one.

        Raises:
            RolloutError: the episode is malformed (NaN reward, frames not uint8, ...), or the disk
                is full. Nothing of it is stored and the episodes before it are untouched. It is an
                `EpisodeError` if the episode fits its spaces, but not the infos stored before.
        """
        if self._lock is None:
            raise RolloutError(f"the writer of {self.path} is closed; open a new RolloutWriter")
        seeded = "" if episode.seed is None else f" (seed {episode.seed})"
        name = f"episode {self.num_episodes}{seeded}"
        check_episode(episode, name, self.observation_space, self.action_space)
        rows = {name: self._fitting(name, values) for name, values in _rows_of(episode).items()}
        try:
            self._write(episode, rows, skipped)
        except OSError as error:
            raise RolloutError(
                f"cannot store {name}: {error}. The {self.num_episodes} episodes "
                f"({self.num_steps} steps) already in {self.path} are safe. Free some disk space, "
                "then run the same command again to continue"
            ) from error

    def close(self) -> None:
        """Release the store for other writers. Closing twice is fine."""
        if self._lock is not None:
            release_lock(self._lock)
            self._lock.close()
            self._lock = None

    def __enter__(self) -> RolloutWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _write(
        self, episode: Episode, rows: dict[str, np.ndarray], skipped: Sequence[Failure]
    ) -> None:
        start = self._next_row
        stored_bytes, digests, layouts = {}, {}, {}
        for name, values in rows.items():
            array, folder = self._array(name, values), self.path / name
            stored_bytes[name], digests[name] = write_rows(folder, array, start, values)
            if name not in self._described:
                layouts[name] = read_layout(folder).digest
        record: dict[str, Any] = {
            "start": start,
            "steps": len(episode),
            "seed": None if episode.seed is None else int(episode.seed),
            "policy": episode.policy,
            "return": float(episode.reward.sum(dtype=np.float64)),
            "reward_events": int(np.count_nonzero(episode.reward)),
            "info": sorted(episode.info),
            "bytes": stored_bytes,
            "digests": digests,
            **({"layouts": layouts} if layouts else {}),
        }
        if episode.provenance is not None:
            record["provenance"] = episode.provenance.to_plain()
        if skipped:
            record["skipped"] = [failure.to_plain() for failure in skipped]
        self._journal_bytes = append_record(self.path / JOURNAL, self._journal_bytes, record)
        self._count(record)

    def _count(self, record: dict[str, Any]) -> None:
        self._num_episodes += 1
        self._num_steps += record["steps"]
        self._reward_events += record["reward_events"]
        self._num_skipped += len(record.get("skipped", ()))
        self._next_row = record["start"] + rows_taken(record["steps"])
        self._described |= record.get("layouts", {}).keys()

    def _fitting(self, name: str, values: np.ndarray) -> np.ndarray:
        """The rows in the type of the store's array, which the first episode decided."""
        array = self._arrays.get(name)
        if array is None:
            return values
        if array.shape[1:] != values.shape[1:]:
            raise EpisodeError(
                f"{name} has rows of shape {values.shape[1:]}, the store's have {array.shape[1:]}"
            )
        fitting = values.astype(array.dtype, copy=False)
        if not np.array_equal(fitting, values, equal_nan=values.dtype.kind == "f"):
            raise EpisodeError(
                f"{name} is {values.dtype}, but was {array.dtype} in the first episode, which "
                "cannot hold all its values; give it one type in the environment"
            )
        return fitting

    def _array(self, name: str, values: np.ndarray) -> zarr.Array:
        if name not in self._arrays:
            require_own(self.path, [name])
            self._arrays[name] = create_array(self.path / name, values.shape[1:], values.dtype)
        return self._arrays[name]

    def _require_own_folder(self) -> None:
        # An interrupted creation leaves some of these names and nothing else.
        own = {*self._types, LOCK}
        if self.path.is_dir():
            names = [p.name for p in self.path.iterdir() if not is_stray(p.name)]
            foreign = [name for name in names if name.lstrip(".") not in own]
            foreign = [name for name in foreign if not name.startswith(f".{JOURNAL}")]
            if foreign:
                raise RolloutError(
                    f"{self.path} is not a rollout store and not empty (it holds {foreign[0]!r}); "
                    "choose another folder"
                )
        elif self.path.exists():
            raise RolloutError(f"{self.path} is a file; choose a folder for the rollout store")

    def _take_lock(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context(open(self.path / LOCK, "ab"))
            if not take_lock(lock):
                raise RolloutError(
                    f"another process is writing to {self.path}; wait for it or choose another "
                    "folder"
                )
            stack.pop_all()
        self._lock = lock

    def _create(self, metadata: dict[str, Any]) -> None:
        for name, (row_shape, dtype) in self._types.items():
            create_array(self.path / name, row_shape, dtype)
        header = {
            "env_id": self.env_id,
            "observation_space": space_to_dict(self.observation_space),
            "action_space": space_to_dict(self.action_space),
            "metadata": metadata,
        }
        create_journal(self.path / JOURNAL, header)

    def _open(self) -> None:
        header, records, self._journal_bytes = read_journal(self.path / JOURNAL)
        self.metadata: dict[str, Any] = header["metadata"]
        if not isinstance(self.metadata, dict):
            raise RolloutError(f"{self.path / JOURNAL} is damaged; restore it from a copy")
        self._require_same("environment", header["env_id"], self.env_id)
        for kind, space in (
            ("observation space", self.observation_space),
            ("action space", self.action_space),
        ):
            stored = space_from_dict(header[kind.replace(" ", "_")])
            self._require_same(kind, stored, space)
        for record in records:
            self._count(record)
        info = {f"info/{key}" for record in records for key in record["info"]}
        names = [*self._types, *sorted(info)]
        require_own(self.path, names)
        check_layouts(self.path, names, self._types, records)
        for name in names:
            discard_uncommitted(self.path / name, self._next_row)
        self._arrays = open_arrays(self.path, names, "r+")

    def _require_same(self, what: str, stored: object, given: object) -> None:
        if stored != given:
            raise RolloutError(
                f"{self.path} holds rollouts with {what} {stored}, not {given}; "
                "choose another folder"
            )


def _rows_of(episode: Episode) -> dict[str, np.ndarray]:
    return {
        "observation": episode.observation,
        "action": episode.action,
        "reward": episode.reward,
        "terminated": episode.terminated,
        "truncated": episode.truncated,
        **{f"info/{key}": array for key, array in episode.info.items()},
    }
