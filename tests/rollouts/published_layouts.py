"""Counting episodes written exactly as others publish their data sets, by their own libraries.

Where a format has a row per frame, the row that no step belongs to holds what its authors write
there, and never a value that would pass for another row's.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from counting_env import ACTIONS

from dreamenv.rollouts.episode import Episode


def one_hot(actions: np.ndarray, n: int = ACTIONS) -> np.ndarray:
    return np.eye(n, dtype=np.float32)[actions]


def led(values: np.ndarray) -> np.ndarray:
    """A row per frame: what led there; zero before the first."""
    return np.concatenate([np.zeros_like(values[:1]), values])


def followed(values: np.ndarray) -> np.ndarray:
    """A row per frame: what follows; zero behind the last."""
    return np.concatenate([values, np.zeros_like(values[:1])])


def memory_maze(folder: Path, episodes: Sequence[Episode]) -> Path:
    """As the README of Memory Maze and pydreamer's wrapper have it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, episode in enumerate(episodes):
        rows = len(episode) + 1
        np.savez_compressed(
            folder / f"20221001T00000{number}-r0-{len(episode):04}.npz",
            image=episode.observation,
            action=led(one_hot(episode.action)),
            reward=led(episode.reward.astype(np.float64)),
            terminal=led(episode.terminated),
            reset=np.arange(rows) == 0,
            maze_layout=np.tile(np.eye(9, dtype=np.uint8), (rows, 1, 1)),
            agent_pos=np.arange(2.0 * rows).reshape(rows, 2),
        )
    return folder


def teco_dmlab(folder: Path, episodes: Sequence[Episode]) -> Path:
    """`train/WORKER/N.npz`; the action beside the last frame leads to one not recorded."""
    for number, episode in enumerate(episodes):
        place = folder / "train" / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        actions = np.concatenate([episode.action % 3, [2]]).astype(np.int32)
        np.savez_compressed(place / f"{number}.npz", video=episode.observation, actions=actions)
    return folder


def dreamer_v2(folder: Path, episodes: Sequence[Episode], box: bool = False) -> Path:
    """DreamerV2's and dreamerv3-torch's: actions lead, an episode a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, episode in enumerate(episodes):
        rows = len(episode) + 1
        actions = episode.action if box else one_hot(episode.action)
        np.savez_compressed(
            folder / f"20220101T00000{number}-{uuid.UUID(int=number).hex}-{rows}.npz",
            image=episode.observation,
            action=led(actions),
            reward=led(episode.reward),
            is_first=np.arange(rows) == 0,
            is_last=led(episode.terminated | episode.truncated),
            is_terminal=led(episode.terminated),
        )
    return folder


def dreamer_v3(folder: Path, episodes: Sequence[Episode], chunk: int = 16) -> Path:
    """DreamerV3's replay: a stream of rows in linked chunks; actions follow, whole numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, list[np.ndarray]] = {}
    for episode in episodes:
        rows = len(episode) + 1
        for name, values in {
            "image": episode.observation,
            "action": followed(episode.action.astype(np.int32)),
            "reward": led(episode.reward),
            "is_first": np.arange(rows) == 0,
            "is_last": led(episode.terminated | episode.truncated),
            "is_terminal": led(episode.terminated),
            "stepid": np.zeros((rows, 20), np.uint8),
        }.items():
            columns.setdefault(name, []).append(values)
    stream = {name: np.concatenate(parts) for name, parts in columns.items()}
    total = len(stream["reward"])
    names = [uuid.UUID(int=i + 1).hex for i in range(-(-total // chunk))] + ["0" * 22]
    for i, start in enumerate(range(0, total, chunk)):
        part = {name: values[start : start + chunk] for name, values in stream.items()}
        file = f"20230101T00000{i:02}F000000-{names[i]}-{names[i + 1]}-{len(part['reward'])}.npz"
        np.savez_compressed(folder / file, **part)
    return folder


def bits(step: int, size: int = 64) -> np.ndarray:
    """A picture of a step number that survives lossy video: 16 black or white squares."""
    blocks = np.array([step >> i & 1 for i in range(16)], np.uint8).reshape(4, 4) * 255
    return np.repeat(np.kron(blocks, np.ones((size // 4, size // 4), np.uint8))[..., None], 3, 2)


def step_of_bits(frame: np.ndarray) -> int:
    quarter = frame.shape[0] // 4
    centres = frame[quarter // 2 :: quarter, quarter // 2 :: quarter, 0] > 127
    return int((centres.ravel() * (1 << np.arange(16))).sum())


def video(path: Path, numbers: Sequence[int], fps: int = 20, codec: str = "mpeg4") -> Path:
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        for number in numbers:
            for packet in stream.encode(av.VideoFrame.from_ndarray(bits(number), "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def teco_minecraft(folder: Path, episodes: Sequence[Episode], ending: str = ".npz") -> Path:
    """`train/WORKER/NNNNNN.mp4` beside its actions, which lead; the first is a dummy 0."""
    for number, episode in enumerate(episodes):
        path = folder / "train" / "0" / f"{number:06d}.mp4"
        video(path, range(len(episode) + 1))
        actions = np.concatenate([[0], episode.action % 3 + 1]).astype(np.int32)
        if ending == ".npz":
            np.savez_compressed(path.with_suffix(ending), actions=actions)
        else:
            np.save(path.with_suffix(ending), actions)
    return folder


def lerobot(folder: Path, episodes: Sequence[Episode], videos: bool = True) -> Path:
    """Version 3.0: all episodes in one parquet file, a row group each, and in one video."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    camera, fps = "observation.images.top", 20
    camera_feature = {"dtype": "video" if videos else "image", "shape": [64, 64, 3]}
    features: dict[str, Any] = {
        camera: {**camera_feature, "names": ["height", "width", "channel"]},
        "observation.state": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
        "action": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
        "next.reward": {"dtype": "float32", "shape": [1], "names": None},
        "next.done": {"dtype": "bool", "shape": [1], "names": None},
        "next.success": {"dtype": "bool", "shape": [1], "names": None},
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        "frame_index": {"dtype": "int64", "shape": [1], "names": None},
        "episode_index": {"dtype": "int64", "shape": [1], "names": None},
        "index": {"dtype": "int64", "shape": [1], "names": None},
        "task_index": {"dtype": "int64", "shape": [1], "names": None},
    }
    info = {
        "codebase_version": "v3.0",
        "robot_type": "counter",
        "fps": fps,
        "features": features,
        "total_episodes": len(episodes),
        "total_frames": sum(len(e) for e in episodes),
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    data = folder / "data" / "chunk-000" / "file-000.parquet"
    listed = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    for path in (data, listed):
        path.parent.mkdir(parents=True, exist_ok=True)
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    pair = pa.list_(pa.float32(), 2)
    rows, writer, first = [], None, 0
    numbers: list[int] = []
    for number, episode in enumerate(episodes):
        count = len(episode)  # as many frames as steps: that after the last is not recorded
        vectors = np.stack([episode.action, -episode.action], 1).astype(np.float32) / 8
        states = np.stack([np.arange(count), np.full(count, number)], 1).astype(np.float32)
        columns = {
            "observation.state": pa.FixedSizeListArray.from_arrays(states.ravel(), type=pair),
            "action": pa.FixedSizeListArray.from_arrays(vectors.ravel(), type=pair),
            "next.reward": pa.array(episode.reward),
            "next.done": pa.array(episode.terminated | episode.truncated),
            "next.success": pa.array(episode.terminated),
            "timestamp": pa.array((np.arange(count) / fps).astype(np.float32)),
            "frame_index": pa.array(np.arange(count)),
            "episode_index": pa.array(np.full(count, number)),
            "index": pa.array(first + np.arange(count)),
            "task_index": pa.array(np.zeros(count, np.int64)),
        }
        if not videos:
            columns[camera] = pa.array([{"bytes": png(t), "path": None} for t in range(count)])
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(data, table.schema)
        writer.write_table(table)
        row = {"episode_index": number, "tasks": ["count"], "length": count}
        row |= {"data/chunk_index": 0, "data/file_index": 0, "dataset_from_index": first}
        row |= {"dataset_to_index": first + count}
        if videos:
            key = f"videos/{camera}/"
            row |= {key + "chunk_index": 0, key + "file_index": 0}
            row |= {
                key + "from_timestamp": first / fps,
                key + "to_timestamp": (first + count) / fps,
            }
        rows.append(row)
        numbers += range(count)
        first += count
    assert writer is not None
    writer.close()
    pq.write_table(pa.Table.from_pylist(rows), listed)
    if videos:
        video(folder / "videos" / camera / "chunk-000" / "file-000.mp4", numbers, fps)
    return folder


def png(step: int) -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(bits(step)).save(file, "PNG")
    return file.getvalue()
