"""Encoded episodes on disk: one growing file per field, mapped into memory and never loaded.

A folder holds a raw array `FIELD.rows` for every field, one row per frame, and `episodes.jsonl`,
whose lines say of which episode which rows are. Rows are only ever added behind those that stand
there, and count once their line is complete: a process may be killed at any moment, and another may
have everything mapped while this one adds. Rows whose checksum differs, or whose line is damaged,
are as if they had never been; their episode is added again.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.core.errors import UnreadableFileError
from dreamenv.core.files import atomic_write_text
from dreamenv.core.json_lines import append_json_line
from dreamenv.core.reading import open_file, parse_json

FORMAT = "dreamenv-latents"
VERSION = 1
EPISODES = "episodes.jsonl"
MOST_LINE = 2**20
MOST_JOURNAL = 2**40
MOST_ROW_BYTES = 2**26
PIECE = 2**24
"""Bytes that are checked at a time."""


@dataclass(frozen=True)
class Place:
    """The rows of an episode, and numbers that were noted when they were written."""

    row: int
    frames: int
    checksum: int
    """Of the rows and of all that their line says."""
    numbers: np.ndarray
    """(n,) float64."""


class LatentLog:
    """The encoded episodes of a folder.

    Attributes:
        fields: name → (dtype, shape of a row).
        places: name of an episode → where its rows are, as its last line says; whether the rows
            are still what was written is for `intact` to say.
    """

    def __init__(self, folder: Path, fields: dict[str, tuple[np.dtype, tuple[int, ...]]]) -> None:
        self.folder, self.fields = folder, fields
        self.places: dict[str, Place] = {}

    @classmethod
    def create(cls, folder: Path, rows: Mapping[str, np.ndarray]) -> LatentLog:
        """Begin a log of episodes whose fields are like `rows`; what stood there is forgotten.

        Raises:
            OSError: the folder cannot be written.
        """
        fields = {name: (array.dtype, array.shape[1:]) for name, array in rows.items()}
        plain = {name: [dtype.str, *shape] for name, (dtype, shape) in fields.items()}
        header = {"format": FORMAT, "version": VERSION, "fields": plain, "check": _check(plain)}
        atomic_write_text(folder / EPISODES, json.dumps(header) + "\n")
        return cls(folder, fields)

    @classmethod
    def read(cls, folder: Path) -> LatentLog | None:
        """The log in a folder, or None if there is none that can be read."""
        try:
            with open_file(folder / EPISODES, MOST_JOURNAL) as file:
                header = parse_json(file.readline(MOST_LINE))
                log = cls(folder, _fields(header))
                if not log._all_ordinary():
                    return None
                while line := file.readline(MOST_LINE):
                    if line.endswith(b"\n"):
                        log._note(line)
        except (OSError, UnreadableFileError, KeyError, TypeError, ValueError, AttributeError):
            return None
        return log

    def append(self, name: str, rows: Mapping[str, np.ndarray], numbers: np.ndarray) -> None:
        """Add the rows of an episode; the caller sees to it that nobody else adds just now.

        Args:
            name: of the episode.
            rows: (frames, ...) of every field.
            numbers: (n,) float64, kept with its place.

        Raises:
            OSError: the disk is full; what stood there before still does.
        """
        frames = len(next(iter(rows.values())))
        row = max(self._rows_begun(field) for field in self.fields)
        checksum = _check([name, row, frames, numbers.tolist()])
        for field, (dtype, shape) in self.fields.items():
            array = np.ascontiguousarray(rows[field])
            if array.dtype != dtype or array.shape != (frames, *shape):
                raise ValueError(f"{field} has rows of {array.dtype} {array.shape[1:]}")
            with self._path(field).open("ab") as file:
                file.truncate(row * self._row_bytes(field))  # which never cuts anything off
                file.write(array.data)
            checksum = _checksum(array, checksum)
        record = {"episode": name, "row": row, "frames": frames, "checksum": checksum}
        append_json_line(self.folder / EPISODES, {**record, "numbers": numbers.tolist()})
        self.places[name] = Place(row, frames, checksum, numbers)

    def mapped(self) -> dict[str, np.ndarray]:
        """The rows of every field, in the order in which they were added, mapped read-only.

        Raises:
            OSError: a file cannot be opened.
            ValueError: a file is empty.
        """
        found = {}
        for field, (dtype, shape) in self.fields.items():
            count = self._path(field).stat().st_size // self._row_bytes(field)
            rows = np.memmap(self._path(field), dtype, "r", shape=(count, *shape))
            found[field] = rows.view(np.ndarray)
        return found

    def intact(self, names: Collection[str]) -> set[str]:
        """Those of the episodes `names` whose rows are what was written."""
        try:
            rows = self.mapped()
        except (OSError, ValueError):
            return set()
        count = min(map(len, rows.values()))
        good = set()
        for name in names:
            place = self.places.get(name)
            if place is None or place.row + place.frames > count:
                continue
            checksum = _check([name, place.row, place.frames, place.numbers.tolist()])
            for array in rows.values():
                checksum = _checksum(array[place.row : place.row + place.frames], checksum)
            if checksum == place.checksum:
                good.add(name)
        return good

    def _all_ordinary(self) -> bool:
        """Whether no pipe, folder or link stands where rows do, or is to stand."""
        paths = map(self._path, self.fields)
        there = [path.lstat().st_mode for path in paths if os.path.lexists(path)]
        return all(map(stat.S_ISREG, there))

    def _path(self, field: str) -> Path:
        return self.folder / f"{field}.rows"

    def _row_bytes(self, field: str) -> int:
        dtype, shape = self.fields[field]
        return dtype.itemsize * prod(shape)

    def _rows_begun(self, field: str) -> int:
        """Rows in a field's file, also such as a killed process did not end."""
        path = self._path(field)
        return -(-path.stat().st_size // self._row_bytes(field)) if path.exists() else 0

    def _note(self, line: bytes) -> None:
        try:
            record = parse_json(line)
            row, frames, checksum = (record[key] for key in ("row", "frames", "checksum"))
            numbers = np.array(record["numbers"], np.float64)
            name = record["episode"]
        except (UnreadableFileError, KeyError, TypeError, ValueError):
            return  # its episode is added again
        whole = all(type(n) is int and n >= 0 for n in (row, frames, checksum))
        if whole and isinstance(name, str):
            self.places[name] = Place(row, frames, checksum, numbers)


def _fields(header: dict[str, Any]) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """The fields that a log's first line declares.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it declares none that are ours.
    """
    known = header["format"] == FORMAT and header["version"] == VERSION
    if not known or header["check"] != _check(header["fields"]):
        raise ValueError("another format, or damaged")
    fields = {}
    for name, (kind, *shape) in header["fields"].items():
        dtype = np.dtype(str(kind))
        known = dtype.kind in "biuf" and name.isidentifier()
        known = known and all(type(size) is int and 0 < size <= MOST_ROW_BYTES for size in shape)
        if not known or prod(shape) * dtype.itemsize > MOST_ROW_BYTES:
            raise ValueError(f"{name} is no field")
        fields[name] = (dtype, tuple(shape))
    return fields


def _check(plain: Any) -> int:
    return zlib.crc32(json.dumps(plain).encode())


def _checksum(array: np.ndarray, before: int) -> int:
    flat = array.reshape(-1).view(np.uint8)
    for start in range(0, len(flat), PIECE):
        before = zlib.crc32(flat[start : start + PIECE].data, before)
    return before
