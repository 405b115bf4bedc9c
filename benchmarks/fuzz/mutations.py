"""Ways in which a file is damaged or forged, each decided by a generator alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

HOSTILE: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 7, 2**31, 2**63, 10**30, 10**300, 0.5, -0.0, 1e300),
    *(float("nan"), float("inf"), "", "x", "../../x", "/dev/zero", "é" * 3000),
    *([], {}, [[]], [0] * 3000, {"a": {"b": []}}),
)


def damage(path: Path, rng: np.random.Generator) -> str:
    """Change a file in one way or another; returns what was done."""
    json_like = path.suffix in (".json", ".jsonl")
    ways = [flip_bits, cut, zero, repeat, swap, insert, replace_by_no_file]
    # What most often passes for whole is tried most often.
    ways += [flip_bits] * 5 + [change_json] * (6 if json_like else 0)
    way = ways[rng.integers(len(ways))]
    way(path, rng)
    return way.__name__


def flip_bits(path: Path, rng: np.random.Generator) -> None:
    """One to three bits."""
    data = bytearray(path.read_bytes())
    for place in rng.integers(len(data), size=rng.integers(1, 4)).tolist():
        data[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def cut(path: Path, rng: np.random.Generator) -> None:
    """Keep the beginning."""
    data = path.read_bytes()
    path.write_bytes(data[: rng.integers(len(data))])


def zero(path: Path, rng: np.random.Generator) -> None:
    """Overwrite a stretch with zeros."""
    data, start, stop = _stretch(path, rng)
    path.write_bytes(data[:start] + bytes(stop - start) + data[stop:])


def repeat(path: Path, rng: np.random.Generator) -> None:
    """Write a stretch twice."""
    data, start, stop = _stretch(path, rng)
    path.write_bytes(data[:stop] + data[start:stop] + data[stop:])


def swap(path: Path, rng: np.random.Generator) -> None:
    """Turn a stretch round."""
    data, start, stop = _stretch(path, rng)
    path.write_bytes(data[:start] + data[start:stop][::-1] + data[stop:])


def insert(path: Path, rng: np.random.Generator) -> None:
    """Put bytes in between."""
    data, start, _ = _stretch(path, rng)
    path.write_bytes(data[:start] + rng.bytes(int(rng.integers(1, 40))) + data[start:])


def replace_by_no_file(path: Path, rng: np.random.Generator) -> None:
    """Put nothing, a folder, a pipe, an endless device or a terabyte of zeros in its place."""
    path.unlink()
    kind = rng.integers(6)
    if kind == 1:
        path.mkdir()
    elif kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        path.symlink_to("/dev/zero")
    elif kind == 4:
        with path.open("wb") as file:
            file.truncate(2**40)  # takes no room on the disk
    elif kind == 5:
        path.write_bytes(b"[" * 100_000)


def change_json(path: Path, rng: np.random.Generator) -> None:
    """Replace, remove or add one entry, anywhere in a line of JSON."""
    text = path.read_text("utf-8")
    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    line = int(rng.integers(len(lines)))
    value = json.loads(lines[line])
    places = list(_places(value))
    inside, key = places[rng.integers(len(places))]
    what = rng.integers(10)
    if what == 0:
        del inside[key]
    elif what == 1 and isinstance(inside, dict):
        inside["added"] = HOSTILE[rng.integers(len(HOSTILE))]
    elif what < 4 and type(inside[key]) in (int, float):
        inside[key] += int(rng.integers(1, 3))  # looks as good as before
    else:
        inside[key] = HOSTILE[rng.integers(len(HOSTILE))]
    lines[line] = json.dumps(value)
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _stretch(path: Path, rng: np.random.Generator) -> tuple[bytes, int, int]:
    data = path.read_bytes()
    start = int(rng.integers(len(data)))
    return data, start, min(len(data), start + int(rng.integers(1, 200)))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every entry in nested plain data."""
    entries = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    found = [(value, key) for key, _ in entries]
    for _, entry in entries:
        if isinstance(entry, dict | list):
            found += _places(entry)
    return found
