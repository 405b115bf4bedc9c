"""Reading a rollout store: whole episodes or stretches of one, decoding only what is asked for."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from gymnasium.spaces import Box

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.arrays import (
    STEP_FIELDS,
    check_layouts,
    field_types,
    open_arrays,
    shard_files,
    total_bytes,
)
from dreamenv.rollouts.episode import Episode, impossible
from dreamenv.rollouts.failure import Failure
from dreamenv.rollouts.integrity import SHARD_ROWS, check_shard
from dreamenv.rollouts.journal import read_journal
from dreamenv.rollouts.pictures import PICTURE
from dreamenv.rollouts.provenance import Provenance
from dreamenv.rollouts.spaces import ActionSpace, require_image_space, space_from_dict
from dreamenv.rollouts.writer import JOURNAL, RolloutWriter

__all__ = ["Episode", "RolloutStore", "RolloutWriter"]

# Actions, rewards and flags are small, and a window of them costs as much to fetch as the whole
# episode's: this many episodes of them are kept decoded.
CACHED_EPISODES = 2048
PER_FILE = ("bytes", "digests")


class RolloutStore:
    """The committed episodes of a rollout store, read-only.

    May be opened while a writer appends: it holds the episodes committed at that moment.

    Attributes:
        env_id: the environment's id.
        observation_space: uint8 Box (H, W, C).
        action_space: see `dreamenv.rollouts.spaces.require_action_space`.
        metadata: what the writer was given.
        lengths: (E,) int64, steps of each episode.
        seeds: E reset seeds; None where nobody knows.
        policies: E names; "" where nobody knows.
        provenance: for each episode where it was taken from, None if it was recorded here.
        returns: (E,) float64, sum of rewards of each episode.
        reward_events: (E,) int64, steps with a reward other than 0.
        skipped: seeds that failed while collecting and are not among the episodes.

    Raises:
        RolloutError: there is no store at `path`, or committed data is missing or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        header, self._records, _ = read_journal(self.path / JOURNAL)
        try:
            self.env_id: str = header["env_id"]
            observation_space = space_from_dict(header["observation_space"])
            self.observation_space: Box = require_image_space(observation_space)
            self.action_space: ActionSpace = space_from_dict(header["action_space"])
            self.metadata: dict[str, Any] = header["metadata"]
            self.lengths = np.array([r["steps"] for r in self._records], np.int64)
            self.seeds: list[int | None] = [r["seed"] for r in self._records]
            self.policies = [str(r["policy"]) for r in self._records]
            self.returns = np.array([r["return"] for r in self._records], np.float64)
            self.reward_events = np.array([r["reward_events"] for r in self._records], np.int64)
            info = {f"info/{key}" for r in self._records for key in r["info"]}
            self._starts = [int(r["start"]) for r in self._records]
            self.provenance = [
                Provenance.from_plain(r["provenance"]) if "provenance" in r else None
                for r in self._records
            ]
            failures = [plain for r in self._records for plain in r.get("skipped", ())]
            self.skipped = [Failure.from_plain(plain) for plain in failures]
        except KeyError as error:
            raise RolloutError(f"{self.path / JOURNAL} lacks the entry {error}") from error
        if not isinstance(self.env_id, str) or not isinstance(self.metadata, dict):
            raise RolloutError(f"{self.path / JOURNAL} is damaged; restore it from a copy")
        types = field_types(self.observation_space, self.action_space)
        names = [*types, *sorted(info)]
        self._layouts = check_layouts(self.path, names, types, self._records)
        try:
            self._arrays = open_arrays(self.path, names, "r")
        except Exception as error:  # whatever Zarr meets
            raise RolloutError(
                f"the rollout store {self.path} is incomplete ({error}); restore it from a copy"
            ) from error
        self._check_files(set(types))
        self._checked: set[Path] = set()
        self._steps: OrderedDict[int, dict[str, np.ndarray]] = OrderedDict()

    @property
    def image_key(self) -> str:
        """The entry of the environment's observations that the frames are; "" if of all."""
        picture = self.metadata.get(PICTURE)
        return str(picture.get("key", "")) if isinstance(picture, dict) else ""

    @property
    def num_episodes(self) -> int:
        """Number of committed episodes."""
        return len(self._records)

    @property
    def num_steps(self) -> int:
        """Number of environment steps in all episodes."""
        return int(self.lengths.sum())

    @property
    def stored_bytes(self) -> int:
        """Compressed bytes of all committed episodes."""
        return sum(sum(record["bytes"].values()) for record in self._records)

    @property
    def identities(self) -> list[str]:
        """Texts that tell episodes apart unread: seed, length, return, size on disk."""
        names = ("seed", "steps", "return", "bytes")
        return [json.dumps([r[name] for name in names], sort_keys=True) for r in self._records]

    @cached_property
    def contents(self) -> list[str]:
        """Texts of which equal ones belong to episodes of equal content, in any store.

        They are digests of what was written. Where an earlier version took none, where an episode
        stands in its store, and what tells it apart unread, stand in for them.
        """
        texts = []
        for i, (record, known) in enumerate(zip(self._records, self.identities, strict=True)):
            held = [record.get(name) for name in ("digests", "steps")]
            told = json.dumps(held if held[0] else [i, known], sort_keys=True)
            texts.append(hashlib.blake2b(told.encode(), digest_size=16).hexdigest())
        return texts

    def read(self, episode: int, start: int = 0, stop: int | None = None) -> Episode:
        """Read observations `start`..`stop` inclusive and steps `start`..`stop - 1`.

        Args:
            episode: index in [0, num_episodes).
            start: first observation, 0 <= start <= stop.
            stop: last observation, at most the episode's length (the default).

        Raises:
            RolloutError: indices are out of range, or the stored bytes are damaged.
        """
        if not 0 <= episode < self.num_episodes:
            raise RolloutError(f"{self.path} has episodes 0..{self.num_episodes - 1}: {episode}?")
        length = int(self.lengths[episode])
        stop = length if stop is None else stop
        if not 0 <= start <= stop <= length:
            raise RolloutError(
                f"episode {episode} has observations 0..{length}; {start}..{stop} is no stretch"
            )
        steps = self.read_steps(episode)
        record = self._records[episode]
        info = {key: self._rows(f"info/{key}", episode, start, stop + 1) for key in record["info"]}
        return Episode(
            observation=self._rows("observation", episode, start, stop + 1),
            **{name: steps[name][start:stop].copy() for name in STEP_FIELDS},
            seed=self.seeds[episode],
            policy=self.policies[episode],
            info=info,
            provenance=self.provenance[episode],
        )

    def read_info(self, episode: int) -> dict[str, np.ndarray]:
        """The infos of a whole episode, (T+1, …) each, without its frames."""
        stop = int(self.lengths[episode]) + 1
        keys = self._records[episode]["info"]
        return {key: self._rows(f"info/{key}", episode, 0, stop) for key in keys}

    def read_steps(self, episode: int) -> dict[str, np.ndarray]:
        """Action, reward, terminated and truncated of a whole episode, without its frames."""
        steps = self._steps.get(episode)
        if steps is None:
            length = int(self.lengths[episode])
            steps = {name: self._rows(name, episode, 0, length) for name in STEP_FIELDS}
            problem = impossible(steps, self._records[episode], self.action_space)
            if problem:
                raise RolloutError(
                    f"{self.path}: episode {episode} is not what was recorded, {problem}; the "
                    "store is damaged, restore it from a copy"
                )
            self._steps[episode] = steps
            if len(self._steps) > CACHED_EPISODES:
                self._steps.popitem(last=False)
        return steps

    def _rows(self, name: str, episode: int, start: int, stop: int) -> np.ndarray:
        first = self._starts[episode]
        try:
            self._check_shards(name, episode, first + start, stop - start)
            return np.asarray(self._arrays[name][first + start : first + stop])
        except Exception as error:  # of damaged bytes Zarr raises whatever it meets first
            raise RolloutError(
                f"{self.path}: {name} of episode {episode} cannot be decoded ({error}); "
                "the file is damaged, restore it from a copy"
            ) from error

    def _check_shards(self, name: str, episode: int, row: int, rows: int) -> None:
        """Compare the files that some rows stand in with what was written, once each."""
        layout, array = self._layouts[name], self._arrays[name]
        digests = self._records[episode].get("digests", {}).get(name)
        for file in shard_files(self.path / name, array, row, rows):
            if file not in self._checked:
                shard = row // SHARD_ROWS - self._starts[episode] // SHARD_ROWS
                check_shard(file, layout, digests and digests[shard], digests is not None)
                self._checked.add(file)
            row += SHARD_ROWS

    def _check_files(self, fields: set[str]) -> None:
        # Zarr reads a missing file as zeros; a truncated copy of a store must not pass for data.
        for episode, record in enumerate(self._records):
            names = fields | {f"info/{key}" for key in record["info"]}
            if any(record.get(of, dict.fromkeys(names)).keys() != names for of in PER_FILE):
                raise RolloutError(
                    f"{self.path / JOURNAL} is damaged: it does not tell of the files of episode "
                    f"{episode}; restore it from a copy"
                )
            for name, expected in record["bytes"].items():
                array: zarr.Array = self._arrays[name]
                rows = record["steps"] + (name not in STEP_FIELDS)
                files = shard_files(self.path / name, array, record["start"], rows)
                if array.shape[0] < record["start"] + rows or total_bytes(files) != expected:
                    raise RolloutError(
                        f"{self.path}: {name} of episode {episode} is missing or cut short; "
                        "copy the store again, the whole folder"
                    )
