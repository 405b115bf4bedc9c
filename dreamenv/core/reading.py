"""Reading files that anybody may have written: quickly, in bounded memory, running nothing.

Whatever is wrong with a file is an `UnreadableFileError`; a file that is not there is Python's own
`FileNotFoundError`. Callers say what the file was to be and what to do next.
"""

from __future__ import annotations

import json
import os
import stat
import zipfile
from collections.abc import Iterable
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.core.errors import UnreadableFileError

SMALL = 2**24
"""Bytes of a JSON file, unless its reader says otherwise."""
DEPTH = 64
"""Most objects and arrays inside each other: far less than what Python could not copy or print."""
INTEGER = 2**128
"""No integer is as large as this; the state of a NumPy generator has 128 bits."""
STRAY = (".ds_store", "thumbs.db", "desktop.ini")
"""Files that file managers leave wherever they look, in lower case."""


def is_stray(name: str) -> bool:
    """Whether a file is none of ours but what a file manager or an editor leaves behind."""
    return (
        name.lower() in STRAY
        or name.startswith(("._", ".#", ".~", ".nfs"))
        or name.endswith(("~", ".swp", ".swo", ".bak", ".orig"))
        or (name.startswith("#") and name.endswith("#"))
    )


def open_file(path: str | Path, most: int) -> BufferedReader:
    """Open an ordinary file of at most `most` bytes.

    Raises:
        UnreadableFileError: it is a folder, a pipe or a device, too large, or may not be read.
    """
    try:
        # A pipe that nobody writes to would be waited for, so it is not even opened.
        _require_ordinary(path, os.stat(path), most)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(path, flags), "rb")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, UnreadableFileError):
            raise
        raise UnreadableFileError(f"{path} cannot be read: {error}") from error
    try:
        _require_ordinary(path, os.fstat(file.fileno()), most)
    except BaseException:
        file.close()
        raise
    return file


def read_bytes(path: str | Path, most: int = SMALL) -> bytes:
    """All of an ordinary file.

    Raises:
        UnreadableFileError: as `open_file`.
    """
    with open_file(path, most) as file:
        try:
            return file.read(min(most, os.fstat(file.fileno()).st_size))
        except (OSError, MemoryError) as error:
            raise UnreadableFileError(f"{path} cannot be read: {error!r}") from error


def read_json(path: str | Path, most: int = SMALL) -> Any:
    """The plain data of a JSON file.

    Raises:
        UnreadableFileError: as `read_bytes`, and as `parse_json`.
    """
    data = read_bytes(path, most)
    try:
        return parse_json(data)
    except UnreadableFileError as error:
        raise UnreadableFileError(f"{path}: {error}") from error


def read_object(path: str | Path, most: int = SMALL) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        UnreadableFileError: as `read_json`, or the file holds a list, a number, …
    """
    value = read_json(path, most)
    if not isinstance(value, dict):
        raise UnreadableFileError(f"{path} holds no JSON object")
    return value


def parse_json(text: str | bytes) -> Any:
    """Plain data from JSON that is neither nested deeply nor holds integers of thousands of digits.

    Raises:
        UnreadableFileError: it is no such JSON, or not in UTF-8.
    """
    try:
        value = json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError, MemoryError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UnreadableFileError(f"no JSON that can be read ({what})") from error
    level = [value]
    for _ in range(DEPTH):
        inside: list[Any] = []
        for entry in level:
            if isinstance(entry, dict):
                inside.extend(entry.values())
            elif isinstance(entry, list):
                inside.extend(entry)
            elif isinstance(entry, int) and not -INTEGER < entry < INTEGER:
                raise UnreadableFileError("no JSON that can be read (an integer of over 128 bits)")
        if not inside:
            return value
        level = inside
    raise UnreadableFileError(f"no JSON that can be read (nested more than {DEPTH} deep)")


def read_npz(path: str | Path, names: Iterable[str], most: int) -> dict[str, np.ndarray]:
    """Arrays of numbers, truth values or text from an `.npz`, checked against their checksums.

    What an array declares is compared with what is there before memory is taken for it.

    Args:
        path: of the file.
        names: of the arrays; others in the file are not looked at.
        most: bytes of all of them, unpacked.

    Raises:
        UnreadableFileError: the file is no `.npz`, lacks an array, is damaged or too large.
    """
    found: dict[str, np.ndarray] = {}
    try:
        with open_file(path, most) as file, zipfile.ZipFile(file) as archive:
            for name in names:
                found[name] = _read_array(archive, f"{name}.npy", most)
                most -= found[name].nbytes
    except (FileNotFoundError, UnreadableFileError):
        raise
    except Exception as error:  # a damaged zip raises whatever it meets first
        raise UnreadableFileError(f"{path} is damaged: {error!r}") from error
    return found


def read_zip_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """One member of a zip, whatever size the zip says that it has.

    Raises:
        UnreadableFileError: it unpacks to more than `most` bytes.
    """
    with archive.open(name) as member:
        data = member.read(most + 1)
    if len(data) > most:
        raise UnreadableFileError(f"{name} unpacks to more than {most} bytes")
    return data


def _require_ordinary(path: str | Path, about: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(about.st_mode):
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "a pipe or a device"
        raise UnreadableFileError(f"{path} is {kind} and not a file")
    if about.st_size > most:
        raise UnreadableFileError(f"{path} has {about.st_size} bytes, more than {most}")


def _read_array(archive: zipfile.ZipFile, name: str, most: int) -> np.ndarray:
    with archive.open(name) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise UnreadableFileError(f"{name} is of a version of .npy for no plain array")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        size = prod(shape) * dtype.itemsize
        if dtype.kind not in "biufU" or min(shape, default=0) < 0:
            raise UnreadableFileError(f"{name} holds no numbers but {dtype} {shape}")
        if size > most:
            raise UnreadableFileError(f"{name} unpacks to {size} bytes, more than {most}")
        if member.tell() + size != archive.getinfo(name).file_size:
            raise UnreadableFileError(f"{name} declares {shape} {dtype}, but holds less or more")
        raw = np.empty(size, np.uint8)
        filled = 0
        while filled < size:
            part = member.read(min(2**20, size - filled))
            if not part:
                raise UnreadableFileError(f"{name} is cut short")
            raw[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
            filled += len(part)
        if member.read(1):  # and so its checksum has been compared
            raise UnreadableFileError(f"{name} holds more than it declares")
    return raw.view(dtype).reshape(shape, order="F" if fortran else "C")
