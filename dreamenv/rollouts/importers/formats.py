"""The formats that can be imported, and which of them a folder is in."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from dreamenv.core.errors import RolloutError, UnreadableFileError
from dreamenv.core.reading import read_object
from dreamenv.rollouts.importers.columns import Column
from dreamenv.rollouts.importers.files import ARRAYS, array_names, read_arrays, walk
from dreamenv.rollouts.importers.source import Source
from dreamenv.rollouts.importers.videos import ENDINGS
from dreamenv.rollouts.npz_layout import DESCRIPTION

FORMATS = {
    "npz": "npz:NpzRollouts",
    "minari": "minari:MinariData",
    "memory-maze": "memory_maze:MemoryMazeData",
    "teco-minecraft": "teco:TecoMinecraft",
    "teco-dmlab": "teco:TecoDMLab",
    "lerobot": "lerobot:LeRobotData",
    "dreamer": "dreamer:DreamerEpisodes",
    "video": "videos_and_actions:VideosAndActions",
}
"""Name → module here and class."""
MINARI_ID = re.compile(r"\w[-\w/]*-v\d+")


def source_class(name: str) -> type[Source]:
    """The class that reads a format.

    Raises:
        RolloutError: there is no such format.
    """
    if name not in FORMATS:
        raise RolloutError(f"there is no format {name!r}; there are {', '.join(FORMATS)}")
    module, _, attribute = FORMATS[name].partition(":")
    return getattr(import_module(f"dreamenv.rollouts.importers.{module}"), attribute)


def recognised(place: str) -> str:
    """The format of what is at a place, by the names of files and arrays.

    Raises:
        RolloutError: nothing is there, or nothing that is known.
    """
    folder = Path(place)
    if not folder.exists():
        if MINARI_ID.fullmatch(place):
            return "minari"
        raise RolloutError(f"there is no file or folder {place}")
    if (folder / DESCRIPTION).exists():
        return "npz"
    if (folder / "meta" / "info.json").exists():
        return "lerobot"
    if any(_is_minari(folder / part) for part in ("metadata.json", "data/metadata.json")):
        return "minari"
    for path in walk(folder, ARRAYS, *ENDINGS):
        found = _by_video(path) if path.suffix.lower() in ENDINGS else _by_arrays(path)
        if found:
            return found
        break
    raise RolloutError(
        f"{place} is in no format that is known by its looks; say which with --format: "
        f"{', '.join(FORMATS)}"
    )


def _is_minari(path: Path) -> bool:
    try:
        return "data_format" in read_object(path)
    except (FileNotFoundError, NotADirectoryError, UnreadableFileError):
        return False


def _by_arrays(path: Path) -> str | None:
    names = set(array_names(path))
    if {"image", "action", "maze_layout"} <= names:
        return "memory-maze"
    if {"action", "reward"} <= names and names & {"is_first", "is_terminal", "discount"}:
        return "dreamer"
    if {"video", "actions"} <= names:
        return "teco-dmlab"
    video = next((v for e in ENDINGS if (v := path.with_suffix(e)).exists()), None)
    return _by_video(video) if video else None


def _by_video(video: Path) -> str:
    """TECO's actions begin with a dummy 0 and are 1, 2 or 3 then, and nothing is beside them."""
    arrays = video.with_suffix(ARRAYS)
    if arrays.exists() and array_names(arrays) == ["actions"]:
        actions: Column = read_arrays(arrays)["actions"]
        values = actions.values
        whole = values.ndim == 1 and values.dtype.kind in "iu" and len(values) > 1
        if whole and values[0] == 0 and values[1:].min() >= 1 and values.max() <= 3:
            return "teco-minecraft"
    return "video"
