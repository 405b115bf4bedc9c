"""What all plots of results share: PNG files, as wide as a page, for any kind of colour vision."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dreamenv.core.files import atomic_write_bytes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B6914")
"""Okabe and Ito's palette, and a brown: told apart with any kind of colour vision."""
MARKERS = "osD^vPX*"
Draw = Callable[[Any], bool]
"""Fills a figure of matplotlib; False if there is nothing to show."""


def style(number: int) -> dict[str, Any]:
    """Colour and marker of the line of that number."""
    return {"color": COLOURS[number % 8], "marker": MARKERS[number % 8]}


def write_figures(
    folder: Path, figures: Mapping[str, tuple[Draw, tuple[float, float]]]
) -> list[Path]:
    """Write each figure that has something to show; equal figures are equal files.

    Args:
        folder: where to.
        figures: file name → what fills it, and its width and height in inches.

    Returns:
        The files written.
    """
    # Without pyplot: no window system is looked for and no figure stays in memory.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    written = []
    for name, (draw, size) in figures.items():
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        if draw(figure):
            buffer = io.BytesIO()
            # Without the version of matplotlib inside.
            figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
            atomic_write_bytes(folder / name, buffer.getvalue())
            written.append(folder / name)
    return written


def finish(axes: Any, x: str, y: str, title: str = "") -> None:
    """Names, a grid, and numbers written out along logarithmic axes."""
    for scale, axis in ((axes.get_xscale(), axes.xaxis), (axes.get_yscale(), axes.yaxis)):
        if scale == "log":
            axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)
    axes.grid(alpha=0.3)


def name_ticks(axes: Any, places: list[int]) -> None:
    """Ticks of the x axis at these places alone."""
    axes.set_xticks(places, [str(place) for place in places])
    axes.minorticks_off()


def legend_below(figure: Any, columns: int = 2) -> None:
    """One legend for all panels, below them, where it hides nothing."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize="small")
