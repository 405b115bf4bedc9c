"""Frames of a video file, by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.importers.source import Said, missing

ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov")


class Video:
    """An open video, read forwards; going back opens it at the key frame before.

    Args:
        path: of the file.

    Raises:
        MissingDependencyError: PyAV is not installed.
        RolloutError: it is no video.
    """

    def __init__(self, path: Path) -> None:
        av = _library()
        self.path = path
        try:
            self._container = av.open(str(path))
            self._stream = self._container.streams.video[0]
        except (av.error.FFmpegError, OSError, IndexError) as error:
            raise RolloutError(f"{path} is no video that can be read: {error}") from error
        self._errors = (av.error.FFmpegError, OSError)
        self._begun = False

    def frames(self, since: float = 0.0) -> Iterator[tuple[float, np.ndarray]]:
        """Each frame from a time in seconds on: its time, and (H, W, 3) uint8.

        Raises:
            RolloutError: one cannot be decoded.
        """
        count = 0
        try:
            start = self._stream.start_time or 0
            if since > 0 or self._begun:
                place = start + int(since / self._stream.time_base)
                self._container.seek(place, stream=self._stream, backward=True)
            self._begun = True
            for frame in self._container.decode(self._stream):
                time = float((frame.pts - start) * self._stream.time_base)
                if time >= since:
                    yield time, frame.to_ndarray(format="rgb24")
                    count += 1
        except self._errors as error:
            raise RolloutError(
                f"{self.path}: frames[{count}] cannot be decoded: {error}"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._container.close()


def read_video(path: Path, said: Said, most: int | None = None) -> np.ndarray:
    """All frames of a video, or the first `most`, (frames, H, W, 3) uint8, in their final size.

    Raises:
        RolloutError: it is no video, is damaged, or has no frames.
    """
    video = Video(path)
    try:
        found = []
        for _, frame in video.frames():
            found.append(said.fit(frame))
            if len(found) == most:
                break
    finally:
        video.close()
    if not found:
        raise RolloutError(f"{path} has no frames")
    return np.stack(found)


def _library() -> Any:
    try:
        import av
    except ImportError:
        raise missing("PyAV", "video", "reading videos") from None
    return av
