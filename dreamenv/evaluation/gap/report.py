"""A gap report: its numbers and pictures, on disk and in one line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.core.files import atomic_write_json, atomic_write_text
from dreamenv.evaluation.gap.page import gap_page, interval, number

FILES = "gap.json", "gap.html"


@dataclass(frozen=True)
class GapReport:
    """Everything that was measured: `summary()` is its gist, `save(folder)` writes it down."""

    result: dict[str, Any]
    """Plain data, as it stands in the JSON."""
    strips: dict[str, list[np.ndarray]] = field(default_factory=dict, repr=False)
    """Agent → pictures (height, width, 3) uint8 of where the dream pays and the real world not."""
    clips: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    """Name of a set of clips → a picture of the first ones, real above dreamt."""
    life: np.ndarray | None = field(default=None, repr=False)
    """Film strips of `dreamenv life`, if there are some."""

    def summary(self) -> str:
        """What matters most, in one line."""
        return one_line(self.result)

    def save(self, folder: str | Path, command: str = "") -> tuple[Path, Path]:
        """Write `gap.json` and `gap.html` into a folder, made if absent; returns both paths.

        Args:
            folder: where to.
            command: that made the report; both files tell it.

        Raises:
            OSError: the folder cannot be written; what stood there stays.
        """
        data, page = (Path(folder) / name for name in FILES)
        atomic_write_json(data, {"command": command, **self.result})
        atomic_write_text(page, gap_page(self.result, self.strips, self.clips, command, self.life))
        return data, page


def one_line(result: dict[str, Any]) -> str:
    """What matters most of a report's plain data, for the terminal."""
    parts = []
    for agent in result["agents"]:
        if agent["in_full"]:
            earned = agent["return"]
            parts.append(
                f"{agent['agent']}: dream {number(earned['dream']['mean'])}, real "
                f"{number(earned['real']['mean'])}, gap {interval(earned['dream_minus_real'], '+')}"
                + _unconfirmed(result["exploitation"].get(agent["agent"]))
            )
    ranking = result["ranking"]
    if ranking is not None:
        parts.append(
            f"{ranking['agents']} agents: Spearman {interval(ranking['spearman'])}, "
            f"MMRV {number(ranking['mmrv']['mean'], digits=3)}"
        )
    for found in result["transfer"] or []:
        means = ", ".join(f"{k} {number(v['mean'])}" for k, v in found["labels"].items())
        parts.append(f"{found['real']}: {means}")
    spawns = result["spawns"]
    parts.append(f"{spawns['reached']} of {spawns['drawn']} spawns reached")
    return "; ".join(parts)


def _unconfirmed(case: dict[str, Any] | None) -> str:
    share = None if case is None else case["share_unconfirmed"]["mean"]
    return "" if share is None else f", {share:.0%} of the dreamt reward unconfirmed"


write_report = GapReport.save
"""As version 0.1 called it: `write_report(report, folder)`."""
