"""The plots of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dreamenv.evaluation.metrics.open_loop import RECONSTRUCTION, REPEAT
from experiments.figures import Draw, finish, legend_below, name_ticks, style, write_figures
from experiments.summary import Spread, Summary, spread

REFERENCES = {RECONSTRUCTION: "-.", REPEAT: ":"}


def draw_plots(
    results: dict[str, Any], folder: Path, cost: dict[str, Any] | None = None
) -> list[Path]:
    """Write every plot for which there is something to show; returns the files."""
    summary = Summary(results)
    figures: dict[str, tuple[Draw, tuple[float, float]]] = {
        "retrieval_by_distance.png": (lambda f: _by_distance(f, summary), (9, 5.5)),
        "context_length.png": (lambda f: _context_length(f, summary), (9, 5.5)),
        "cue_recall.png": (lambda f: _cue_recall(f, summary), (9, 5.5)),
    }
    if cost is not None:
        figures["cost.png"] = (lambda f: _cost(f, cost), (10, 7))
    return write_figures(folder, figures)


def _by_distance(figure: Any, summary: Summary) -> bool:
    axes = figure.subplots()
    shown = False
    for number, cell in enumerate(summary.cells("baselines")):
        points = _centred(summary.by_distance(cell, "retrieval"))
        shown |= _line(axes, points, summary.labels[cell], number)
    for name, dashes in REFERENCES.items():
        # The last frame once more is nearly right at first: it would flatten everything else.
        top = axes.get_ylim()[1]
        known = _centred(summary.reference_by_distance("retrieval", name))
        if known:
            places, values = zip(*known, strict=True)
            axes.plot(places, [v.mean for v in values], dashes, color="grey", label=name)
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
    name_ticks(axes, [s["context"] for _, s in tasks])
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
    name_ticks(axes, distances)
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
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        finish(axes, x, y)
    legend_below(figure)
    return True


def _line(axes: Any, points: list[tuple[float, Spread]], label: str, number: int) -> bool:
    """A line with its band; whether there was anything to draw."""
    if not points:
        return False
    look = style(number)
    line = "-" if number < 8 else "--"
    places = [place for place, _ in points]
    values = [value for _, value in points]
    axes.plot(places, [v.mean for v in values], line, label=label, markersize=5, **look)
    low = [v.mean if v.low is None else v.low for v in values]
    high = [v.mean if v.high is None else v.high for v in values]
    axes.fill_between(places, low, high, color=look["color"], alpha=0.15, linewidth=0)
    return True


def _label(axes: Any, x: str, y: str, title: str = "") -> None:
    axes.set_xscale("log", base=2)
    finish(axes, x, y, title)
    legend_below(axes.figure)
