"""The files of a LeRobot v3 data set: many episodes a file, read forwards one after the other."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.importers.source import Said, missing
from dreamenv.rollouts.importers.videos import Video

BATCH, BATCH_OF_IMAGES = 1024, 32
"""Rows that are held decoded at once."""


class Table:
    """A parquet file, read forwards in batches.

    Args:
        path: of the file.
        names: of the columns wanted.
        batch: rows of a batch.

    Raises:
        MissingDependencyError: pyarrow is not installed.
        RolloutError: it is no such file, or lacks a column.
    """

    def __init__(self, path: Path, names: Iterable[str], batch: int = BATCH) -> None:
        self.path, self._names = path, list(names)
        parquet = _library()
        try:
            self._file = parquet.ParquetFile(path)
        except Exception as error:  # pyarrow's and the system's
            raise RolloutError(f"{path} is no parquet file that can be read: {error}") from error
        there = self._file.schema_arrow.names
        for name in self._names:
            if name not in there:
                raise RolloutError(f"{path}: there is no column {name!r}; it has {there}")
        self._batches = self._file.iter_batches(batch_size=batch, columns=self._names)
        self._left: Any = None

    def batches(self) -> Iterator[dict[str, Any]]:
        """The rest of the file, as arrow columns."""
        while (batch := self._next()) is not None:
            yield {name: batch.column(name) for name in self._names}

    def episode(self, number: int, rows: int) -> dict[str, list[Any]]:
        """The rows of an episode, which comes behind what was read before; pieces of columns.

        Raises:
            RolloutError: there are more or fewer, or a part of the file is damaged.
        """
        found: dict[str, list[Any]] = {name: [] for name in self._names}
        count = 0
        while (batch := self._left if self._left is not None else self._next()) is not None:
            self._left = None
            episodes = batch.column("episode_index").to_numpy(zero_copy_only=False)
            wanted = np.flatnonzero(episodes == number)
            if len(wanted):
                part = batch.slice(int(wanted[0]), len(wanted))
                for name in self._names:
                    found[name].append(part.column(name))
                count += len(wanted)
                behind = int(wanted[-1]) + 1
                if behind < len(episodes):
                    self._left = batch.slice(behind)
                    break
            elif count or (episodes > number).any():
                self._left = batch
                break
        if count != rows:
            raise RolloutError(
                f"{self.path}: episode_index {number} has {count} rows, but meta/episodes says "
                f"{rows}; the file is cut short or another"
            )
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _next(self) -> Any:
        try:
            return next(self._batches, None)
        except Exception as error:
            raise RolloutError(f"{self.path} cannot be read on: {error}") from error


class VideoOfMany:
    """A video of several episodes, read forwards.

    Args:
        path: of the file.
        said: the size that frames are to have.
    """

    def __init__(self, path: Path, said: Said) -> None:
        self.path, self._said = path, said
        self._video = Video(path)
        self._frames: Iterator[tuple[float, np.ndarray]] | None = None
        self._ahead: tuple[float, np.ndarray] | None = None

    def episode(self, since: float, count: int, fps: float) -> np.ndarray:
        """So many frames from a time in seconds on, (count, H, W, 3) uint8.

        Raises:
            RolloutError: the video does not have them at their times.
        """
        slack = 0.5 / fps
        if self._ahead is None or not since - slack <= self._ahead[0] <= since + slack:
            self._frames = self._video.frames(max(0.0, since - slack))
            self._ahead = next(self._frames, None)
        assert self._frames is not None
        found: list[np.ndarray] = []
        while len(found) < count and self._ahead is not None:
            time, frame = self._ahead
            if abs(time - since - len(found) / fps) > slack:
                raise RolloutError(
                    f"{self.path}: there is no frame at {since + len(found) / fps:.3f} s, where "
                    f"frame {len(found)} of the episode should be; the next is at {time:.3f} s"
                )
            found.append(self._said.fit(frame))
            self._ahead = next(self._frames, None)
        if len(found) < count:
            raise RolloutError(
                f"{self.path} ends after {len(found)} of {count} frames of the episode from "
                f"{since:.3f} s on; it is cut short"
            )
        return np.stack(found)

    def close(self) -> None:
        """Close the file."""
        self._video.close()


def numbers(pieces: list[Any]) -> np.ndarray | None:
    """Pieces of an arrow column as (rows, ...) numbers; None if they are none."""
    arrays = []
    for piece in pieces:
        shape: list[int] = []
        while hasattr(piece, "storage"):
            piece = piece.storage
        while "list" in str(piece.type):
            rows = len(piece)
            piece = piece.flatten()
            if not rows or len(piece) % rows:
                return None
            shape.append(len(piece) // rows)
            if len(shape) > 1:
                return None
        array = piece.to_numpy(zero_copy_only=False)
        if array.dtype.kind not in "biuf":
            return None
        arrays.append(array.reshape(-1, *shape))
    if len({array.shape[1:] for array in arrays}) > 1:
        return None
    return np.concatenate(arrays)


def pictures(pieces: list[Any], path: Path, name: str, said: Said) -> np.ndarray:
    """Pieces of a column of encoded pictures, as (rows, H, W, 3) uint8 in their final size.

    Raises:
        RolloutError: one cannot be decoded, or has another size than the first.
    """
    found: list[np.ndarray] = []
    for value in (value for piece in pieces for value in piece):
        try:
            plain = value.as_py()
            picture = Image.open(io.BytesIO(plain["bytes"] if isinstance(plain, dict) else plain))
            found.append(said.fit(np.asarray(picture.convert("RGB"))))
        except Exception as error:
            raise RolloutError(f"{path}: {name}[{len(found)}] is no picture: {error}") from error
        if found[-1].shape != found[0].shape:
            raise RolloutError(
                f"{path}: {name}[{len(found) - 1}] has {found[-1].shape}, the first has "
                f"{found[0].shape}"
            )
    return np.stack(found)


def _library() -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise missing("pyarrow", "lerobot", "reading LeRobot data sets") from None
    return parquet
