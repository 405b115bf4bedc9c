"""The tables of docs/scale.md, from the stored plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.document import fill_tables

GB = 1e9


def write_page(result: dict[str, Any], page: Path) -> None:
    """Put the plan's tables into the page."""
    fill_tables(page, {"training": training(result), "serving": serving(result)})


def training(result: dict[str, Any]) -> str:
    """Bytes and seconds of an update, by the window's length."""
    plan, assumed = result["training"], result["assumed"]
    windows = plan["windows"]
    rows = [
        ("weights, gradients, average, optimiser", [f"{plan['fixed_bytes'] / GB:.1f} GB"] * 2),
        *(
            (what, [f"{about[key] / GB:.1f} GB" for about in windows.values()])
            for what, key in (
                ("activations, float32", "activation_bytes"),
                ("with `--checkpoint-activations`", "activation_bytes_checkpointed"),
            )
        ),
        (
            "computing",
            [
                " / ".join(f"{s:.2f}" for s in about["seconds_computing"]) + " s"
                for about in windows.values()
            ],
        ),
        *(
            (what, [f"{1000 * about[key]:.1f} ms" for about in windows.values()])
            for what, key in (
                ("adding up gradients, one machine", "seconds_adding_gradients"),
                ("the same over the network", "seconds_adding_gradients_over_network"),
                ("reading latents of all GPUs from disk", "seconds_reading"),
                ("standardising them, one core per GPU", "seconds_standardising"),
            )
        ),
        (
            "waiting for the slowest process",
            [f"{about['simulated']['waiting']:.1%}" for about in windows.values()],
        ),
        *(
            (
                f"share of a month that counts, {kind}",
                [f"{about['simulated'][kind]:.1%}" for about in windows.values()],
            )
            for kind in ("own machine", "machine that may be taken away")
        ),
    ]
    head = [f"{window} frames" for window in windows]
    hours = " / ".join(f"{value:,.0f}" for value in plan["hours"])
    updates = ", then ".join(f"{n:,} at {frames} frames" for frames, n in plan["curriculum"])
    shares = " / ".join(f"{share:.0%}" for share in assumed["utilisation"])
    return (
        _table(f"per GPU and update, {assumed['rows']} windows each", head, rows)
        + f"\n{updates} updates: **{hours} hours** at {shares} of {assumed['gpus']} GPUs' peak.\n"
    )


def serving(result: dict[str, Any]) -> str:
    """GPUs for so many dreams, by preset and passes."""
    columns, rows = [], dict[str, list[str]]()
    for name, plan in result["serving"].items():
        for passes, about in plan.items():
            if not isinstance(about, dict):
                continue
            columns.append(f"`{name}`, {passes}")
            needed, simulated = about["gpus_needed_by"], about["simulated"]
            entries = {
                "memories of all dreams": f"{plan['state_bytes'] / GB:,.0f} GB",
                "GPUs that memory asks for": f"{needed['memory']:.1f}",
                "GPUs that operations ask for": f"{needed['operations']:.1f}",
                "GPUs that the memory's speed asks for": f"{needed['bandwidth']:.1f}",
                "GPUs, at 70% load": str(about["gpus_at_70_percent"]),
                "key to frame, median (99%), simulated": (
                    f"{simulated['median_ms']:.0f} ({simulated['p99_ms']:.0f}) ms"
                ),
            }
            for what, entry in entries.items():
                rows.setdefault(what, []).append(entry)
    slots, keys = result["assumed"]["slots"], result["assumed"]["keys"]
    return _table(f"{slots:,} dreams, {keys:g} steps/s each", columns, list(rows.items()))


def _table(corner: str, columns: list[str], rows: list[tuple[str, list[str]]]) -> str:
    lines = [[corner, *columns], ["---", *("---:" for _ in columns)]]
    lines += [[what, *entries] for what, entries in rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
