"""The plots of the performance page."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from benchmarks.page.dream_tables import TOLERANCE, part_names
from benchmarks.page.markdown import count_slots
from benchmarks.page.other_tables import way
from benchmarks.page.results import Results
from experiments.figures import COLOURS, finish, legend_below, name_ticks, style, write_figures

LINES = {"float32": "--", "bfloat16": "-"}


def draw_plots(results: Results, folder: Path) -> list[str]:
    """Write every plot for which there is something to show; returns the files' names."""
    figures = {
        "slots.png": (_slots, (9.0, 5.0)),
        "roofline.png": (_roofline, (9.0, 5.0)),
        "parts.png": (_parts, (9.0, 4.0)),
        "ages.png": (_ages, (9.0, 4.0)),
        "training.png": (_training, (9.0, 4.0)),
    }
    written = write_figures(
        folder,
        {
            name: (functools.partial(f, results=results), size)
            for name, (f, size) in figures.items()
        },
    )
    return [path.name for path in written]


def _slots(figure: Any, results: Results) -> bool:
    """Frames/s against slots, a line for every K and precision, and the peers."""
    rows = results.dream("by_slots")
    if not rows:
        return False
    axes = figure.subplots()
    for number, k in enumerate(sorted({row["denoising_steps"] for row in rows})):
        for dtype, line in LINES.items():
            points = [
                (row["slots"], row["frames_per_second"])
                for row in rows
                if (row["dtype"], row["denoising_steps"]) == (dtype, k)
            ]
            if points:
                axes.plot(*zip(*points, strict=True), line, label=f"K={k}, {dtype}",
                          **style(number))  # fmt: skip
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
    finish(axes, "slots", "frames/s", "Speed by slots; grey: peers, scaled to this machine")
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
    for number, dtype in enumerate(LINES):
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
            axes.plot(row["flops_per_byte"], reached, **style(number), linestyle="")
            axes.annotate(str(row["slots"]), (row["flops_per_byte"], reached), fontsize="small",
                          xytext=(5, -3), textcoords="offset points")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    finish(axes, "FLOP per byte that has to move", "GFLOP/s",
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
    finish(axes, "share of a step, %", "", "Where a step's time goes")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    legend_below(figure, 4)
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
                      label=name, **style(number))  # fmt: skip
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.axhline(1 + TOLERANCE, color="grey", linestyle=":", label=f"{1 + TOLERANCE}")
    axes.set_xscale("log")
    finish(axes, "age of the dream, frames", "step over a young dream's", "Latency over time")
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
        look = {**style(number), "label": way(found)}
        rates = [row["frames_per_second"] for row in found["by_window"]]
        shares = [100 * row["share_of_matmul_rate"] for row in found["by_window"]]
        panels[0].plot(windows, rates, **look)
        panels[1].plot(windows, shares, **look)
    for axes, title in zip(panels, ("frames/s", "% of the matmul rate"), strict=True):
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        finish(axes, "frames in a window", title, "")
        name_ticks(axes, sorted(measured))
    panels[0].legend(fontsize="small")
    return True
