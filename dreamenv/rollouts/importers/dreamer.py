"""Episodes as Dreamer writes them: `.npz` files with a row per frame.

`image` (rows, H, W, C), `action` (rows,) whole numbers or (rows, n) one-hot or floats, `reward`
(rows,), and `is_first`, `is_last`, `is_terminal` (rows,); `discount` 0 is terminal, too. Files are
episodes, or the chunks of DreamerV3's replay, `TIME-UUID-SUCCESSOR-LENGTH.npz`, which are read as
the streams that their names link; an episode begins where `is_first` says so.

Time: `reward[t]` and the flags **lead** to frame t in all versions. Actions do not agree:
DreamerV2's and dreamerv3-torch's `action[t]` **leads** to frame t (row 0 is zero), that of
DreamerV3's replay **follows** it (the last row is zero). Chunks are DreamerV3's; of others the row
of zeros tells, and where both rows could be actions the user has to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Discrete

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.importers.action_range import ActionRange
from dreamenv.rollouts.importers.building import build
from dreamenv.rollouts.importers.columns import Column, frame_space, infos_of
from dreamenv.rollouts.importers.files import ARRAYS, read_arrays, relative, require, walk
from dreamenv.rollouts.importers.source import Item, Said
from dreamenv.rollouts.spaces import ActionSpace
from dreamenv.rollouts.timing import Stands

REWARDS = Stands.LEADS
CHUNK = re.compile(r"(?P<time>[^-]+)-(?P<uuid>[^-]+)-(?P<next>[^-]+)-(?P<rows>\d+)\.npz")
NEEDED = ("action", "reward")
SIGNALS = {*NEEDED, "is_first", "is_last", "is_terminal", "discount", "reset", "stepid"}


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of one file."""

    path: Path
    start: int
    stop: int


class DreamerEpisodes:
    """The episodes of a folder of files, or of a replay's chunks."""

    uses: ClassVar[frozenset[str]] = frozenset(
        {"env", "image_key", "actions", "action_space", "policy"}
    )

    def __init__(self, place: str | Path, said: Said) -> None:
        self.place, self._policy = Path(place), said.policy
        self.env_id = said.env or self.place.name
        self._image = said.image_key or "image"
        self._cached: tuple[Path, dict[str, Column]] | None = None
        self._single = 0
        self._left: set[str] = set()
        first = next((pieces for pieces in self._episodes() if len_of(pieces) > 1), None)
        if first is None:
            raise RolloutError(f"there is no episode of two frames or more in {self.place}")
        columns = self._read(first)
        self.observation_space = frame_space(columns[self._image].frames())
        action = columns["action"]
        chunked = CHUNK.fullmatch(first[0].path.name) is not None
        self._stands = said.stands or (Stands.FOLLOWS if chunked else _shown(action))
        steps = action.steps(len(action), self._stands)
        self._one_hot = _is_one_hot(steps.values)
        self.action_space: ActionSpace = said.space or self._space(steps)
        self.details: dict[str, Any] = {
            "actions": self._stands.value,
            "rewards": REWARDS.value,
            "chunks": chunked,
        }

    def items(self) -> Iterator[Item]:
        """The episodes in the order of files, or of streams."""
        self._single = 0
        for pieces in self._episodes():
            first = pieces[0]
            if first.stop == 0:
                yield Item(relative(first.path, self.place), partial(self._load, pieces))
                continue
            if len_of(pieces) == 1:
                self._single += 1
                continue
            name = relative(first.path, self.place)
            if first.start or len(pieces) > 1 or CHUNK.fullmatch(first.path.name):
                name = f"{name}#{first.start}"
            yield Item(name, partial(self._load, pieces))

    def notes(self) -> list[str]:
        """Episodes without a step, and arrays that are no infos."""
        notes = []
        if self._single:
            notes.append(f"{self._single} episodes of a single frame have no step: left out")
        if self._left:
            left = ", ".join(sorted(self._left))
            notes.append(f"left out, because they have no number per frame: {left}")
        return notes

    def _load(self, pieces: list[Piece]) -> Episode:
        columns = self._read(pieces)
        frames = columns[self._image].frames(self.observation_space)
        count = len(frames)
        if count < 2:
            raise columns[self._image].error("has no two rows, so there is no step")
        steps = {
            name: columns[name].beside(count).steps(count, REWARDS)
            for name in ("reward", "is_last", "is_terminal", "discount")
            if name in columns
        }
        terminated = np.zeros(count - 1, np.bool_)
        if "is_terminal" in steps:
            terminated |= steps["is_terminal"].flags()
        elif "discount" in steps:
            terminated |= steps["discount"].rewards() == 0
        truncated = None
        if "is_last" in steps:
            truncated = steps["is_last"].flags() & ~terminated
        action = columns["action"].beside(count).steps(count, self._stands)
        known = {*SIGNALS, self._image}
        info, left = infos_of({n: c for n, c in columns.items() if n not in known}, count)
        self._left.update(left)
        return build(
            frames,
            action.one_hot() if self._one_hot else action.actions(self.action_space),
            steps["reward"].rewards(),
            terminated,
            truncated,
            info,
            self._policy,
        )

    def _space(self, steps: Column) -> ActionSpace:
        if self._one_hot:
            return Discrete(steps.values.shape[1])
        found, leads = ActionRange(), self._stands is Stands.LEADS
        for pieces in self._episodes():
            for number, piece in enumerate(pieces):
                # The outer row of an episode that no step belongs to is no action.
                start = piece.start + (leads and number == 0)
                stop = piece.stop - (not leads and number == len(pieces) - 1)
                if start < stop:
                    column = read_arrays(piece.path, ["action"])["action"]
                    found.add(replace(column, values=column.values[start:stop], first=start))
        return found.space()

    def _episodes(self) -> Iterator[list[Piece]]:
        """The places of all episodes: every `is_first` begins one, and so does a stream."""
        for stream in self._streams():
            begun: list[Piece] = []
            for path, rows in stream:
                if rows < 0:  # damaged, as who loads it will be told; the stream has a gap here
                    yield from ([begun] if begun else [])
                    begun = []
                    yield [Piece(path, 0, 0)]
                    continue
                first = _beginnings(path, rows)
                cuts = [0, *(cut for cut in first if cut), rows]
                for start, stop in zip(cuts, cuts[1:], strict=False):
                    if start in first and begun:
                        yield begun
                        begun = []
                    begun = [*begun, Piece(path, start, stop)]
            if begun:
                yield begun

    def _streams(self) -> Iterator[Iterator[tuple[Path, int]]]:
        """Files whose rows follow each other, with the number of rows that count."""
        chunks: dict[str, re.Match] = {}
        for path in walk(self.place, ARRAYS):
            match = CHUNK.fullmatch(path.name)
            if match is None:
                yield iter([(path, rows_of(path))])
            else:
                chunks[str(path.parent / match["uuid"])] = match
        later = {str(Path(key).parent / match["next"]) for key, match in chunks.items()}
        for key in chunks:
            if key not in later:
                yield _chain(chunks, key)

    def _read(self, pieces: list[Piece]) -> dict[str, Column]:
        """The columns of an episode; the file that was read last is kept, for the next episode."""
        parts = []
        for piece in pieces:
            if self._cached is None or self._cached[0] != piece.path:
                self._cached = None
                columns = read_arrays(piece.path)
                require(columns, piece.path, self._image, *NEEDED)
                self._cached = piece.path, columns
            parts.append(
                {
                    name: replace(
                        column, values=column.values[piece.start : piece.stop], first=piece.start
                    )
                    for name, column in self._cached[1].items()
                    if len(column) > piece.start
                }
            )
        joined = {}
        for name, column in parts[0].items():
            if all(name in part for part in parts):
                joined[name] = _joined(column, [part[name].values for part in parts])
        require(joined, pieces[0].path, self._image, *NEEDED)
        return joined


def len_of(pieces: list[Piece]) -> int:
    """Rows of an episode."""
    return sum(piece.stop - piece.start for piece in pieces)


def rows_of(path: Path) -> int:
    """Rows of a file, by its rewards; −1 if it is damaged."""
    try:
        return len(read_arrays(path, ["reward"])["reward"])
    except RolloutError:
        return -1


def _beginnings(path: Path, rows: int) -> set[int]:
    """Rows of a file with which an episode begins."""
    try:
        column = read_arrays(path, ["is_first"])["is_first"]
    except RolloutError:
        return {0}  # dreamerv3-torch's files and others without it are an episode each
    return set(np.flatnonzero(column.flags()[:rows]).tolist())


def _chain(chunks: dict[str, re.Match], key: str) -> Iterator[tuple[Path, int]]:
    seen = set()
    while key in chunks and key not in seen:
        seen.add(key)
        match, folder = chunks[key], Path(key).parent
        path = folder / match.string
        yield path, min(int(match["rows"]), rows_of(path))
        key = str(folder / match["next"])


def _joined(first: Column, parts: list[np.ndarray]) -> Column:
    if len(parts) == 1:
        return first
    first = replace(first, file=f"{first.file} and the chunks after it")
    try:
        return replace(first, values=np.concatenate(parts))
    except ValueError as error:
        raise first.error(f"goes on in another shape in the next chunk: {error}") from None


def _is_one_hot(values: np.ndarray) -> bool:
    return bool(
        values.ndim == 2
        and values.shape[1] > 1
        and np.isin(values, (0, 1)).all()
        and (values.sum(1) == 1).all()
    )


def _shown(action: Column) -> Stands:
    """Where actions stand, by which of the outer rows are zero and so no actions."""
    if action.values.dtype.kind in "biuf" and action.values.ndim == 2:
        first, last = not action.values[0].any(), not action.values[-1].any()
        if first != last:
            return Stands.LEADS if first else Stands.FOLLOWS
    raise action.error(
        "does not show where it stands in time; say --actions leads if row t led to frame t, as "
        "DreamerV2 and dreamerv3-torch write it, or --actions follows if it was chosen at frame "
        "t, as DreamerV3 does"
    )
