"""Checks of a store's files: they must be possible, whoever wrote them, and the ones written.

A file is compared with the digest in the journal once, when it is first read. Stores of earlier
versions have no digests; their files are still held to the layout that this package writes, so
that no description of an array makes rewards of other bytes, runs code, or asks for all memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from dreamenv.core.errors import RolloutError, UnreadableFileError
from dreamenv.core.reading import open_file, read_object

ARRAY = "zarr.json"
SHARD_ROWS = 1024
"""Rows per shard. A 1000-step episode of Memory Maze is one file per field."""
MOST_ROW_BYTES = 2**26
MOST_ROWS = 2**48
MOST_SHARD_BYTES = 2**36

_new_digest = partial(hashlib.blake2b, digest_size=16)


@dataclass(frozen=True)
class Layout:
    """The way that one array lies on the disk, as its `zarr.json` says."""

    rows: int
    row_shape: tuple[int, ...]
    dtype: np.dtype
    chunk_rows: int
    """Rows that are compressed together; fewer than `SHARD_ROWS` stand in a shard with an index."""
    digest: str
    """Of the description without the number of rows, which grows."""

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk, unpacked."""
        return self.chunk_rows * prod(self.row_shape) * self.dtype.itemsize


def read_layout(folder: Path) -> Layout:
    """The layout of the array in a folder.

    Raises:
        UnreadableFileError: it has no description, or none that this package writes.
        FileNotFoundError: there is none.
    """
    path = folder / ARRAY
    data = read_object(path, 2**20)
    try:
        (rows, *row_shape), dtype = data["shape"], np.dtype(data["data_type"])
        (outer, *_), codecs = data["chunk_grid"]["configuration"]["chunk_shape"], data["codecs"]
        sharded = codecs[0]["name"] == "sharding_indexed"
        inner = codecs[0]["configuration"] if sharded else {"chunk_shape": [outer]}
        zstd = inner.get("codecs", codecs)[-1]["configuration"]
        chunk_rows = inner["chunk_shape"][0]
        sizes = all(type(size) is int and size >= 0 for size in (rows, *row_shape))
        known = sizes and dtype.kind in "biuf" and rows <= MOST_ROWS and outer == SHARD_ROWS
        known = known and prod(row_shape) * dtype.itemsize <= MOST_ROW_BYTES
        known = known and type(chunk_rows) is int and 0 < chunk_rows <= SHARD_ROWS
        known = known and SHARD_ROWS % chunk_rows == 0
        wanted = _description(data["shape"], dtype, chunk_rows, zstd) if known else None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableFileError(f"{path} describes no array of a rollout store") from error
    if wanted is None or _told(data) != wanted:
        raise UnreadableFileError(f"{path} describes no array as this dreamenv writes it")
    told = {**data, "shape": row_shape}
    digest = _new_digest(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return Layout(rows, tuple(row_shape), dtype, chunk_rows, digest)


def shard_digest(file: Path) -> str | None:
    """The digest of a shard; None for one of only zeros, which has no file."""
    try:
        with open_file(file, MOST_SHARD_BYTES) as opened:
            return hashlib.file_digest(opened, _new_digest).hexdigest()
    except FileNotFoundError:
        return None


def check_shard(file: Path, layout: Layout, digest: str | None, known: bool) -> None:
    """Refuse a shard that is not the one written, or that would unpack to more than its rows.

    Args:
        file: the shard.
        layout: of its array.
        digest: what `shard_digest` gave when it was written.
        known: whether that is known.

    Raises:
        UnreadableFileError: says what is wrong.
    """
    if known and shard_digest(file) != digest:
        raise UnreadableFileError(f"{file} is not the file that was written here")
    try:
        with open_file(file, MOST_SHARD_BYTES) as opened:
            sizes = {_unpacked(opened, place) for place in _chunks(opened, layout)}
    except FileNotFoundError:
        return
    if sizes - {layout.chunk_bytes}:
        raise UnreadableFileError(f"{file} unpacks to another size than that of its rows")


def require_own(folder: Path, names: list[str]) -> None:
    """Refuse to write where a symbolic link leads out of a store.

    Args:
        folder: of the store, which may be a link itself.
        names: of files and arrays in it that will be written.

    Raises:
        RolloutError: one of them, or a folder on the way, is a link.
    """
    for name in names:
        for path in (folder / name, folder / name / "c", folder / name / ARRAY):
            while path != folder:
                if path.is_symlink():
                    raise RolloutError(
                        f"{path} is a symbolic link, and writing might change files outside of "
                        f"the store {folder}; replace it with what it points to"
                    )
                path = path.parent


def is_safe_name(name: Any) -> bool:
    """Whether a folder of this name, parts of it parted by `/`, lies inside the one it is in."""
    return isinstance(name, str) and all(
        part not in ("", ".", "..") and part.isprintable() and "\\" not in part
        for part in name.split("/")
    )


def _description(
    shape: list[int], dtype: np.dtype, chunk_rows: int, zstd: dict[str, Any]
) -> dict[str, Any]:
    """The description that Zarr writes for an array of ours, without entries that are empty."""
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    level, checksum = zstd["level"], zstd["checksum"]
    if type(level) is not int or type(checksum) is not bool:
        raise TypeError("levels are integers")
    codecs: list[dict[str, Any]] = [
        {"name": "bytes"} if dtype.itemsize == 1 else little,
        {"name": "zstd", "configuration": {"level": level, "checksum": checksum}},
    ]
    if chunk_rows < SHARD_ROWS:
        shard = {"chunk_shape": [chunk_rows, *shape[1:]], "codecs": codecs, "index_location": "end"}
        shard["index_codecs"] = [little, {"name": "crc32c"}]
        codecs = [{"name": "sharding_indexed", "configuration": shard}]
    grid = {"chunk_shape": [SHARD_ROWS, *shape[1:]]}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": grid},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": codecs,
    }


def _told(value: Any) -> Any:
    """A description without empty entries, which versions of Zarr write or leave out."""
    if isinstance(value, dict):
        told = {name: _told(entry) for name, entry in value.items()}
        return {name: entry for name, entry in told.items() if entry not in (None, {}, [])}
    return [_told(entry) for entry in value] if isinstance(value, list) else value


def _chunks(shard: IO[bytes], layout: Layout) -> list[int]:
    """The places in a shard where its compressed chunks begin."""
    if layout.chunk_rows == SHARD_ROWS:
        return [0]
    count, size = SHARD_ROWS // layout.chunk_rows, os.fstat(shard.fileno()).st_size
    if size < 16 * count + 4:
        raise UnreadableFileError(f"{shard.name} is cut short")
    shard.seek(size - 16 * count - 4)
    index = np.frombuffer(shard.read(16 * count), "<u8").reshape(count, 2).tolist()
    empty = [2**64 - 1] * 2  # a chunk of only zeros
    if any(entry != empty and sum(entry) > size for entry in index):
        raise UnreadableFileError(f"{shard.name} has a damaged index")
    return [entry[0] for entry in index if entry != empty]


def _unpacked(shard: IO[bytes], place: int) -> int:
    """Bytes to which the Zstandard frame at a place says it unpacks (RFC 8878, section 3.1.1)."""
    shard.seek(place)
    head = shard.read(18)
    if head[:4] != b"\x28\xb5\x2f\xfd" or len(head) < 6:
        raise UnreadableFileError(f"{shard.name} holds no compressed rows")
    flags = head[4]
    single = flags >> 5 & 1
    size = (single, 2, 4, 8)[flags >> 6]
    start = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
    if not size or len(head) < start + size:
        raise UnreadableFileError(f"{shard.name} does not say to what it unpacks")
    return int.from_bytes(head[start : start + size], "little") + (256 if size == 2 else 0)
