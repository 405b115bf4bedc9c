"""The Zarr arrays behind a rollout store: one per field, concatenated over time.

Every episode starts on a shard boundary, so writing one never rewrites bytes of another. A shard
is one file; inside it, frames are compressed in chunks that can be read on their own.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from gymnasium.spaces import Box
from zarr.codecs import ZstdCodec

from dreamenv.core.action_rows import row_type
from dreamenv.core.errors import RolloutError, UnreadableFileError
from dreamenv.rollouts.integrity import ARRAY, SHARD_ROWS, Layout, read_layout, shard_digest
from dreamenv.rollouts.spaces import ActionSpace

# Frames per compressed chunk. Windows of 48 to 64 frames touch two or three of them;
# benchmarks/storage.py compares other lengths.
CHUNK_FRAMES = 32
# Larger frames get shorter chunks, so that a window never decodes much more than it needs.
CHUNK_BYTES = 2**22
# Fields whose shards are smaller than this, such as rewards, are one chunk per shard.
SMALL_SHARD_BYTES = 2**16
ZSTD_LEVEL = 3
SHARD_NAME = re.compile(r"(\d{1,18})(\..*\.partial)?$", re.ASCII)
STEP_FIELDS = ("action", "reward", "terminated", "truncated")


def field_types(
    observation_space: Box, action_space: ActionSpace
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Row shape and dtype of each field."""
    return {
        "observation": (observation_space.shape, np.dtype(np.uint8)),
        "action": row_type(action_space),
        "reward": ((), np.dtype(np.float32)),
        "terminated": ((), np.dtype(np.bool_)),
        "truncated": ((), np.dtype(np.bool_)),
    }


def chunk_length(row_bytes: int) -> int:
    """Rows per compressed chunk: few for frames, a whole shard for what is small anyway."""
    if row_bytes * SHARD_ROWS <= SMALL_SHARD_BYTES:
        return SHARD_ROWS
    length = CHUNK_FRAMES
    while length > 1 and length * row_bytes > CHUNK_BYTES:
        length //= 2
    return length


def create_array(
    folder: Path,
    row_shape: tuple[int, ...],
    dtype: np.dtype,
    chunk_rows: int | None = None,
    zstd_level: int = ZSTD_LEVEL,
) -> zarr.Array:
    """Make an empty array; `chunk_rows` must divide `SHARD_ROWS` (default: `chunk_length`)."""
    if chunk_rows is None:
        chunk_rows = chunk_length(int(np.prod(row_shape)) * dtype.itemsize)
    return zarr.create_array(
        folder,
        shape=(0, *row_shape),
        dtype=dtype,
        chunks=(chunk_rows, *row_shape),
        shards=None if chunk_rows == SHARD_ROWS else (SHARD_ROWS, *row_shape),
        compressors=ZstdCodec(level=zstd_level, checksum=True),
        filters=None,
        fill_value=0,
        zarr_format=3,
        overwrite=True,
    )


def write_rows(
    folder: Path, array: zarr.Array, start: int, rows: np.ndarray
) -> tuple[int, list[str | None]]:
    """Write rows from `start`, a shard boundary, on; force them to disk.

    Returns the bytes they take on disk, and the digest of each of their shards.
    """
    stop = start + len(rows)
    if array.shape[0] < stop:
        # With room to grow, the array's description is seldom rewritten; unused rows take no space.
        array.resize((max(stop, 2 * array.shape[0], 64 * SHARD_ROWS), *array.shape[1:]))
        _force_to_disk(folder / ARRAY)
    array[start:stop] = rows
    files = shard_files(folder, array, start, len(rows))
    for file in files:
        _force_to_disk(file)
    return total_bytes(files), [shard_digest(file) for file in files]


def _force_to_disk(file: Path) -> None:
    # A shard that holds only zeros has no file.
    if file.exists():
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())


def shard_files(folder: Path, array: zarr.Array, start: int, rows: int) -> list[Path]:
    """Paths of the shards that hold `rows` rows from `start` on."""
    tail = ["0"] * (array.ndim - 1)
    first, last = start // SHARD_ROWS, (start + rows - 1) // SHARD_ROWS
    return [folder.joinpath("c", str(shard), *tail) for shard in range(first, last + 1)]


def total_bytes(files: list[Path]) -> int:
    """Bytes of the files that exist; −1 if one is no ordinary file."""
    sizes = []
    for file in files:
        try:
            about = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        sizes.append(about.st_size if stat.S_ISREG(about.st_mode) else None)
    return -1 if None in sizes else sum(size for size in sizes if size is not None)


def rows_taken(steps: int) -> int:
    """Rows set aside for an episode: its T+1 observations, rounded up to whole shards."""
    return -(-(steps + 1) // SHARD_ROWS) * SHARD_ROWS


def discard_uncommitted(folder: Path, first_free_row: int) -> None:
    """Delete shards from `first_free_row` on and temporary files: leftovers of a killed writer.

    What is not named like a shard is somebody else's and stays. A link is deleted, never what it
    points to; the folders themselves must be no links (`dreamenv.rollouts.integrity.require_own`).
    """
    for leftover in folder.glob("*.partial"):
        leftover.unlink()
    chunk_folder = folder / "c"
    if not chunk_folder.is_dir():
        return
    for entry in chunk_folder.iterdir():
        number = SHARD_NAME.match(entry.name)
        if number and int(number[1]) >= first_free_row // SHARD_ROWS:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def open_arrays(folder: Path, names: list[str], mode: Any) -> dict[str, zarr.Array]:
    """Open the named arrays of a store ("r" or "r+")."""
    return {name: zarr.open_array(folder / name, mode=mode) for name in names}


def check_layouts(
    folder: Path,
    names: list[str],
    types: dict[str, tuple[tuple[int, ...], np.dtype]],
    records: list[dict[str, Any]],
) -> dict[str, Layout]:
    """Read how the arrays of a store lie on the disk, and refuse them if that is not as written.

    Args:
        folder: of the store.
        names: of the arrays.
        types: row shape and dtype of those whose spaces tell.
        records: of the journal, with the digests of layouts that it knows.

    Raises:
        RolloutError: a description is missing, damaged or of another array.
    """
    known: dict[str, str] = {}
    for record in records:
        known |= record.get("layouts", {})
    found = {}
    for name in names:
        try:
            layout = found[name] = read_layout(folder / name)
        except (OSError, UnreadableFileError) as error:
            raise RolloutError(
                f"the rollout store {folder} is incomplete ({error}); restore it from a copy"
            ) from error
        shape, dtype = types.get(name, (layout.row_shape, layout.dtype))
        # Earlier versions stored every box of actions as float32.
        dtypes = (dtype, np.dtype(np.float32)) if name == "action" else (dtype,)
        fits = layout.row_shape == shape and layout.dtype in dtypes
        if not fits or known.get(name, layout.digest) != layout.digest:
            raise RolloutError(
                f"{folder / name / ARRAY} is damaged or of another store: it does not describe the "
                f"{name} that was stored here; restore it from a copy"
            )
    return found
