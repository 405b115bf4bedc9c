"""LeRobot data sets of version 3: `meta/`, `data/*.parquet`, `videos/KEY/*.mp4`.

Time: `action[t]`, `next.reward[t]`, `next.done[t]` and `next.success[t]` **follow** frame t. There
are as many as frames, so the last of them lead to a frame that was not recorded. An episode
terminated where it was done and succeeded; one that was only done was cut. Videos are lossy; the
frames stored are those decoded. Actions are a box from the least to the greatest of the data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dreamenv.core.errors import RolloutError, UnreadableFileError
from dreamenv.core.reading import read_object
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.importers.action_range import ActionRange
from dreamenv.rollouts.importers.building import LastSteps, build
from dreamenv.rollouts.importers.columns import Column, frame_space, infos_of
from dreamenv.rollouts.importers.files import walk
from dreamenv.rollouts.importers.lerobot_files import (
    BATCH,
    BATCH_OF_IMAGES,
    Table,
    VideoOfMany,
    numbers,
    pictures,
)
from dreamenv.rollouts.importers.source import Item, Said
from dreamenv.rollouts.importers.videos import read_video
from dreamenv.rollouts.integrity import is_safe_name
from dreamenv.rollouts.timing import Stands

STANDS = Stands.FOLLOWS
REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"
NOT_INFOS = {"action", REWARD, DONE, SUCCESS, "index", "episode_index", "frame_index"}


class LeRobotData:
    """The episodes of one data set, seen by one of its cameras."""

    uses: ClassVar[frozenset[str]] = frozenset(
        {"env", "image_key", "action_space", "policy", "last_step"}
    )

    def __init__(self, place: str | Path, said: Said) -> None:
        self.place, self._said = Path(place), said
        info = self.place / "meta" / "info.json"
        try:
            self._about = about = read_object(info)
            version = str(about["codebase_version"])
            if not version.startswith("v3"):
                raise RolloutError(
                    f"{info}: codebase_version is {version}; convert the data set to version 3 "
                    "with lerobot's own script for that"
                )
            self._features: dict[str, Any] = about["features"]
            self._fps = float(about["fps"])
            self._names = self._features["action"].get("names")
            self._camera = self._find_camera(said.image_key)
            kinds = {name: feature["dtype"] for name, feature in self._features.items()}
        except KeyError as error:
            raise RolloutError(f"{info} lacks the entry {error}") from None
        except RolloutError:
            raise
        except (OSError, UnreadableFileError, TypeError, ValueError, AttributeError) as error:
            raise RolloutError(f"{info} cannot be read: {error}") from error
        self._is_video = kinds[self._camera] == "video"
        pictured = {name for name, kind in kinds.items() if kind in ("video", "image")}
        self._columns = [name for name in kinds if name not in pictured]
        if not self._is_video:
            self._columns.append(self._camera)
        self.env_id = said.env or self.place.name
        self._open_table: tuple[Path, int, Table] | None = None
        self._open_video: VideoOfMany | None = None
        self.observation_space = frame_space(self._first_frame())
        self.action_space = said.space or self._range()
        self.details: dict[str, Any] = {
            "actions": STANDS.value,
            "rewards": STANDS.value if REWARD in kinds else None,
            "image_key": self._camera,
            "fps": self._fps,
            "robot_type": about.get("robot_type"),
            "action_names": self._names,
        }
        self._left: set[str] = pictured - {self._camera}
        self._last = LastSteps(said.last_step)

    def items(self) -> Iterator[Item]:
        """The episodes in the order of `meta/episodes`."""
        for row in self._episodes():
            yield Item(str(row["episode_index"]), partial(self._load, row))

    def notes(self) -> list[str]:
        """What became of last steps, and columns that are no infos."""
        left = ", ".join(sorted(self._left))
        more = [f"left out: {left}"] if left else []
        return [*self._last.notes(), *more]

    def _load(self, row: dict[str, Any]) -> Episode:
        number, count = int(row["episode_index"]), int(row["length"])
        if count < 1:
            raise RolloutError(f"{self.place}: episode {number} has length {count}")
        path = self._data_file(row)
        pieces = self._table(path, number).episode(number, count)
        recorded = self._frames(row, pieces, path, count)
        frames = self._last.frames(recorded)
        where = f"{path}: episode {number}"
        columns: dict[str, Column] = {}
        for name in self._columns:
            values = numbers(pieces[name]) if name != self._camera else None
            if values is not None:
                columns[name] = Column(where, name, values)
            elif name != self._camera:
                self._left.add(name)
        if "action" not in columns:
            raise RolloutError(f"{where}: action holds no numbers of one shape")
        steps = {
            name: columns[name].steps(len(frames), STANDS)
            for name in ("action", REWARD, DONE, SUCCESS)
            if name in columns
        }
        done = columns[DONE].flags() if DONE in columns else np.zeros(count, np.bool_)
        reward = columns[REWARD].rewards() if REWARD in columns else np.zeros(count, np.float32)
        self._last.count(float(reward[-1]), bool(done[-1]))
        terminated = None
        if DONE in steps and SUCCESS in steps:
            terminated = steps[DONE].flags() & steps[SUCCESS].flags()
        info, _ = infos_of({n: c for n, c in columns.items() if n not in NOT_INFOS}, count)
        return build(
            frames,
            steps["action"].actions(self.action_space),
            steps[REWARD].rewards() if REWARD in steps else None,
            terminated,
            info={key: self._last.frames(values) for key, values in info.items()},
            policy=self._said.policy,
        )

    def _frames(
        self, row: dict[str, Any], pieces: dict[str, list[Any]], path: Path, count: int
    ) -> np.ndarray:
        if self._is_video:
            file, since = self._video_file(row), row[f"videos/{self._camera}/from_timestamp"]
            frames = self._video(file).episode(float(since), count, self._fps)
            return Column(str(file), "frames", frames).frames(self.observation_space)
        frames = pictures(pieces[self._camera], path, self._camera, self._said)
        return Column(str(path), self._camera, frames).frames(self.observation_space)

    def _find_camera(self, asked: str) -> str:
        cameras = [n for n, f in self._features.items() if f["dtype"] in ("video", "image")]
        if asked in cameras or (not asked and len(cameras) == 1):
            return asked or cameras[0]
        raise RolloutError(
            f"{self.place} has the cameras {cameras}; name the one to learn with --image-key"
        )

    def _first_frame(self) -> np.ndarray:
        row = next(self._episodes(), None)
        if row is None:
            raise RolloutError(f"{self.place} has no episodes")
        if self._is_video:
            return read_video(self._video_file(row), self._said, most=1)
        path = self._data_file(row)
        table = Table(path, [self._camera], batch=1)
        first = next(table.batches(), None)
        table.close()
        if first is None:
            raise RolloutError(f"{path} has no rows")
        return pictures([first[self._camera]], path, self._camera, self._said)

    def _range(self) -> Any:
        """The box of all actions, in one pass over their column alone."""
        found, folder = ActionRange(), self.place / "data"
        for path in walk(folder, ".parquet"):
            table, first = Table(path, ["action"]), 0
            for batch in table.batches():
                values = numbers([batch["action"]])
                if values is None:
                    raise RolloutError(f"{path}: action holds no numbers of one shape")
                found.add(Column(str(path), "action", values, first))
                first += len(values)
            table.close()
        return found.space()

    def _episodes(self) -> Iterator[dict[str, Any]]:
        names = ["episode_index", "length", "data/chunk_index", "data/file_index"]
        if self._is_video:
            key = f"videos/{self._camera}/"
            names += [key + name for name in ("chunk_index", "file_index", "from_timestamp")]
        for path in walk(self.place / "meta" / "episodes", ".parquet"):
            table = Table(path, names)
            for batch in table.batches():
                plain = {name: column.to_pylist() for name, column in batch.items()}
                for values in zip(*plain.values(), strict=True):
                    yield dict(zip(plain, values, strict=True))
            table.close()

    def _data_file(self, row: dict[str, Any]) -> Path:
        return self._path("data_path", row["data/chunk_index"], row["data/file_index"])

    def _video_file(self, row: dict[str, Any]) -> Path:
        key = f"videos/{self._camera}/"
        return self._path("video_path", row[key + "chunk_index"], row[key + "file_index"])

    def _path(self, template: str, chunk: int, file: int) -> Path:
        try:
            name = str(self._about[template]).format(
                chunk_index=chunk, file_index=file, video_key=self._camera
            )
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise RolloutError(f"{self.place}: {template} in meta/info.json: {error!r}") from error
        if not is_safe_name(name):
            raise RolloutError(f"{self.place}: {template} leads out of the data set, to {name}")
        return self.place / name

    def _table(self, path: Path, number: int) -> Table:
        """The table that is open, if the episode comes behind what was read of it."""
        if self._open_table is None or self._open_table[0] != path or number <= self._open_table[1]:
            if self._open_table is not None:
                self._open_table[2].close()
            batch = BATCH if self._is_video else BATCH_OF_IMAGES
            self._open_table = path, number, Table(path, self._columns, batch)
        self._open_table = path, number, self._open_table[2]
        return self._open_table[2]

    def _video(self, path: Path) -> VideoOfMany:
        if self._open_video is None or self._open_video.path != path:
            if self._open_video is not None:
                self._open_video.close()
            self._open_video = VideoOfMany(path, self._said)
        return self._open_video
