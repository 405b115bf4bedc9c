"""The picture of a gap report: film strip, similarity per step, returns."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.evaluation.bootstrap import Interval
from dreamenv.evaluation.film_strip import film_strip
from dreamenv.evaluation.gap import DREAM, GapReport
from dreamenv.evaluation.open_loop import MEAN, RECONSTRUCTION, REPEAT
from dreamenv.evaluation.report import column_names
from dreamenv.files import atomic_write_bytes

STYLES: dict[str, dict[str, Any]] = {
    DREAM: {"linewidth": 2.5, "color": "tab:blue"},
    REPEAT: {"linestyle": "--", "color": "tab:orange"},
    MEAN: {"linestyle": ":", "color": "tab:gray"},
    RECONSTRUCTION: {"linestyle": "-.", "color": "tab:green"},
}


def draw_gap(reports: list[GapReport], path: Path, clips: int = 2) -> None:
    """Write a PNG with a film strip and curves for each agent, and the returns of all.

    Args:
        reports: one for each agent.
        path: of the PNG; replaced whole.
        clips: clips shown of each agent: the first ones, none is chosen.
    """
    # Without pyplot: no window system is looked for and no figure stays in memory.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [report for report in reports if report.open_loop is not None]
    figure = Figure(figsize=(11, 3.4 + (0.7 + 1.75 * clips) * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    heights = [1.75 * clips + 0.7] * len(shown) + [3.4]
    rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row, report in zip(rows, shown, strict=False):
        axes = row.subplots()
        axes.imshow(_strip(report, clips), interpolation="none")
        axes.set_title(f"{report.agent}: its real episodes, and the dream under the same actions")
        axes.set_axis_off()
    panels = rows[-1].subplots(1, 1 + len(shown), squeeze=False)[0]
    _draw_returns(panels[0], reports)
    for axes, report in zip(panels[1:], shown, strict=True):
        _draw_curves(axes, report)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    atomic_write_bytes(path, buffer.getvalue())


def _strip(report: GapReport, clips: int) -> np.ndarray:
    assert report.open_loop is not None and report.clips is not None
    dreamt = report.open_loop.dreamt[:clips]
    return film_strip(report.clips.frames[: len(dreamt)], dreamt, report.open_loop.context)


def _draw_curves(axes: Any, report: GapReport) -> None:
    loop = report.open_loop
    assert loop is not None
    for name, style in STYLES.items():
        curve = loop.curve("psnr", name, report.seed)
        steps = np.arange(1, len(curve.mean) + 1)
        axes.plot(steps, curve.mean, label=name, **style)
        if curve.low is not None:
            axes.fill_between(steps, curve.low, curve.high, color=style["color"], alpha=0.2)
    axes.set_xticks([1, *range(4, len(loop.psnr[DREAM][0]) + 1, 4)])
    axes.set_xlabel("imagined step")
    axes.set_ylabel("PSNR in dB")
    axes.set_title(f"{report.agent}: {len(loop.episodes)} clips")
    axes.legend(fontsize="small")


def _draw_returns(axes: Any, reports: list[GapReport]) -> None:
    sides = (("dream", "tab:blue", -0.2), ("real", "tab:red", 0.2))
    for side, color, offset in sides:
        values: list[Interval] = [getattr(report, f"{side}_return") for report in reports]
        places = np.arange(len(reports)) + offset
        axes.bar(places, [v.mean for v in values], 0.38, label=side, color=color, alpha=0.7)
        for place, value in zip(places, values, strict=True):
            if value.low is not None:
                axes.plot([place, place], [value.low, value.high], color="black", linewidth=1.5)
    axes.axhline(0, color="black", linewidth=0.8)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0), max(high, 1))  # no reward at all is a small number, not an axis
    axes.set_xticks(np.arange(len(reports)), column_names(reports))
    axes.set_ylabel(f"return of {reports[0].horizon} steps")
    axes.set_title("mean return, 95 % intervals")
    axes.legend(fontsize="small")
