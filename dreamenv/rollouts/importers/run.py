"""Importing a data set: one episode at a time, each committed before the next is read.

An import that stopped, for whatever reason, goes on where it was: an episode is told from the
others by its name in the data set, which its provenance keeps.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from tqdm import tqdm

from dreamenv.core.errors import MissingDependencyError, RolloutError
from dreamenv.core.frames import RESIZE
from dreamenv.core.interruption import stop_requested
from dreamenv.core.progress import progress_bar
from dreamenv.rollouts.episode import check_episode
from dreamenv.rollouts.failure import EpisodeError
from dreamenv.rollouts.importers.columns import frame_space
from dreamenv.rollouts.importers.formats import recognised, source_class
from dreamenv.rollouts.importers.source import DROP, REPEAT, Item, Said, Source
from dreamenv.rollouts.journal import read_journal
from dreamenv.rollouts.pictures import PICTURE
from dreamenv.rollouts.provenance import Provenance
from dreamenv.rollouts.thinning import stacked_space, thinned
from dreamenv.rollouts.writer import JOURNAL, RolloutWriter

MOST_TOLD = 20
"""Broken episodes that are told while importing; all are counted."""


@dataclass
class Imported:
    """What an import did.

    Attributes:
        complete: False if it was interrupted.
        format: of the data set.
        episodes: that were stored now.
        steps: of them.
        known: episodes that were stored before.
        broken: what is wrong with each episode that was left out.
        notes: what else was left out or changed.
    """

    complete: bool
    format: str
    episodes: int = 0
    steps: int = 0
    known: int = 0
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def import_rollouts(
    source: str | Path,
    out: str | Path,
    format: str = "auto",
    *,
    every: int = 1,
    episodes: int | None = None,
    skip_broken: bool = False,
    progress: bool = True,
    **said: Any,
) -> Imported:
    """Read a data set into the rollout store at `out`; one that was begun is continued.

    Args:
        source: folder or file of the data set, or id of one of Minari's.
        out: folder of the store.
        format: see `dreamenv.rollouts.importers.formats.FORMATS`; "auto" looks at the files.
        every: keep every so many frames, with the actions between them stacked
            (`dreamenv.rollouts.thinning`).
        episodes: stop when the store holds so many.
        skip_broken: leave out episodes that cannot be read, instead of stopping at the first.
        progress: show a progress bar.
        **said: fields of `dreamenv.rollouts.importers.source.Said`: what the files do not say.

    Raises:
        RolloutError: there is no such data set, an episode is broken (the message names file, field
            and index), or the store is of something else. What was stored before stays, and the
            same call goes on.
        MissingDependencyError: a package that reads the format is not installed.
    """
    out, told = Path(out), _said(said)
    if every < 1:
        raise RolloutError(f"--every must be at least 1, not {every}")
    if episodes is not None and episodes < 1:
        raise RolloutError(f"--episodes must be at least 1, not {episodes}")
    name = recognised(str(source)) if format == "auto" else format
    kind = source_class(name)
    told.require_used(kind.uses, name)
    place = str(Path(source).resolve()) if Path(source).exists() else str(source)
    settings = _plain({"source": place, "format": name, **asdict(told)})
    if every != 1:
        settings["every"] = every
    known = _known(out, settings)
    opened = kind(place, told)
    done = Imported(True, name)
    picture = opened.details.get(PICTURE)
    metadata = {"import": {**settings, "data": opened.details}}
    if picture is not None:
        metadata[PICTURE] = picture
    spaces = _frame_space(opened, told), stacked_space(opened.action_space, every)
    with stop_requested() as stop, RolloutWriter(out, opened.env_id, *spaces, metadata) as writer:
        with progress_bar(title="import", unit=" episodes", show=progress) as bar:
            for item in opened.items():
                if stop.is_set():
                    done.complete = False
                    break
                if item.name in known:
                    done.known += 1
                    continue
                if episodes is not None and writer.num_episodes >= episodes:
                    break
                _store(item, told, every, place, writer, done, skip_broken, bar)
    done.notes = opened.notes()
    return done


def _store(
    item: Item,
    said: Said,
    every: int,
    place: str,
    writer: RolloutWriter,
    done: Imported,
    skip_broken: bool,
    bar: tqdm,
) -> None:
    """Read one episode and commit it."""
    try:
        episode = item.load()
        episode.provenance = Provenance(place, item.name, episode.provenance)
        episode.observation = said.fit(episode.observation)
        each: Any = writer.action_space if every == 1 else writer.action_space[0]  # type: ignore[index]
        check_episode(episode, item.name, writer.observation_space, each)
        episode = thinned(episode, every)
    except MissingDependencyError:
        raise
    except RolloutError as error:
        _refuse(error, writer, done, skip_broken, bar)
        return
    try:
        writer.append(episode)
    except EpisodeError as error:  # of any other error the disk is the reason, not the data set
        _refuse(RolloutError(f"{item.name}: {error}"), writer, done, skip_broken, bar)
        return
    done.episodes += 1
    done.steps += len(episode)
    bar.update()
    bar.set_postfix_str(f"{writer.num_steps} steps", refresh=False)


def _refuse(
    error: RolloutError, writer: RolloutWriter, done: Imported, skip_broken: bool, bar: tqdm
) -> None:
    """Leave out a broken episode, or stop there."""
    done.broken.append(str(error))
    if not skip_broken:
        raise RolloutError(
            f"{error}. The {writer.num_episodes} episodes ({writer.num_steps} steps) already "
            f"in {writer.path} are safe; mend or remove it, or leave such episodes out with "
            "--skip-broken, then run the same command again to go on"
        ) from error
    if len(done.broken) <= MOST_TOLD and not bar.disable:
        bar.write(f"left out: {error}", file=sys.stderr)


def _said(said: Mapping[str, Any]) -> Said:
    try:
        made = Said(**said)
        made.stands  # noqa: B018 - a word that says nothing is refused
    except (TypeError, ValueError) as error:
        raise RolloutError(f"nothing can be said like this of a data set: {error}") from None
    if made.frame_size is not None and not (
        len(made.frame_size) == 2 and all(type(side) is int for side in made.frame_size)
    ):
        raise RolloutError(f"a frame size is a height and a width, not {made.frame_size}")
    if made.last_step not in (DROP, REPEAT):
        raise RolloutError(f"--last-step is drop or repeat, not {made.last_step!r}")
    return made


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was said, as it reads when it comes back from JSON."""
    told = {n: value for n, value in settings.items() if value not in ("", {}, None, DROP)}
    if "frame_size" in told:
        told["resize"] = RESIZE
    return json.loads(json.dumps(told))


def _frame_space(source: Source, said: Said) -> Box:
    """The space of the frames in their final size."""
    space = source.observation_space
    if said.frame_size in (None, space.shape[:2]):
        return space
    return frame_space(said.fit(np.zeros((1, *space.shape), np.uint8)))


def _known(out: Path, settings: Mapping[str, Any]) -> set[str]:
    """The names of the episodes that a store at `out` holds already.

    Raises:
        RolloutError: it holds something else.
    """
    if not (out / JOURNAL).exists():
        return set()
    header, records, _ = read_journal(out / JOURNAL)
    metadata = header.get("metadata")
    stored = metadata.get("import") if isinstance(metadata, dict) else None
    if not isinstance(stored, dict):
        raise RolloutError(f"{out} was not made by import; choose another --out")
    before = {name: value for name, value in stored.items() if name != "data"}
    for name in sorted({*before, *settings}):
        if before.get(name) != settings.get(name):
            raise RolloutError(
                f"{out} was imported with {name} = {before.get(name)}, not {settings.get(name)}; "
                "repeat that to continue it, or choose another --out"
            )
    return {record["provenance"]["episode"] for record in records if "provenance" in record}
