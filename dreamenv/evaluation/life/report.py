"""What was measured of a dream's life, on disk and in a table."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from dreamenv.core.files import atomic_write_bytes, atomic_write_json
from dreamenv.evaluation.life.lives import Film
from dreamenv.evaluation.life.strips import life_strip

FILES = "life.json", "life.png"


@dataclass(frozen=True)
class LifeReport:
    """Everything that was measured: `rows()` is a table, `save(folder)` writes it down."""

    result: dict[str, Any]
    """Plain data, as it stands in the JSON."""
    films: dict[str, Film] = field(default_factory=dict, repr=False)
    """Denoising passes → frames of the first clips."""

    def rows(self) -> list[list[str]]:
        """A row for each measure, a column for each number of passes, the first row their names."""
        return life_rows(self.result)

    def save(self, folder: str | Path, command: str = "") -> tuple[Path, Path]:
        """Write `life.json` and `life.png` into a folder, made if absent; returns both paths.

        Args:
            folder: where to.
            command: that made the report; the JSON tells it.

        Raises:
            OSError: the folder cannot be written; what stood there stays.
        """
        data, picture = (Path(folder) / name for name in FILES)
        atomic_write_json(data, {"command": command, **self.result})
        films = {f"K = {passes}": film for passes, film in self.films.items()}
        if films:
            buffer = io.BytesIO()
            Image.fromarray(life_strip(films)).save(buffer, "PNG", optimize=True)
            atomic_write_bytes(picture, buffer.getvalue())
        return data, picture


def life_rows(result: dict[str, Any]) -> list[list[str]]:
    """A table of the plain data: a row for each measure, a column for each sampler."""
    found = result["by_denoising_passes"]
    rows = [["measure", *(f"K = {passes}" for passes in found)]]

    def add(name: str, values: list[str]) -> None:
        if any(value != "–" for value in values):
            rows.append([name, *values])

    columns = list(found.values())
    for number, window in enumerate(columns[0]["by_steps"]):
        steps = f"steps {window['steps'][0]}–{window['steps'][1]}"
        here = [column["by_steps"][number] for column in columns]
        add(f"sharpness, share of the real, {steps}", [told(x["sharpness"]) for x in here])
        add(f"motion, share of the real, {steps}", [told(x["motion"]) for x in here])
        add(
            f"distance to real frames, times real to other real, {steps}",
            [told(x["distance"]["ratio"]) for x in here],
        )
        add(f"real or dreamt, AUC, {steps}", [told(x["real_or_dreamt_auc"]) for x in here])
        add(f"PSNR against the recorded future, dB, {steps}", [told(x["psnr_db"]) for x in here])
        add(
            f"expected reward per 1,000 steps (real {told(here[0]['reward']['real'])}), {steps}",
            [told(x["reward"]["expected"]) for x in here],
        )
    _add_turns(columns, add)
    _add_revisits(columns, add)
    _add_cues(columns, add)
    _add_closed_loop(columns, add)
    return rows


def told(value: dict[str, Any] | None, digits: int = 2) -> str:
    """A mean and its interval, or a dash."""
    if value is None or value["mean"] is None:
        return "–"
    mean = f"{value['mean']:.{digits}f}"
    if value["low"] is None:
        return mean
    return f"{mean} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def _add_turns(columns: list[dict[str, Any]], add: Any) -> None:
    for number, turn in enumerate(columns[0]["turns"]):
        here = [column["turns"][number] for column in columns]
        name = f"turn {turn['steps']} steps away and back, dB (real {told(turn['real'], 1)})"
        add(name, [told(x["dream"], 1) for x in here])
        add("… against another dream's frame", [told(x["chance"], 1) for x in here])
        for kind in turn["lost_db"]:
            lost = [told(x["lost_db"][kind], 1) for x in here]
            add(f"… lost without its memory: {kind}", lost)


def _add_revisits(columns: list[dict[str, Any]], add: Any) -> None:
    parts = [column["revisits"] for column in columns]
    if any(part is None or "missing" in part for part in parts):
        return
    for number, row in enumerate(parts[0]["by_age"]):
        here = [part["by_age"][number] for part in parts]
        first, last = row["ages"]
        name = f"revisit after {first}–{last} frames, dB (another clip's {told(row['chance'], 1)})"
        add(name, [told(x["dream"], 1) for x in here])
        add("… above views never seen", [told(x["above_novel"], 1) for x in here])
        for kind in row["lost_db"]:
            lost = [told(x["lost_db"][kind], 1) for x in here]
            add(f"… lost without its memory: {kind}", lost)


def _add_cues(columns: list[dict[str, Any]], add: Any) -> None:
    parts = [column["cues"] for column in columns]
    if any(part is None or "missing" in part for part in parts):
        return
    for number, row in enumerate(parts[0]["by_age"]):
        here = [part["by_age"][number]["right"] for part in parts]
        first, last = row["ages"]
        for memory in row["right"]:
            name = f"colour out of view for {first}–{last} frames (chance {row['chance']:.2f})"
            add(f"{name}, {memory}", [told(x[memory]) for x in here])


def _add_closed_loop(columns: list[dict[str, Any]], add: Any) -> None:
    for number, agent in enumerate(columns[0]["closed_loop"]):
        here = [column["closed_loop"][number] for column in columns]
        name = f"`{agent['agent']}`, reward per 1,000 steps (real {told(agent['real'], 1)})"
        add(name, [told(x["dream"], 1) for x in here])
        add("… dream / real", [told(x["ratio"]) for x in here])
