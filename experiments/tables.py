"""The tables of a comparison, as Markdown. What is not done is a dash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dreamenv.core.statistics import CONFIDENCE
from dreamenv.evaluation.metrics.open_loop import MEAN, RECONSTRUCTION, REPEAT
from experiments.markdown import MISSING, table
from experiments.summary import Spread, Summary, spread

METRICS = (("psnr", "PSNR", 2), ("ssim", "SSIM", 3), ("lpips", "LPIPS", 3))
READINGS = {"probe": "linear probe", "decode nearest": "colour of the imagined frame"}
CONTROLS = {
    "probe control": "linear probe of a memory that saw nothing",
    "reconstruction": "tokenizer's reconstruction of the real frame",
}


def all_tables(results: dict[str, Any], cost: dict[str, Any] | None = None) -> dict[str, str]:
    """Name → Markdown of every table.

    Args:
        results: as in `results.json`.
        cost: finished cost curves (see `experiments.cost`), if there are any.
    """
    summary = Summary(results)
    return {
        "baselines": baselines(summary),
        "margins": margins(summary),
        "distance": distance(summary),
        "reasoning": reasoning(summary),
        "ablations": changes(summary, "ablations"),
        "schemes": changes(summary, "schemes"),
        "beyond": beyond(summary),
        "cue-recall": cue_recall(summary),
        "revisit": revisit(summary),
        "cost": cost_exponents(cost),
    }


def baselines(summary: Summary) -> str:
    """Both pose tasks, size and cost of every baseline; below it what needs no model."""
    header = ["model"]
    header += [f"{t} {name}" for t in ("retrieval", "reasoning") for _, name, _ in METRICS]
    header += ["parameters", "training TFLOP", "minutes", "frames/s", "seeds"]
    rows, lacking = [], set()
    for cell in summary.cells("baselines"):
        row = [summary.labels[cell]]
        for task in ("retrieval", "reasoning"):
            for metric, _, digits in METRICS:
                row.append(_text(summary.score(cell, task, metric), digits))
        rows.append([*row, *_costs(summary, cell), _seeds(summary, cell)])
    for name in _references(summary, ("retrieval", "reasoning")):
        row = [f"*{name}*"]
        for task in ("retrieval", "reasoning"):
            for metric, _, digits in METRICS:
                row.append(_text(summary.reference(task, name, metric), digits))
        rows.append([*row, "", "", "", "", ""])
    for task in ("retrieval", "reasoning"):
        lacking.add(summary.measured(task).get("lpips_missing"))
    notes = [_protocol(summary, task) for task in ("retrieval", "reasoning")]
    notes += [f"LPIPS is missing: {reason}." for reason in sorted(filter(None, lacking))]
    notes.append(
        "TFLOP: matrix products and convolutions of all updates, without the optimiser. "
        "Minutes: of that training on the machine that did it, evaluations included."
    )
    return table(header, rows, [*notes, _intervals(summary, "baselines")])


def margins(summary: Summary) -> str:
    """PSNR above the reference, compared clip by clip."""
    tasks = [task for kind in ("retrieval", "reasoning") for task in summary.tasks(kind)]
    reference = summary.labels[summary.results["reference"]]
    rows = [
        [summary.labels[cell], *(_text(summary.margin(cell, task), 2, "+") for task in tasks)]
        for cell in summary.labels
        if any(summary.margin(cell, task) for task in tasks)
    ]
    return table(
        ["model", *(_task_name(summary, task) for task in tasks)],
        rows,
        [
            f"PSNR in dB above “{reference}”, compared on each clip. Brackets: {CONFIDENCE:.0%} "
            "bootstrap of the mean difference over clips, episodes drawn whole; means over seeds "
            "are taken first, so that it does not show how seeds vary."
        ],
    )


def distance(summary: Summary) -> str:
    """Retrieval PSNR by how long ago a frame was watched."""
    found = {cell: summary.by_distance(cell, "retrieval") for cell in summary.cells("baselines")}
    named = {summary.labels[cell]: entries for cell, entries in found.items()}
    for name in _references(summary, ["retrieval"]):
        named[f"*{name}*"] = summary.reference_by_distance("retrieval", name)
    bins = sorted({bounds for entries in named.values() for bounds in entries})
    rows = [
        [name, *(_mean(entries.get(bounds), 2) for bounds in bins)]
        for name, entries in named.items()
    ]
    header = ["PSNR, frames last seen … frames ago", *(f"{low}–{high}" for low, high in bins)]
    return table(header, rows, [_protocol(summary, "retrieval")])


def reasoning(summary: Summary) -> str:
    """Reasoning PSNR of what was watched before and of what was not."""
    parts = ("overall", "seen", "unseen")
    cells = summary.cells("baselines")
    rows = [
        [
            summary.labels[cell],
            *(_text(summary.score(cell, "reasoning", "psnr", part), 2) for part in parts),
        ]
        for cell in cells
    ]
    for name in _references(summary, ["reasoning"]):
        values = [summary.reference("reasoning", name, "psnr", part) for part in parts]
        rows.append([f"*{name}*", *(_text(value, 2) for value in values)])
    counts = summary.measured("reasoning").get("frames", {})
    header = ["reasoning PSNR", "all frames"]
    header += [f"{part} ({counts.get(part, MISSING)} frames)" for part in parts[1:]]
    return table(
        header,
        rows,
        [
            "Seen: frames whose pose is near one of the context.",
            _protocol(summary, "reasoning"),
            _intervals(summary, "baselines"),
        ],
    )


def changes(summary: Summary, group: str) -> str:
    """What one change of the model or of its training does."""
    rows = [
        [
            summary.labels[cell],
            _text(summary.score(cell, "retrieval", "psnr"), 2),
            _text(summary.margin(cell, "retrieval"), 2, "+"),
            _text(summary.score(cell, "reasoning", "psnr"), 2),
            _text(summary.margin(cell, "reasoning"), 2, "+"),
            _mean(summary.spread(cell, "training", "updates"), 0),
            *_costs(summary, cell),
            _seeds(summary, cell),
        ]
        for cell in summary.cells(group)
    ]
    header = ["model", "retrieval PSNR", "above ours", "reasoning PSNR", "above ours", "updates"]
    header += ["parameters", "training TFLOP", "minutes", "frames/s", "seeds"]
    notes = [
        "Above ours: in dB, compared on each clip, 95% bootstrap over clips.",
        _protocol(summary, "retrieval"),
        _intervals(summary, group),
    ]
    return table(header, rows, notes)


def beyond(summary: Summary) -> str:
    """Retrieval PSNR after contexts of other lengths than those trained with."""
    tasks = sorted(summary.tasks("retrieval").items(), key=lambda item: item[1]["context"])
    rows = [
        [
            summary.labels[cell],
            *(_text(summary.score(cell, task, "psnr"), 2) for task, _ in tasks),
            _seeds(summary, cell),
        ]
        for cell in summary.cells("beyond")
    ]
    for name in _references(summary, [task for task, _ in tasks]):
        values = [summary.reference(task, name, "psnr") for task, _ in tasks]
        rows.append([f"*{name}*", *(_text(value, 2) for value in values), ""])
    header = ["retrieval PSNR", *(f"context {s['context']}" for _, s in tasks), "seeds"]
    window = summary.results["training"].get("window")
    return table(
        header,
        rows,
        [
            f"Trained on windows of {window} frames, context and reverse together, unless the "
            "label says otherwise.",
            *(_protocol(summary, task) for task, _ in tasks),
            _intervals(summary, "beyond"),
        ],
    )


def cue_recall(summary: Summary) -> str:
    """Share of right answers by environment frames since the target was last seen."""
    tasks = list(summary.tasks("cue_recall"))
    task = tasks[0] if tasks else "cue_recall"
    bins = summary.measured(task).get("by_distance", [])
    header = ["which colour, last seen … frames ago", "read from"]
    header += [f"{entry['distance']} ({entry['questions']} questions)" for entry in bins]

    def row(cell: str, way: str) -> list[str]:
        path = ("tasks", task, "by_distance")
        return [_text(summary.spread(cell, *path, i, "accuracy", way), 2) for i in range(len(bins))]

    groups = {cell for group in ("baselines", "beyond") for cell in summary.cells(group)}
    cells = [cell for cell in summary.labels if cell in groups and _has(summary, cell, task)]
    rows = [
        [summary.labels[cell], text, *row(cell, way)]
        for cell in cells
        for way, text in READINGS.items()
    ]
    if cells:
        reference = summary.results["reference"]
        first = reference if reference in cells else cells[0]
        label = summary.labels[first]
        rows += [[f"*{label}*", f"*{text}*", *row(first, way)] for way, text in CONTROLS.items()]
        chance = [f"{e['chance']:.2f}" if e.get("chance") else MISSING for e in bins]
        rows.append(["*the most frequent answer*", "", *chance])
    notes = ["Share of right answers; frames of the environment.", _intervals(summary, "", cells)]
    return table(header, rows, notes)


def revisit(summary: Summary) -> str:
    """PSNR where a walker comes back, and where it sees something new, at equal steps."""
    tasks = list(summary.tasks("revisit"))
    task = tasks[0] if tasks else "revisit"
    cells = summary.cells("actions")
    rows = []
    for cell in cells:
        path: tuple[str | int, ...] = ("tasks", task, "scores", "psnr", "at_equal_steps", -1)
        rows.append(
            [
                summary.labels[cell],
                _mean(summary.spread(cell, *path, "revisited"), 2),
                _mean(summary.spread(cell, *path, "novel"), 2),
                _text(summary.spread(cell, *path, "difference"), 2, "+"),
                _seeds(summary, cell),
            ]
        )
    header = ["model, by action", "PSNR revisited", "novel", "difference", "seeds"]
    notes = [
        "Imagined frames of places seen long before, against frames of new places at equal steps "
        "of the imagination.",
        _protocol(summary, task),
        _intervals(summary, "", cells),
    ]
    return table(header, rows, notes)


def cost_exponents(cost: dict[str, Any] | None) -> str:
    """How cost grows: slopes of log cost against log frames."""
    if cost is None:
        return f"{MISSING} (measured by `python -m benchmarks.memory_cost`)\n"
    columns = {
        "training_seconds": "training time",
        "peak_bytes": "training memory",
        "step_seconds": "time of a step",
        "state_bytes": "size of the memory",
    }
    rows, ranges = [], []
    for model, exponents in cost["exponents"].items():
        fits = [exponents.get(name) for name in columns]
        rows.append([model, *(_text(spread([fit] if fit else []), 2) for fit in fits)])
        ranges += [
            f"{title}: {fit['from']} to {fit['to']} frames"
            for title, fit in zip(columns.values(), fits, strict=True)
            if fit
        ]
    notes = [
        "Training against frames per sequence, a step against frames in memory; fitted over "
        f"{'; '.join(dict.fromkeys(ranges))}. Brackets: 95% bootstrap over rounds. Made by "
        f"`{cost['command']}`."
    ]
    return table(["cost ∝ frames^…", *columns.values()], rows, notes)


def _text(value: Spread | None, digits: int, sign: str = "") -> str:
    return MISSING if value is None else value.text(digits, sign)


def _mean(value: Spread | None, digits: int) -> str:
    return MISSING if value is None else f"{value.mean:,.{digits}f}"


def _costs(summary: Summary, cell: str) -> list[str]:
    """Parameters, TFLOP, minutes and frames/s."""

    def scaled(factor: float, digits: int, unit: str, *path: str) -> str:
        value = summary.spread(cell, *path)
        return MISSING if value is None else f"{value.mean * factor:,.{digits}f}{unit}"

    return [
        scaled(1e-6, 2, " M", "parameters", "dynamics"),
        scaled(1e-12, 1, "", "training", "matmul_flops"),
        scaled(1 / 60, 1, "", "training", "seconds"),
        scaled(1, 0, "", "training", "frames_per_second"),
    ]


def _seeds(summary: Summary, cell: str) -> str:
    return str(len(summary.rows(cell)) or MISSING)


def _references(summary: Summary, tasks: Sequence[str]) -> list[str]:
    """Names of what is shown without a model in any of the tasks."""
    order = {REPEAT: 0, MEAN: 1, RECONSTRUCTION: 9}
    names = {name for task in tasks for name in summary.references(task)}
    return sorted(names, key=lambda name: (order.get(name, 5), name))


def _has(summary: Summary, cell: str, task: str) -> bool:
    return any(task in row["tasks"] for row in summary.rows(cell))


def _task_name(summary: Summary, task: str) -> str:
    found = summary.results["tasks"][task]
    return f"{found['kind']}, context {found['settings']['context']}"


def _protocol(summary: Summary, task: str) -> str:
    """How a task was done, as a sentence."""
    found = summary.measured(task)
    if not found:
        return ""
    return (
        f"{_task_name(summary, task).capitalize()}: {found['clips']} clips of {found['episodes']} "
        f"episodes, {found['context']} frames watched, {found['horizon']} imagined; "
        f"{_every(found['stride'])} frame of the environment."
    )


def _every(number: int) -> str:
    return {1: "every", 2: "every 2nd", 3: "every 3rd"}.get(number, f"every {number}th")


def _intervals(summary: Summary, group: str, cells: Sequence[str] | None = None) -> str:
    """What brackets are, which depends on the number of seeds."""
    counts = {
        len(summary.rows(cell)) for cell in (summary.cells(group) if cells is None else cells)
    }
    one = f"{CONFIDENCE:.0%} bootstrap over the clips of the one seed, episodes drawn whole"
    several = "the lowest and the highest seed around their mean"
    if counts & {1} and max(counts) > 1:
        return f"Brackets: {several}; with one seed, {one}."
    if counts & {1}:
        return f"Brackets: {one}."
    return f"Brackets: {several}." if max(counts, default=0) > 1 else ""
