"""What a virtual X server shows: a file that Xvfb keeps up to date, mapped into memory."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import numpy as np

from dreamenv.core.errors import EnvironmentProcessError

_FIELDS = 25
_BITS, _ROW, _COLOURS = 11, 12, 19
"""Numbers of the fields of an X window dump's header (X11/XWDFile.h) that differ here."""


class Screen:
    """The picture of an Xvfb that was started with `-fbdir`; see `view`.

    Args:
        path: the file, an X window dump.

    Raises:
        EnvironmentProcessError: the file is none, or its pixels are not of four bytes, blue first.
    """

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header = struct.unpack(f">{_FIELDS}I", self._memory[: 4 * _FIELDS])
        version, width, height, order = header[1], header[4], header[5], header[7]
        if (version, order, header[_BITS]) != (7, 0, 32):
            raise EnvironmentProcessError(
                f"{path} holds a picture in a form that is not known: {header}"
            )
        start, row = header[0] + 12 * header[_COLOURS], header[_ROW]
        pixels = np.frombuffer(self._memory, np.uint8, row * height, start)
        self._pixels = pixels.reshape(height, row // 4, 4)[:, :width, 2::-1]

    def view(self) -> np.ndarray:
        """The screen (H, W, 3) uint8 as it is now; changes under one's hands, so copy it."""
        return self._pixels
