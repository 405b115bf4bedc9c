"""Rollout storage measured: Zarr (what dreamenv uses), HDF5, and a raw memory map.

    python -m benchmarks.storage

Records episodes of MemoryMaze-9x9-v0, writes their frames with each candidate, reads random
windows back, and stores the table in docs/results/storage.json. Reads come from the page cache:
what is compared is decoding and overhead, not the disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import zarr

import dreamenv  # noqa: F401  registers the ids
from benchmarks.script import conditions, options, store
from dreamenv.core.tables import aligned
from dreamenv.rollouts.arrays import (
    CHUNK_FRAMES,
    ZSTD_LEVEL,
    create_array,
    rows_taken,
    write_rows,
)
from dreamenv.rollouts.policies import make_policy
from dreamenv.rollouts.recording import record_episode

ENV = "MemoryMaze-9x9-v0"

DECISION = (
    "Zarr is kept: it reads windows no slower than HDF5 and stores them smaller, an interrupted "
    "write cannot damage what other files hold, and it can be read while it is written. A raw "
    "memory map reads far faster and takes three times the space: worth it only for a training "
    "loop that spends noticeable time waiting for windows of a few milliseconds."
)

Read = Callable[[int, int, int], np.ndarray]  # episode, first frame, frames -> (L, H, W, C)
Candidate = Callable[[Path, list[np.ndarray]], Read]


def record(episodes: int, steps: int) -> list[np.ndarray]:
    """Frames (steps + 1, 64, 64, 3) of `episodes` different mazes."""
    env = gymnasium.make(ENV)
    policy = make_policy("wandering")
    return [record_episode(env, policy, i, i, steps).observation for i in range(episodes)]


def zarr_candidate(chunk_rows: int, level: int) -> Candidate:
    """Our arrays, with another chunk length or compression level."""

    def write(folder: Path, episodes: list[np.ndarray]) -> Read:
        shape = episodes[0].shape[1:]
        array = create_array(folder, shape, np.dtype(np.uint8), chunk_rows, level)
        starts, row = [], 0
        for frames in episodes:
            write_rows(folder, array, row, frames)
            starts.append(row)
            row += rows_taken(len(frames) - 1)
        reader = zarr.open_array(folder, mode="r")
        return lambda episode, first, length: np.asarray(
            reader[starts[episode] + first : starts[episode] + first + length]
        )

    return write


def hdf5_candidate(chunk_rows: int, compression: str, level: int | None) -> Candidate:
    """One chunked HDF5 dataset with a filter that h5py brings along."""

    def write(folder: Path, episodes: list[np.ndarray]) -> Read:
        folder.mkdir()
        shape = episodes[0].shape[1:]
        starts = np.cumsum([0, *map(len, episodes)])
        with h5py.File(folder / "frames.h5", "w") as file:
            data = file.create_dataset(
                "observation",
                shape=(0, *shape),
                maxshape=(None, *shape),
                chunks=(chunk_rows, *shape),
                dtype=np.uint8,
                compression=compression,
                compression_opts=level,
            )
            for start, frames in zip(starts, episodes, strict=False):
                data.resize(start + len(frames), axis=0)
                data[start:] = frames
                file.flush()
                _sync(folder / "frames.h5")
        reader = h5py.File(folder / "frames.h5", "r")["observation"]
        return lambda episode, first, length: reader[
            starts[episode] + first : starts[episode] + first + length
        ]

    return write


def memmap_candidate(folder: Path, episodes: list[np.ndarray]) -> Read:
    """Uncompressed frames in one file."""
    folder.mkdir()
    starts = np.cumsum([0, *map(len, episodes)])
    with open(folder / "frames.raw", "wb") as file:
        for frames in episodes:
            file.write(frames.data)
            file.flush()
            os.fsync(file.fileno())
    shape = (int(starts[-1]), *episodes[0].shape[1:])
    reader = np.memmap(folder / "frames.raw", np.uint8, "r", shape=shape)
    return lambda episode, first, length: np.array(
        reader[starts[episode] + first : starts[episode] + first + length]
    )


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def measure(
    candidates: dict[str, Candidate], episodes: list[np.ndarray], length: int, windows: int
) -> dict[str, dict[str, float]]:
    """Write and read with every candidate; reads take turns, so that all meet the same load."""
    folder = Path(tempfile.mkdtemp(prefix="storage-"))
    frames = sum(map(len, episodes))
    table: dict[str, dict[str, float]] = {}
    readers: dict[str, Read] = {}
    try:
        for name, candidate in candidates.items():
            begin, begin_cpu = time.perf_counter(), time.process_time()
            readers[name] = candidate(folder / name, episodes)
            seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
            files = [path for path in (folder / name).rglob("*") if path.is_file()]
            table[name] = {
                "write_frames_per_second": round(frames / seconds),
                "write_frames_per_cpu_second": round(frames / cpu),
                "bytes_per_frame": round(sum(p.stat().st_size for p in files) / frames, 1),
                "files": len(files),
            }
        rng = np.random.default_rng(0)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
        for _ in range(windows):
            episode = int(rng.integers(len(episodes)))
            first = int(rng.integers(len(episodes[episode]) + 1 - length))
            for name in rng.permutation(list(readers)).tolist():
                read = readers[name]
                begin, begin_cpu = time.perf_counter(), time.process_time()
                window = read(episode, first, length)
                cpu = time.process_time() - begin_cpu
                times[name].append((time.perf_counter() - begin, cpu))
                if not np.array_equal(window, episodes[episode][first : first + length]):
                    raise AssertionError(f"{name} did not return what was written")
        for name, seconds_each in times.items():
            wall, cpu = np.median(seconds_each, axis=0).tolist()
            table[name]["read_window_ms"] = round(1000 * wall, 3)
            table[name]["read_window_cpu_ms"] = round(1000 * cpu, 3)
            table[name]["read_frames_per_second"] = round(length / wall)
    finally:
        shutil.rmtree(folder)
    return table


def _ratios(row: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    columns = ("read_window_ms", "read_window_cpu_ms", "bytes_per_frame")
    return {column: round(row[column] / other[column], 3) for column in columns}


def main() -> None:
    """Measure, print the table, store it."""
    parser = options(__doc__, "storage.json")
    parser.add_argument("--episodes", type=int, default=6)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--window", type=int, default=64, help="frames per window")
    parser.add_argument("--windows", type=int, default=300, help="windows read")
    args = parser.parse_args()

    chosen = f"zarr zstd{ZSTD_LEVEL} chunk{CHUNK_FRAMES}"
    candidates: dict[str, Candidate] = {chosen: zarr_candidate(CHUNK_FRAMES, ZSTD_LEVEL)}
    for chunk in (8, 16, 32, 64):
        candidates[f"zarr zstd{ZSTD_LEVEL} chunk{chunk}"] = zarr_candidate(chunk, ZSTD_LEVEL)
    for level in (1, 7):
        candidates[f"zarr zstd{level} chunk32"] = zarr_candidate(32, level)
    for chunk in (16, 32):
        candidates[f"hdf5 gzip1 chunk{chunk}"] = hdf5_candidate(chunk, "gzip", 1)
        candidates[f"hdf5 lzf chunk{chunk}"] = hdf5_candidate(chunk, "lzf", None)
    candidates["memmap raw"] = memmap_candidate
    # Episodes are recorded once and written several times: recording is the slow part.
    episodes = record(args.episodes, args.steps)
    table = measure(candidates, episodes, args.window, args.windows)

    ours, raw = table[chosen], table["memmap raw"]
    fastest_hdf5 = min(
        (row for name, row in table.items() if name.startswith("hdf5")),
        key=lambda row: row["read_window_cpu_ms"],
    )
    result: dict[str, Any] = {
        **conditions("storage"),
        "frames": f"{args.episodes} episodes of {args.steps} steps of {ENV}, policy wandering",
        "window_frames": args.window,
        "windows_read": args.windows,
        "versions": {"zarr": zarr.__version__, "h5py": h5py.__version__},
        "candidates": table,
        "chosen": chosen,
        "chosen_relative_to": {
            "fastest hdf5": _ratios(ours, fastest_hdf5),
            "memmap raw": _ratios(ours, raw),
        },
        "decision": DECISION,
    }
    columns = list(ours)
    rows = [["", *(column.replace("_", " ") for column in columns)]]
    rows += [[name, *(str(row[column]) for column in columns)] for name, row in table.items()]
    print("\n".join(aligned(rows)))
    store(args.out, result)


if __name__ == "__main__":
    main()
