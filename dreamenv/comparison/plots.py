"""The plots of a comparison: PNG files, readable at the width of a README and colour-blind-safe."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dreamenv.comparison.summary import Spread, Summary, spread
from dreamenv.evaluation.open_loop import RECONSTRUCTION, REPEAT
from dreamenv.files import atomic_write_bytes

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
        "retrieval_by_distance.png": (lambda f: _by_distance(f, summary), (9, 5)),
        "context_length.png": (lambda f: _context_length(f, summary), (9, 5)),
        "cue_recall.png": (lambda f: _cue_recall(f, summary), (9, 5)),
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
            buffer = io.BytesIO()
            # Without the version of matplotlib inside, so that equal plots are equal files.
            figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
            atomic_write_bytes(folder / name, buffer.getvalue())
            written.append(folder / name)
    return written


def _by_distance(figure: Any, summary: Summary) -> bool:
    axes = figure.subplots()
    shown = False
    for number, cell in enumerate(summary.cells("rivals")):
        points = [
            ((low * high) ** 0.5, value)
            for (low, high), value in sorted(summary.by_distance(cell, "retrieval").items())
        ]
        shown |= _line(axes, points, summary.labels[cell], number)
    for name, style in REFERENCES.items():
        # The last frame once more is nearly right at first: it would flatten everything else.
        top = axes.get_ylim()[1]
        entries = summary.references("retrieval").get(name, {}).get("psnr", {})
        points = [
            ((e["distance"][0] * e["distance"][1]) ** 0.5, e["mean"])
            for e in entries.get("by_distance", [])
        ]
        if points:
            axes.plot(*zip(*points, strict=True), style, color="grey", label=name)
        if name == REPEAT and shown:
            axes.set_ylim(top=top)
    _label(axes, "frames since the frame was watched", "PSNR in dB", "Retrieval")
    return shown


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
    for number, cell in enumerate(summary.cells("rivals")):
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
    for row, (part, things) in enumerate(
        {
            "training": (("seconds", "s per update"), ("peak_bytes", "peak memory in MB")),
            "stepping": (("seconds", "ms per step"), ("state_bytes", "size of the memory in MB")),
        }.items()
    ):
        for axes, (thing, title) in zip(panels[row], things, strict=True):
            scale = 1e-6 if "bytes" in thing else 1e3 if part == "stepping" else 1
            for number, (model, medians) in enumerate(cost["medians"].items()):
                points = [
                    (entry["frames"], spread([entry[thing] * scale])) for entry in medians[part]
                ]
                _line(axes, [(x, y) for x, y in points if y is not None], model, number)
            axes.set_yscale("log")
            _label(axes, f"frames ({part})", title, "")
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
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")


def _name_ticks(axes: Any, places: list[int]) -> None:
    axes.set_xticks(places, [str(place) for place in places])
    axes.minorticks_off()
