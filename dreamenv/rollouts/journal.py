"""The list of committed episodes: a text file that only grows, one JSON record per line.

Line 0 describes the store; every further line commits one episode. A line counts only once its
newline is on disk, so a writer that dies mid-line leaves all earlier episodes as they were.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dreamenv.core.errors import RolloutError
from dreamenv.core.files import atomic_write_text

FORMAT = "dreamenv-rollouts"
VERSION = 1


def create_journal(path: Path, header: dict[str, Any]) -> None:
    """Write a journal with no episodes, atomically."""
    line = json.dumps({"format": FORMAT, "version": VERSION, **header})
    atomic_write_text(path, line + "\n")


def read_journal(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
    """Read the header, the committed records, and the number of bytes they occupy.

    Raises:
        RolloutError: there is no journal, or it is not one, or a committed line is damaged.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise RolloutError(
            f"no rollout store at {path.parent}; make one with "
            f"`dreamenv collect --out {path.parent} ...`"
        ) from None
    committed = data[: data.rfind(b"\n") + 1]
    lines = committed.splitlines()
    try:
        header = json.loads(lines[0])
        recognised = header.get("format") == FORMAT
    except (IndexError, ValueError, AttributeError):
        recognised = False
    if not recognised:
        raise RolloutError(f"{path} is not the episode list of a rollout store; wrong folder?")
    if header["version"] != VERSION:
        raise RolloutError(
            f"the rollout store {path.parent} has format version {header['version']}, this "
            f"dreamenv reads version {VERSION}; install the dreamenv that wrote it"
        )
    records = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            records.append(json.loads(line))
        except ValueError:
            raise RolloutError(
                f"{path}: line {number} is damaged; restore the file from a copy, or delete this "
                f"line and all below to keep the first {number - 2} episodes"
            ) from None
    return header, records, len(committed)


def append_record(path: Path, committed_bytes: int, record: dict[str, Any]) -> int:
    """Commit one episode: write its line behind `committed_bytes` and force it to disk.

    Returns the new number of committed bytes.

    Raises:
        OSError: the disk is full; the journal keeps its committed lines.
    """
    line = (json.dumps(record) + "\n").encode()
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
