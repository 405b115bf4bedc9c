"""Logs of one JSON object per line, which a kill may cut off in the middle of the last one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dreamenv.core.errors import CheckpointError, UnreadableFileError
from dreamenv.core.files import atomic_write_text
from dreamenv.core.reading import parse_json, read_bytes

MOST_BYTES = 2**30


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a log, oldest first; none where there is no file.

    A last line without its end was being written when a process was killed: it is left out.

    Raises:
        CheckpointError: another line is no JSON object; the message names it.
    """
    try:
        data = read_bytes(path, MOST_BYTES)
    except FileNotFoundError:
        return []
    except UnreadableFileError as error:
        raise CheckpointError(f"{error}; move it away to go on without it") from error
    whole = data.endswith(b"\n")
    records = []
    lines = data.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            record = parse_json(line)
            if not isinstance(record, dict):
                raise ValueError("it is no JSON object")
        except ValueError as error:
            if number == len(lines) and not whole:
                break
            raise CheckpointError(
                f"line {number} of {path} is damaged ({error}); delete that line to go on without "
                "it"
            ) from error
        records.append(record)
    return records


def append_json_line(path: Path, record: Mapping[str, Any]) -> None:
    """Add an object behind the others; a last line that was cut off makes room for it."""
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read() != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write((json.dumps(dict(record)) + "\n").encode())


def keep_json_lines(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Leave only the objects that are `wanted`; a last line that was cut off goes too.

    Raises:
        CheckpointError: a line is damaged (`read_json_lines`).
    """
    if not path.exists():
        return
    lines = [json.dumps(record) + "\n" for record in read_json_lines(path) if wanted(record)]
    text = "".join(lines)
    if text.encode() != path.read_bytes():
        atomic_write_text(path, text)
