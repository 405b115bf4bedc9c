"""The plots of a gap report as SVG text, from its plain data."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from dreamenv.evaluation.metrics.open_loop import MEAN, RECONSTRUCTION, REPEAT
from dreamenv.evaluation.metrics.open_loop_evaluation import DREAM

DREAMT, REAL, GREY = "#0072B2", "#D55E00", "#777777"
"""Of Okabe and Ito's palette: told apart with any kind of colour vision."""
SHOWN = {DREAM: (DREAMT, "-"), RECONSTRUCTION: ("#009E73", "-."), REPEAT: ("#E69F00", "--"),
         MEAN: (GREY, ":")}  # fmt: skip
METRICS = {"psnr_db": "PSNR in dB", "ssim": "SSIM", "lpips": "LPIPS"}


def draw(paint: Callable[[Any], None], width: float = 8, height: float = 3.6) -> str:
    """An SVG of what `paint` puts on a figure of so many inches; equal data give equal text."""
    # Without pyplot: no window system is looked for and no figure stays in memory.
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "dreamenv", "font.size": 9}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def returns(result: dict[str, Any]) -> str:
    """Mean returns of all agents in both worlds, best in the real one first."""
    agents = sorted(result["agents"], key=lambda agent: -agent["return"]["real"]["mean"])

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for world, colour, offset in (("dream", DREAMT, -0.2), ("real", REAL, 0.2)):
            values = [agent["return"][world] for agent in agents]
            places = np.arange(len(agents)) + offset
            axes.bar(places, [v["mean"] for v in values], 0.38, label=world, color=colour)
            for place, value in zip(places, values, strict=True):
                _bar(axes, place, value)
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, 0), max(high, 0.1))  # no reward at all is a small number, no axis
        names = [agent["agent"] for agent in agents]
        axes.set_xticks(range(len(agents)), names, rotation=30 if len(agents) > 3 else 0)
        axes.set_ylabel(f"return of {result['steps_per_episode']} steps")
        axes.legend()

    return draw(paint, max(5, 1.5 + 0.7 * len(agents)))


def ranking(result: dict[str, Any]) -> str:
    """Every agent as a point, dream against real, with both intervals."""

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for agent in result["agents"]:
            dream, real = agent["return"]["dream"], agent["return"]["real"]
            axes.plot(real["mean"], dream["mean"], "o", color=DREAMT)
            _bar(axes, real["mean"], dream, DREAMT)
            if real["low"] is not None:
                axes.plot([real["low"], real["high"]], [dream["mean"]] * 2, color=REAL, alpha=0.6)
            axes.annotate(agent["agent"], (real["mean"], dream["mean"]), xytext=(4, 4),
                          textcoords="offset points", fontsize=7)  # fmt: skip
        low, high = (f(*axes.get_xlim(), *axes.get_ylim()) for f in (min, max))
        axes.plot([low, high], [low, high], ":", color=GREY, label="equal")
        axes.set_xlabel("mean return in the real environment")
        axes.set_ylabel("mean return in the dream")
        axes.legend()

    return draw(paint, 6, 5)


def cumulative(agent: dict[str, Any]) -> str:
    """How the reward of an agent adds up by step in both worlds, and the dream's trust."""

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for world, colour in (("dream", DREAMT), ("real", REAL)):
            _curve(axes, agent["cumulative_reward"][world], world, colour)
        axes.set_xlabel("steps since the spawn")
        axes.set_ylabel("mean reward so far")
        if agent["trust"] is not None:
            trust = axes.twinx()
            _curve(trust, agent["trust"], "trust", GREY, ":")
            trust.set_ylim(0, 1)
            trust.set_ylabel("trust (dotted)")
        axes.legend(loc="upper left")

    return draw(paint, 6)


def similarity(loop: dict[str, Any]) -> str:
    """PSNR, SSIM and, where measured, LPIPS by step."""
    metrics = [name for name in METRICS if loop[name]]

    def paint(figure: Any) -> None:
        panels = figure.subplots(1, len(metrics), squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            for name, (colour, line) in SHOWN.items():
                _curve(axes, loop[metric][name], name, colour, line)
            axes.set_xlabel("imagined step")
            axes.set_ylabel(METRICS[metric])
        panels[0].legend(fontsize=7)

    return draw(paint, 4.2 * len(metrics))


def drift(loop: dict[str, Any]) -> str:
    """Explained share by step, and the trust that the model itself tells."""

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        _curve(axes, loop["explained"], "explained (measured)", DREAMT)
        if loop["trust"] is not None:
            _curve(axes, loop["trust"]["mean"], "trust (told by the dream)", REAL, "--")
        axes.axhline(loop["explained_horizon"]["threshold"], color=GREY, linestyle=":")
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_ylim(top=1)
        axes.set_xlabel("imagined step")
        axes.set_ylabel("share of the mean frame's error")
        axes.legend()

    return draw(paint, 6)


def reliability(loop: dict[str, Any]) -> str:
    """Forecast against frequency of rewards, for frames that are seen and that are dreamt."""

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for name, colour in (("seen", GREY), ("dreamt", DREAMT)):
            bins = loop["calibration"][name]["bins"]
            places = [part["mean_forecast"] for part in bins]
            axes.plot(places, [b["frequency"]["mean"] for b in bins], "o-", color=colour,
                      label=name)  # fmt: skip
            for place, part in zip(places, bins, strict=True):
                _bar(axes, place, part["frequency"], colour)
        axes.plot([0, 1], [0, 1], ":", color="black", linewidth=0.8)
        axes.set_xlabel("probability told")
        axes.set_ylabel("how often a reward came")
        axes.legend()

    return draw(paint, 4.5, 4)


def _curve(axes: Any, curve: dict[str, Any], label: str, colour: str, line: str = "-") -> None:
    """A line by step, with its band; points that are no number are left out."""
    mean = np.array(curve["mean"], float)
    steps = np.arange(1, len(mean) + 1)
    axes.plot(steps, mean, line, color=colour, label=label)
    if curve["low"] is not None:
        low, high = (np.array(curve[side], float) for side in ("low", "high"))
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)


def _bar(axes: Any, place: float, value: dict[str, Any], colour: str = "black") -> None:
    if value["low"] is not None:
        axes.plot([place, place], [value["low"], value["high"]], color=colour, linewidth=1.2)
