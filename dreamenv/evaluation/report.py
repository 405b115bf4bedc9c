"""Gap reports as a table for the terminal and as JSON; one column per agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.evaluation.bootstrap import CONFIDENCE, RESAMPLES, Interval
from dreamenv.evaluation.gap import DREAM, GapReport
from dreamenv.evaluation.open_loop import MEAN, RECONSTRUCTION, REPEAT
from dreamenv.evaluation.rewards import EventScores
from dreamenv.files import atomic_write_json

STEPS_SHOWN = (1, 2, 4, 8, 16)
SHOWN = (DREAM, REPEAT, MEAN, RECONSTRUCTION)


def gap_table(reports: list[GapReport]) -> str:
    """Table with a row for each measure and a column for each agent."""
    first = reports[0]
    rows = [["", *column_names(reports)]]

    def add(label: str, cells: list[str]) -> None:
        rows.append([label, *cells])

    add(f"return of {first.horizon} steps", [""] * len(reports))
    add("  in the dream", [_interval(report.dream_return) for report in reports])
    add("  in the real environment", [_interval(report.real_return) for report in reports])
    add("  dream − real", [_interval(report.difference, "+") for report in reports])
    steps = _steps_shown(reports)
    if steps:
        heading = "/".join(map(str, steps))
        for metric, unit, digits in (("psnr", "PSNR in dB", 1), ("ssim", "SSIM", 2)):
            add(f"{unit}, imagined step {heading}", [""] * len(reports))
            for name in SHOWN:
                add(f"  {name}", [_curve(r, metric, name, steps, digits) for r in reports])
    add("reward events on real frames", [_counts(report.real_frames) for report in reports])
    add("  average precision", [_value(r.real_frames.average_precision) for r in reports])
    add("  precision", [_value(report.real_frames.precision) for report in reports])
    add("  recall", [_value(report.real_frames.recall) for report in reports])
    dreamt = [report.clip_events for report in reports]
    tolerance = max((scores.tolerance for scores in dreamt if scores), default=0)
    add(f"reward events dreamt in clips, ±{tolerance} step", [_counts(s) for s in dreamt])
    add("  average precision", [_value(s.average_precision if s else None) for s in dreamt])
    add("  precision", [_value(s.precision if s else None) for s in dreamt])
    add("  recall", [_value(s.recall if s else None) for s in dreamt])
    return "\n".join([*_heading(reports), "", *aligned(rows)])


def to_json(report: GapReport) -> dict[str, Any]:
    """Everything measured, as plain data; None where nothing could be measured."""
    curves: dict[str, Any] | None = None
    if report.open_loop is not None:
        loop = report.open_loop
        curves = {
            "clips": len(loop.episodes),
            "context": loop.context,
            "horizon": len(loop.psnr[DREAM][0]),
            "psnr_db": {name: loop.curve("psnr", name, report.seed).to_json() for name in SHOWN},
            "ssim": {name: loop.curve("ssim", name, report.seed).to_json() for name in SHOWN},
            "psnr_db_above": {
                name: loop.margin(DREAM, name, report.seed).to_json() for name in (REPEAT, MEAN)
            },
        }
    return {
        "agent": report.agent,
        "agent_spec": report.agent_spec,
        "dream": report.dream_id,
        "real": report.real_id,
        "model_trained_on": report.model_of,
        "steps_per_episode": report.horizon,
        "seed": report.seed,
        "interval": f"{CONFIDENCE:.0%} percentile bootstrap, {RESAMPLES} resamples, by episode",
        "return": {
            "dream": report.dream_return.to_json(),
            "real": report.real_return.to_json(),
            "dream_minus_real": report.difference.to_json(),
            "dream_episodes": report.dream_returns,
            "real_episodes": report.real_returns,
        },
        "open_loop": curves,
        "reward_events": {
            "real_frames": report.real_frames.to_json(),
            "open_loop_clips": report.clip_events.to_json() if report.clip_events else None,
        },
    }


def write_reports(reports: list[GapReport], folder: str | Path, **about: Any) -> tuple[Path, Path]:
    """Write `gap.json` and `gap.png` into a folder; returns both paths.

    Args:
        reports: one for each agent.
        folder: made if absent.
        about: more entries of the JSON, such as the command.
    """
    from dreamenv.evaluation.picture import draw_gap

    paths = Path(folder) / "gap.json", Path(folder) / "gap.png"
    atomic_write_json(paths[0], {**about, "agents": [to_json(report) for report in reports]})
    draw_gap(reports, paths[1])
    return paths


def column_names(reports: list[GapReport]) -> list[str]:
    """The agents' names, numbered where two would be called the same."""
    names = [report.agent for report in reports]
    return [
        f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def _heading(reports: list[GapReport]) -> list[str]:
    first = reports[0]
    lines = [
        f"dream: {first.dream_id} (its model was trained on {first.model_of})",
        f"real:  {first.real_id}",
        f"{len(first.dream_returns)} episodes on each side, {CONFIDENCE:.0%} bootstrap intervals",
    ]
    loop = first.open_loop
    if loop is not None:
        lines.append(
            f"{len(loop.episodes)} clips of the agent's own real episodes: {loop.context} frames "
            f"watched, {loop.psnr[DREAM].shape[1]} imagined under its actions"
        )
    else:
        lines.append("no real episode was long enough for an open-loop clip")
    return lines


def aligned(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines of text, the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("   ".join(cells).rstrip())
    return lines


def _steps_shown(reports: list[GapReport]) -> list[int]:
    loops = [report.open_loop for report in reports if report.open_loop is not None]
    return [step for step in STEPS_SHOWN if loops and step <= loops[0].psnr[DREAM].shape[1]]


def _curve(report: GapReport, metric: str, name: str, steps: list[int], digits: int) -> str:
    if report.open_loop is None:
        return "–"
    mean = getattr(report.open_loop, metric)[name].mean(0)
    return " / ".join(f"{mean[step - 1]:.{digits}f}" for step in steps)


def _interval(value: Interval, sign: str = "") -> str:
    mean = f"{float(np.asarray(value.mean)):{sign}.2f}"
    if value.low is None:
        return f"{mean} (one episode: no interval)"
    if value.low == value.high:
        return f"{mean} (every episode alike)"
    return f"{mean} [{float(value.low):{sign}.2f}, {float(value.high):{sign}.2f}]"


def _counts(scores: EventScores | None) -> str:
    if scores is None:
        return "–"
    events = f"{scores.events or 'no'} event{'s' if scores.events > 1 else ''}"
    return f"{events} in {scores.frames} steps, {scores.predicted} predicted"


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
