"""The result files that the performance page is made of."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Result = dict[str, Any]
FILES = (
    "dream_speed", "adapter_speed", "endurance", "state_bytes", "open_loop", "open_loop_shortcut",
    "peers",
)  # fmt: skip
COMMANDS = {
    "dream_speed": "python -m benchmarks.dream_speed",
    "training_speed": "python -m benchmarks.training_speed",
    "adapter_speed": "python -m benchmarks.adapter_speed",
    "endurance": "python -m benchmarks.endurance",
    "state_bytes": "python -m benchmarks.state_bytes",
    "open_loop": "python -m benchmarks.open_loop --rollouts …",
    "open_loop_shortcut": "sh scripts/train_shortcuts.sh",
}


@dataclass(frozen=True)
class Quality:
    """PSNR in dB of the frames of an open loop, against held-out episodes."""

    curve: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over all imagined frames."""
        return statistics.fmean(self.curve)


class Results:
    """What was measured, by name of the file; empty where nothing was.

    `training` holds every file `training_speed*.json`: eager, compiled and so on.
    """

    def __init__(self, folder: Path) -> None:
        self.files = {name: _read(folder / f"{name}.json") for name in FILES}
        paths = sorted(folder.glob("training_speed*.json"))
        # What compares two ways of training in turns is another kind of result.
        self.training = [found for path in paths if "by_window" in (found := _read(path))]

    def __getitem__(self, name: str) -> Result:
        return self.files[name]

    def dream(self, part: str) -> Any:
        """A part of the dream's speed; nothing where the file is absent or of an older form."""
        return self["dream_speed"].get(part) if "checkpoint" in self["dream_speed"] else None

    def quality(self, passes: int, weights: str | None = None) -> Quality | None:
        """Quality at K, if it was measured on the weights whose speed was, or on `weights`."""
        weights = weights or (self.dream("checkpoint") or {}).get("weights_sha256")
        loop = self["open_loop"]
        if not loop or loop["checkpoint"]["weights_sha256"] != weights:
            return None
        return quality_in(loop, passes)

    def speed(self, dtype: str, slots: int, passes: int) -> Result | None:
        """The row of `by_slots`."""
        wanted = {"dtype": dtype, "slots": slots, "denoising_steps": passes}
        for row in self.dream("by_slots") or ():
            if all(row[name] == value for name, value in wanted.items()):
                return row
        return None

    def ages(self) -> Iterable[tuple[str, Result, Result]]:
        """(file, what was aged, row) of old dreams beside young ones."""
        for name in ("dream_speed", "endurance"):
            found = self[name].get("over_time", {})
            for row in found.get("ages", ()):
                yield name, found, row


def quality_in(loop: Result, passes: int) -> Quality | None:
    """Quality at K in the result of `benchmarks/open_loop.py`."""
    found = loop["psnr_db"].get(f"model, K={passes}")
    return Quality(tuple(found["mean"])) if found else None


def _read(path: Path) -> Result:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
