"""The plots of a comparison: PNG files, readable at the width of a README and colour-blind-safe."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dreamenv.core.files import atomic_write_bytes
from dreamenv.evaluation.metrics.open_loop import RECONSTRUCTION, REPEAT
from experiments.summary import Spread, Summary, spread

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B6914")
"""Okabe and Ito's palette, and a brown: told apart with any kind of colour vision."""
MARKERS = "osD^vPX*"
REFERENCES = {RECONSTRUCTION: "-.", REPEAT: ":"}


def draw_plots(
    results: dict[str, Any], folder: Path, cost: dict[str, Any] | None = None
) -> list[Path]:
    """Write every plot for which there is something to show; returns the files."""
    summary = Summary(results)
    plots: dict[str, tuple[Callable[[Any], bool], tuple[float, float]]] = {
        "retrieval_by_distance.png": (lambda f: _by_distance(f, summary), (9, 5.5)),
        "context_length.png": (lambda f: _context_length(f, summary), (9, 5.5)),
        "cue_recall.png": (lambda f: _cue_recall(f, summary), (9, 5.5)),
    }
    if cost is not None:
        plots["cost.png"] = (lambda f: _cost(f, cost), (10, 7))
    written = []
    for name, (draw, size) in plots.items():
        # Without pyplot: no window system is looked for and no figure stays in memory.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        if draw(figure):
            _legend(figure)
            buffer = io.BytesIO()
            # Without the version of matplotlib inside, so that equal plots are equal files.
            figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
            atomic_write_bytes(folder / name, buffer.getvalue())
            written.append(folder / name)
    return written


def _by_distance(figure: Any, summary: Summary) -> bool:
    axes = figure.subplots()
    shown = False
    for number, cell in enumerate(summary.cells("baselines")):
        points = _centred(summary.by_distance(cell, "retrieval"))
        shown |= _line(axes, points, summary.labels[cell], number)
    for name, style in REFERENCES.items():
        # The last frame once more is nearly right at first: it would flatten everything else.
        top = axes.get_ylim()[1]
        known = _centred(summary.reference_by_distance("retrieval", name))
        if known:
            places, values = zip(*known, strict=True)
            axes.plot(places, [v.mean for v in values], style, color="grey", label=name)
        if name == REPEAT and shown:
            axes.set_ylim(top=top)
    _label(axes, "frames since the frame was watched", "PSNR in dB", "Retrieval")
    return shown


def _centred(bins: dict[tuple[int, int], Spread]) -> list[tuple[float, Spread]]:
    """Bins of the distance at their middle on a logarithmic axis."""
    return [((low * high) ** 0.5, value) for (low, high), value in sorted(bins.items())]


def _context_length(figure: Any, summary: Summary) -> bool:
    axes = figure.subplots()
    tasks = sorted(summary.tasks("retrieval").items(), key=lambda item: item[1]["context"])
    shown = False
    for number, cell in enumerate(summary.cells("beyond")):
        values = [(s["context"], summary.score(cell, task, "psnr")) for task, s in tasks]
        points = [(context, value) for context, value in values if value is not None]
        shown |= _line(axes, points, summary.labels[cell], number)
    trained = summary.results["training"].get("window")
    if trained:
        axes.axvline(trained / 2, color="grey", linestyle="--")
        axes.text(trained / 2, axes.get_ylim()[1], " trained", va="top", color="grey")
    _label(axes, "frames of context", "PSNR in dB", "Retrieval beyond the training length")
    _name_ticks(axes, [s["context"] for _, s in tasks])
    return shown


def _cue_recall(figure: Any, summary: Summary) -> bool:
    axes = figure.subplots()
    tasks = list(summary.tasks("cue_recall"))
    bins = summary.measured(tasks[0]).get("by_distance", []) if tasks else []
    distances = [entry["distance"] for entry in bins]
    shown = False
    for number, cell in enumerate(summary.cells("baselines")):
        path = ("tasks", tasks[0], "by_distance") if tasks else ()
        values = [
            (distance, summary.spread(cell, *path, i, "accuracy", "probe"))
            for i, distance in enumerate(distances)
        ]
        points = [(distance, value) for distance, value in values if value is not None]
        shown |= _line(axes, points, summary.labels[cell], number)
    chance = [(entry["distance"], entry["chance"]) for entry in bins if entry.get("chance")]
    if chance:
        axes.plot(*zip(*chance, strict=True), ":", color="grey", label="most frequent answer")
    _label(
        axes,
        "environment frames since the target was seen",
        "share of right answers (linear probe)",
        "Cue recall",
    )
    _name_ticks(axes, distances)
    return shown


def _cost(figure: Any, cost: dict[str, Any]) -> bool:
    panels = figure.subplots(2, 2)
    curves = (
        ("training", "seconds", 1, "frames of the sequence", "seconds per training iteration"),
        ("training", "peak_bytes", 1e-6, "frames of the sequence", "training memory in MB"),
        ("stepping", "seconds", 1e3, "frames in memory", "milliseconds per step"),
        ("stepping", "state_bytes", 1e-6, "frames in memory", "size of the memory in MB"),
    )
    for axes, (part, key, scale, x, y) in zip(panels.flat, curves, strict=True):
        for number, (model, medians) in enumerate(cost["medians"].items()):
            points = [(e["frames"], spread([e[key] * scale])) for e in medians[part]]
            _line(axes, [(x, y) for x, y in points if y is not None], model, number)
        axes.set_yscale("log")
        _label(axes, x, y, "")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return True


def _line(axes: Any, points: list[tuple[float, Spread]], label: str, number: int) -> bool:
    """A line with its band; whether there was anything to draw."""
    if not points:
        return False
    style = {"color": COLOURS[number % 8], "marker": MARKERS[number % 8]}
    line = "-" if number < 8 else "--"
    places = [place for place, _ in points]
    values = [value for _, value in points]
    axes.plot(places, [v.mean for v in values], line, label=label, markersize=5, **style)
    low = [v.mean if v.low is None else v.low for v in values]
    high = [v.mean if v.high is None else v.high for v in values]
    axes.fill_between(places, low, high, color=style["color"], alpha=0.15, linewidth=0)
    return True


def _label(axes: Any, x: str, y: str, title: str) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)
    axes.grid(alpha=0.3)


def _legend(figure: Any) -> None:
    """One for all panels, below them, where it hides nothing."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small")


def _name_ticks(axes: Any, places: list[int]) -> None:
    axes.set_xticks(places, [str(place) for place in places])
    axes.minorticks_off()
