"""A gap report on disk, and in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dreamenv.core.files import atomic_write_json, atomic_write_text
from dreamenv.evaluation.gap.measure import GapReport
from dreamenv.evaluation.gap.page import gap_page, interval, number

FILES = "gap.json", "gap.html"


def write_report(report: GapReport, folder: str | Path, command: str = "") -> tuple[Path, Path]:
    """Write `gap.json` and `gap.html` into a folder, which is made if absent; returns both paths.

    Raises:
        OSError: the folder cannot be written; what stood there stays.
    """
    data, page = (Path(folder) / name for name in FILES)
    atomic_write_json(data, {"command": command, **report.result})
    atomic_write_text(page, gap_page(report, command))
    return data, page


def one_line(result: dict[str, Any]) -> str:
    """What matters most, for the terminal."""
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
