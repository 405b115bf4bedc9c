"""Our speed beside that of other world models."""

from __future__ import annotations

from benchmarks.page.markdown import (
    UNKNOWN,
    count_slots,
    made,
    number,
    psnr,
    stated,
)
from benchmarks.page.results import Result, Results
from dreamenv.core.machine import DTYPES
from experiments.markdown import MISSING, table

Rates = list[float | None]
"""Frames/s at the numbers of slots at which the peers were measured; None where it was not."""


def peers(results: Results) -> str | None:
    """Ours beside other world models, in their unit: frames/s on a machine of their speed."""
    published, checkpoint = results["peers"], results.dream("checkpoint")
    if not published or not checkpoint:
        return None
    unit = published["matmul_gflops"]["float32"]
    lines = [line for model in published["models"] for line in _peer(model)]
    ours: dict[str, Rates] = {}
    k = checkpoint["denoising_passes"]
    about = f"{checkpoint['parameters'] / 1e6:.1f} M, K={k}, {psnr(results.quality(k))} dB"
    for dtype in DTYPES:
        found = [results.speed(dtype, count, k) for count in published["slots"]]
        measured = [None if row is None else row["frames_per_second"] for row in found]
        ours[dtype] = [None if row is None else _scaled(row, unit) for row in found]
        lines.append([f"**ours, {dtype}, as measured**", about, *map(number, measured)])
        lines.append(
            [f"**ours, {dtype}, × {unit} / our matmul**", about, *map(number, ours[dtype])]
        )
    notes = [
        published["provenance"],
        f"Allocator of the peers: {published['allocator']}. "
        "So was ours when this was measured; a dream no longer touches it.",
        f"Their run multiplied float32 matrices at {unit} GFLOP/s, so ours are also stated "
        f"multiplied by {unit} and divided by the float32 rate of our run, in both precisions.",
        made(results["dream_speed"], results.dream("by_slots")),
    ]
    header = ["frames/s at … slots", "", *map(str, published["slots"])]
    return table(header, lines, notes, texts=2) + "\n" + _ratios(published, ours)


def _peer(model: Result) -> list[list[str]]:
    about = [f"{model['parameters'] / 1e6:.1f} M"] if "parameters" in model else []
    about += [model["note"]] if "note" in model else []
    lines = [[model["name"], ", ".join(about), *map(stated, model["frames_per_second"])]]
    if "frames_per_second_glibc_defaults" in model:
        plain = map(stated, model["frames_per_second_glibc_defaults"])
        lines.append([f"{model['name']}, glibc's defaults", "", *plain])
    return lines


def _scaled(row: Result, unit: float) -> float:
    return row["frames_per_second"] * unit / row["matmul_gflops"]["float32"]


def _ratios(published: Result, ours: dict[str, Rates]) -> str:
    lines = []
    for model in published["models"]:
        theirs = model["frames_per_second"]
        for dtype, values in ours.items():
            cells = [
                MISSING if a is None or b is None else f"{number(a / b)}×"
                for a, b in zip(values, theirs, strict=True)
            ]
            known, mine = ([x for x in rates if x is not None] for rates in (theirs, values))
            best = f"{number(max(mine) / max(known))}×" if known and mine else MISSING
            lines.append([model["name"], dtype, *cells, best])
    header = ["ours over", "our precision", *map(count_slots, published["slots"])]
    return table([*header, "best over best"], lines, _aims(published, ours), texts=2)


def _aims(published: Result, ours: dict[str, Rates]) -> list[str]:
    """Whether each aim is reached, at the number of slots where it is furthest from it."""
    notes = []
    models = {model["name"]: model["frames_per_second"] for model in published["models"]}
    for name, factor in published["aims"].items():
        against = {name: models[name]} if name in models else models
        reached = []
        for dtype, values in ours.items():
            ratios = [
                a / b
                for theirs in against.values()
                for a, b in zip(values, theirs, strict=True)
                if a is not None and b is not None
            ]
            if ratios:
                verdict = "reached" if min(ratios) >= factor else "not reached"
                low, high = number(min(ratios)), number(max(ratios))
                reached.append(f"{verdict} in {dtype} ({low}× to {high}×)")
        notes.append(f"Aim, {factor}× {name} at equal slots: {', '.join(reached) or UNKNOWN}.")
    return notes
