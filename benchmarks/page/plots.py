"""The plots of the performance page: PNG files, readable at the width of a page."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.page.dream_tables import TOLERANCE, part_names
from benchmarks.page.markdown import count_slots
from benchmarks.page.other_tables import way
from benchmarks.page.results import Results
from dreamenv.core.files import atomic_write_bytes
from experiments.plots import COLOURS, MARKERS

STYLES = {"float32": "--", "bfloat16": "-"}


def draw_plots(results: Results, folder: Path) -> list[str]:
    """Write every plot for which there is something to show; returns the files' names."""
    plots: dict[str, tuple[Callable[[Any, Results], bool], tuple[float, float]]] = {
        "slots.png": (_slots, (9, 5)),
        "roofline.png": (_roofline, (9, 5)),
        "parts.png": (_parts, (9, 4)),
        "ages.png": (_ages, (9, 4)),
        "training.png": (_training, (9, 4)),
    }
    written = []
    for name, (draw, size) in plots.items():
        # Without pyplot: no window system is looked for and no figure stays in memory.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        if draw(figure, results):
            buffer = io.BytesIO()
            # Without the version of matplotlib inside, so that equal plots are equal files.
            figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
            atomic_write_bytes(folder / name, buffer.getvalue())
            written.append(name)
    return written


def _slots(figure: Any, results: Results) -> bool:
    """Frames/s against slots, a line for every K and precision, and the peers."""
    rows = results.dream("by_slots")
    if not rows:
        return False
    axes = figure.subplots()
    for number, k in enumerate(sorted({row["denoising_steps"] for row in rows})):
        for dtype, line in STYLES.items():
            points = [
                (row["slots"], row["frames_per_second"])
                for row in rows
                if (row["dtype"], row["denoising_steps"]) == (dtype, k)
            ]
            if points:
                axes.plot(*zip(*points, strict=True), line, color=COLOURS[number],
                          marker=MARKERS[number], label=f"K={k}, {dtype}")  # fmt: skip
    peers = results["peers"]
    for model in peers.get("models", ()):
        # As if on the machine of this run.
        scale = rows[0]["matmul_gflops"]["float32"] / peers["matmul_gflops"]["float32"]
        known = [
            (count, rate * scale)
            for count, rate in zip(peers["slots"], model["frames_per_second"], strict=True)
            if rate is not None
        ]
        axes.plot(*zip(*known, strict=True), ":", color="grey", marker=".")
        axes.annotate(model["name"], known[-1], fontsize="x-small", color="grey",
                      xytext=(5, 0), textcoords="offset points", va="center")  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    _finish(axes, "slots", "frames/s", "Speed by slots; grey: peers, scaled to this machine")
    axes.legend(fontsize="small", ncols=2)
    return True


def _roofline(figure: Any, results: Results) -> bool:
    """GFLOP/s against FLOP per byte, below what matmul and copies allow."""
    rows = results.dream("by_slots")
    if not rows:
        return False
    axes = figure.subplots()
    k = results.dream("checkpoint")["denoising_passes"]
    intensities = [row["flops_per_byte"] for row in rows]
    low, high = min(intensities) / 2, max(intensities) * 2
    for number, dtype in enumerate(STYLES):
        mine = [row for row in rows if row["dtype"] == dtype]
        if not mine:
            continue
        product = sorted(row["matmul_gflops"][dtype] for row in mine)[len(mine) // 2]
        copies = sorted(row["copied_gigabytes_per_second"] for row in mine)[len(mine) // 2]
        ridge = product / copies
        places = sorted({min(low, ridge / 2), ridge, max(high, 2 * ridge)})
        roof = [(x, min(product, x * copies)) for x in places]
        colour = COLOURS[number]
        axes.plot(*zip(*roof, strict=True), color=colour, label=f"{dtype}: matmul and copies")
        chosen = [row for row in mine if row["denoising_steps"] == k]
        for row in chosen:
            reached = row["share_of_matmul_rate"] * row["matmul_gflops"][dtype]
            axes.plot(row["flops_per_byte"], reached, MARKERS[number], color=colour)
            axes.annotate(str(row["slots"]), (row["flops_per_byte"], reached), fontsize="small",
                          xytext=(5, -3), textcoords="offset points")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    _finish(axes, "FLOP per byte that has to move", "GFLOP/s",
            f"Roofline of a step, K={k}; numbers are slots")  # fmt: skip
    axes.legend(fontsize="small")
    return True


def _parts(figure: Any, results: Results) -> bool:
    """Bars of what a step's time goes to."""
    rows = results.dream("parts")
    if not rows:
        return False
    axes = figure.subplots()
    names = part_names(rows)
    labels = [f"{row['dtype']}, {count_slots(row['slots'])}" for row in rows]
    start = [0.0] * len(rows)
    for number, name in enumerate(names):
        shares = [
            100 * row["milliseconds"].get(name, 0.0) / sum(row["milliseconds"].values())
            for row in rows
        ]
        hatch = "" if number < len(COLOURS) else "//"
        axes.barh(labels, shares, left=start, label=name, hatch=hatch, edgecolor="white",
                  color=COLOURS[number % len(COLOURS)])  # fmt: skip
        start = [a + b for a, b in zip(start, shares, strict=True)]
    axes.invert_yaxis()
    _finish(axes, "share of a step, %", "", "Where a step's time goes")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    return True


def _ages(figure: Any, results: Results) -> bool:
    """Ratio of old to young steps with its interval."""
    runs: dict[str, list[Any]] = {}
    for _, run, row in results.ages():
        runs.setdefault(count_slots(run["slots"]), []).append(row)
    if not runs:
        return False
    axes = figure.subplots()
    for number, (name, rows) in enumerate(runs.items()):
        ratios = [row["ratio"] for row in rows]
        below = [row["ratio"] - (row["low"] or row["ratio"]) for row in rows]
        above = [(row["high"] or row["ratio"]) - row["ratio"] for row in rows]
        axes.errorbar([row["frames"] for row in rows], ratios, [below, above], capsize=4,
                      color=COLOURS[number], marker=MARKERS[number], label=name)  # fmt: skip
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.axhline(1 + TOLERANCE, color="grey", linestyle=":", label=f"{1 + TOLERANCE}")
    axes.set_xscale("log")
    _finish(axes, "age of the dream, frames", "step over a young dream's", "Latency over time")
    axes.legend(fontsize="small")
    return True


def _training(figure: Any, results: Results) -> bool:
    """Frames/s and share of the matmul rate against the window's length."""
    if not results.training:
        return False
    panels = figure.subplots(1, 2)
    measured = {row["window"] for found in results.training for row in found["by_window"]}
    for number, found in enumerate(results.training):
        windows = [row["window"] for row in found["by_window"]]
        style = {"color": COLOURS[number % 8], "marker": MARKERS[number % 8], "label": way(found)}
        rates = [row["frames_per_second"] for row in found["by_window"]]
        shares = [100 * row["share_of_matmul_rate"] for row in found["by_window"]]
        panels[0].plot(windows, rates, **style)
        panels[1].plot(windows, shares, **style)
    for axes, title in zip(panels, ("frames/s", "% of the matmul rate"), strict=True):
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        _finish(axes, "frames in a window", title, "")
        axes.set_xticks(sorted(measured), [str(window) for window in sorted(measured)])
    panels[0].legend(fontsize="small")
    return True


def _finish(axes: Any, x: str, y: str, title: str) -> None:
    if axes.get_xscale() == "log":
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)
    axes.grid(alpha=0.3)
