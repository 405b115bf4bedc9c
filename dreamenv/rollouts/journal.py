"""The list of committed episodes: a text file that only grows, one JSON record per line.

Line 0 describes the store; every further line commits one episode. A line counts only once its
newline is on disk, so a writer that dies mid-line leaves all earlier episodes as they were. Each
line ends with a checksum of itself; lines of earlier versions have none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from math import isfinite
from pathlib import Path
from typing import Any

from dreamenv.core.errors import RolloutError, UnreadableFileError
from dreamenv.core.files import atomic_write_text
from dreamenv.core.reading import parse_json, read_bytes
from dreamenv.rollouts.failure import Failure
from dreamenv.rollouts.integrity import MOST_ROWS, SHARD_ROWS, is_safe_name
from dreamenv.rollouts.provenance import Provenance

FORMAT = "dreamenv-rollouts"
VERSION = 1
MOST_BYTES = 2**30
CHECKSUM = re.compile(rb', "check": "([0-9a-f]{16})"\}$')


def create_journal(path: Path, header: dict[str, Any]) -> None:
    """Write a journal with no episodes, atomically."""
    atomic_write_text(path, _line({"format": FORMAT, "version": VERSION, **header}).decode())


def read_journal(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
    """Read the header, the committed records, and the number of bytes they occupy.

    Raises:
        RolloutError: there is no journal, or it is not one, or a committed line is damaged.
    """
    try:
        data = read_bytes(path, MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise RolloutError(
            f"no rollout store at {path.parent}; make one with "
            f"`dreamenv collect --out {path.parent} ...`"
        ) from None
    except UnreadableFileError as error:
        raise RolloutError(f"{error}; is {path.parent} a rollout store?") from error
    committed = data[: data.rfind(b"\n") + 1]
    lines = committed.split(b"\n")[:-1]
    try:
        header, checked = _parse(lines[0], "header", False)
        recognised = header.get("format") == FORMAT
    except (IndexError, ValueError):
        recognised = False
    if not recognised:
        raise RolloutError(f"{path} is not the episode list of a rollout store; wrong folder?")
    if header.get("version") != VERSION:
        raise RolloutError(
            f"the rollout store {path.parent} has format version {header.get('version')!r}, this "
            f"dreamenv reads version {VERSION}; install the dreamenv that wrote it"
        )
    records: list[dict[str, Any]] = []
    free = 0
    for number, line in enumerate(lines[1:], start=2):
        try:
            record, _ = _parse(line, "record", checked)
            free = _check_record(record, free)
            records.append(record)
        except KeyError as error:
            raise RolloutError(f"{path} lacks the entry {error} in line {number}") from error
        except (ValueError, TypeError) as error:
            raise RolloutError(
                f"{path}: line {number} is damaged; restore the file from a copy, or delete this "
                f"line and all below to keep the first {number - 2} episodes"
            ) from error
    return header, records, len(committed)


def append_record(path: Path, committed_bytes: int, record: dict[str, Any]) -> int:
    """Commit one episode: write its line behind `committed_bytes` and force it to disk.

    Returns the new number of committed bytes.

    Raises:
        OSError: the disk is full; the journal keeps its committed lines.
    """
    line = _line(record)
    with open(path, "r+b", buffering=0) as file:
        # Whatever a killed writer left behind the last newline is cut off here.
        file.truncate(committed_bytes)
        file.seek(committed_bytes)
        try:
            written = file.write(line)
            if written != len(line):
                raise OSError(28, "No space left on device")
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(committed_bytes)
            raise
    return committed_bytes + len(line)


def _line(entries: dict[str, Any]) -> bytes:
    text = json.dumps(entries).encode()
    return text[:-1] + b', "check": "%s"}\n' % _checksum(text)


def _checksum(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=8).hexdigest().encode()


def _parse(line: bytes, what: str, must: bool) -> tuple[dict[str, Any], bool]:
    """A line's entries, and whether it has a checksum; `must` says that it needs one."""
    found = CHECKSUM.search(line)
    if found:
        line = line[: found.start()] + b"}"
        if found[1] != _checksum(line):
            raise ValueError(f"the {what} is not what was written")
    entries = parse_json(line)
    if not isinstance(entries, dict) or (must and not found):
        raise ValueError(f"the {what} is damaged")
    return entries, found is not None


def _check_record(record: dict[str, Any], free: int) -> int:
    """Refuse entries that no writer makes; returns the first row behind the episode.

    Raises:
        KeyError: an entry is missing.
        ValueError: one is impossible.
    """
    sizes = record["bytes"]
    files = {*sizes, *record.get("digests", {}), *record.get("layouts", {})}
    known = (
        all(type(record[name]) is int for name in ("start", "steps", "reward_events"))
        and free <= record["start"] < MOST_ROWS
        and record["start"] % SHARD_ROWS == 0
        and 0 < record["steps"] < MOST_ROWS
        and 0 <= record["reward_events"] <= record["steps"]
        and _is_seed(record["seed"])
        and isinstance(record["policy"], str)
        and type(record["return"]) in (int, float)
        and isfinite(record["return"])
        and isinstance(record["info"], list)
        and all(is_safe_name(key) for key in [*record["info"], *files])
        and all(type(size) is int and size >= 0 for size in sizes.values())
        and isinstance(record.get("skipped", []), list)
    )
    if not known:
        raise ValueError("an entry is impossible")
    for failure in record.get("skipped", []):
        Failure.from_plain(failure)
    if "provenance" in record:
        Provenance.from_plain(record["provenance"])
    shards = -(-(record["steps"] + 1) // SHARD_ROWS)
    return record["start"] + shards * SHARD_ROWS


def _is_seed(value: Any) -> bool:
    """Whether this is a reset seed, or None for one that nobody knows."""
    return value is None or (type(value) is int and -(2**63) <= value < 2**63)
