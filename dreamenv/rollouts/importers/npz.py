"""Rollouts that `dreamenv export --to npz` wrote (`dreamenv.rollouts.npz_layout`).

Time: `action[t]`, `reward[t]` and the flags **follow** frame t; there is one row less of them than
of frames. Nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from dreamenv.core.errors import RolloutError, UnreadableFileError
from dreamenv.core.reading import parse_json, read_object
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.importers.building import build
from dreamenv.rollouts.importers.columns import Column, infos_of
from dreamenv.rollouts.importers.files import ARRAYS, read_arrays, relative, require, walk
from dreamenv.rollouts.importers.source import Item, Said
from dreamenv.rollouts.npz_layout import DESCRIPTION, FORMAT, INFO, STEPS, VERSION
from dreamenv.rollouts.provenance import Provenance
from dreamenv.rollouts.spaces import require_action_space, require_image_space, space_from_dict
from dreamenv.rollouts.timing import Stands

STANDS = Stands.FOLLOWS


class NpzRollouts:
    """The episodes of a folder with `rollouts.json`."""

    uses: ClassVar[frozenset[str]] = frozenset({"env"})

    def __init__(self, place: str | Path, said: Said) -> None:
        self.place = Path(place)
        path = self.place / DESCRIPTION
        try:
            about = read_object(path)
            if (about["format"], about["version"]) != (FORMAT, VERSION):
                raise RolloutError(f"{path} describes another layout; is dreamenv too old?")
            self.env_id = said.env or str(about["env_id"])
            frames = space_from_dict(about["observation_space"])
            self.observation_space = require_image_space(frames)
            self.action_space = require_action_space(space_from_dict(about["action_space"]))
        except FileNotFoundError:
            raise RolloutError(f"there is no {path}: the folder is no such export") from None
        except KeyError as error:
            raise RolloutError(f"{path} lacks the entry {error}") from None
        except UnreadableFileError as error:
            raise RolloutError(str(error)) from error
        self.details: dict[str, Any] = {"actions": STANDS.value, "from": about.get("metadata", {})}

    def items(self) -> Iterator[Item]:
        """The files in the order of their names."""
        for path in walk(self.place, ARRAYS):
            yield Item(relative(path, self.place), partial(self._load, path))

    def notes(self) -> list[str]:
        """Nothing is ever left out."""
        return []

    def _load(self, path: Path) -> Episode:
        columns = read_arrays(path)
        require(columns, path, "observation", *STEPS)
        frames = columns["observation"].frames(self.observation_space)
        count = len(frames)
        steps = {name: columns[name].steps(count, STANDS) for name in STEPS}
        infos = {n.removeprefix(INFO): c for n, c in columns.items() if n.startswith(INFO)}
        info, left = infos_of(infos, count)
        if left:
            raise columns[INFO + left[0]].error(f"is not numbers in {count} rows")
        episode = build(
            frames,
            steps["action"].actions(self.action_space),
            steps["reward"].rewards(),
            steps["terminated"].flags(),
            steps["truncated"].flags(),
            info,
            str(columns["policy"].values) if "policy" in columns else "",
            int(columns["seed"].values) if "seed" in columns else None,
        )
        if "provenance" in columns:
            episode.provenance = _provenance(columns["provenance"])
        return episode


def _provenance(column: Column) -> Provenance:
    try:
        return Provenance.from_plain(parse_json(str(column.values)))
    except ValueError as error:
        raise column.error(f"is damaged: {error}") from None
