"""The tables of docs/life.md, from what `dreamenv life` stored.

python -m benchmarks.life_page --result docs/results/life/bundled.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dreamenv.evaluation.life.report import told
from experiments.document import fill_tables
from experiments.markdown import table

Columns = dict[str, dict[str, Any]]
"""Denoising passes → what was found with them."""
Line = tuple[str, tuple[str | int, ...], int]
"""Name of a row, where in a column its value stands, and its digits."""


def tables(result: dict[str, Any]) -> dict[str, str]:
    """Name of a table in the page → Markdown."""
    found: Columns = result["by_denoising_passes"]
    return {
        "by step": _by_step(found),
        "world": _world(found),
        "memory": _memory(found),
        "agents": _agents(found),
        "rewards": _rewards(result["rewards_on_real_frames"]),
        "how": _how(result),
    }


def _by_step(found: Columns) -> str:
    header = ["K", "steps", "sharpness", "motion", "distance", "AUC", "PSNR, dB", "reward", "real"]
    rows = [
        [
            passes,
            f"{row['steps'][0]}–{row['steps'][1]}",
            told(row["sharpness"]),
            told(row["motion"]),
            told(row["distance"]["ratio"], 1),
            told(row["real_or_dreamt_auc"]),
            told(row["psnr_db"], 1),
            told(row["reward"]["expected"], 1),
            told(row["reward"]["real"], 1),
        ]
        for passes, column in found.items()
        for row in column["by_steps"]
    ]
    return table(header, rows, texts=2)


def _compared(found: Columns, lines: list[Line]) -> str:
    header = ["", *(f"K = {passes}" for passes in found)]
    rows = [
        [name, *(told(_at(column, place), digits) for column in found.values())]
        for name, place, digits in lines
    ]
    return table(header, rows)


def _at(column: Any, place: Sequence[str | int]) -> Any:
    for key in place:
        column = column[key]
    return column


def _by_age(column: dict[str, Any], part: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (column[part] or {}).get("by_age", [])
    return found


def _ages(row: dict[str, Any]) -> str:
    return "–".join(map(str, row["ages"]))


def _world(found: Columns) -> str:
    first = next(iter(found.values()))
    lines: list[Line] = []
    for i, turn in enumerate(first["turns"]):
        name = f"turn {turn['steps']} steps away and back (real {told(turn['real'], 1)})"
        lines += [(name, ("turns", i, "dream"), 1), ("… by chance", ("turns", i, "chance"), 1)]
    for i, row in enumerate(_by_age(first, "revisits")):
        place = "revisits", "by_age", i
        name = f"revisit, watched {_ages(row)} frames ago (by chance {told(row['chance'], 1)})"
        lines += [
            (name, (*place, "dream"), 1),
            ("… above views never watched, at equal steps", (*place, "above_novel"), 1),
        ]
    for i, row in enumerate(_by_age(first, "cues")):
        name = (
            f"colour out of view for {_ages(row)} frames, {row['questions']} questions (by chance "
            f"{row['chance']:.2f})"
        )
        lines.append((name, ("cues", "by_age", i, "right", "whole memory"), 2))
    return _compared(found, lines)


def _memory(found: Columns) -> str:
    first = next(iter(found.values()))
    lines: list[Line] = []
    for kind, by_step in first["open_loop_lost_db"].items():
        lines += [
            (f"{kind}: open loop, step {step}", ("open_loop_lost_db", kind, step), 2)
            for step in by_step
        ]
        lines += [
            (f"{kind}: turn of {turn['steps']} steps", ("turns", i, "lost_db", kind), 2)
            for i, turn in enumerate(first["turns"])
            if kind in turn["lost_db"]
        ]
        lines += [
            (
                f"{kind}: revisit after {_ages(row)} frames",
                ("revisits", "by_age", i, "lost_db", kind),
                2,
            )
            for i, row in enumerate(_by_age(first, "revisits"))
        ]
    return _compared(found, lines)


def _agents(found: Columns) -> str:
    header = ["agent", "K", "dream", "real", "dream / real", "dream, first 64 steps"]
    rows = [
        [
            f"`{agent['agent']}`",
            passes,
            told(agent["dream"], 1),
            told(agent["real"], 1),
            told(agent["ratio"]),
            told(_first_steps(agent["by_steps"], 64), 1),
        ]
        for passes, column in found.items()
        for agent in column["closed_loop"]
    ]
    return table(header, rows)


def _first_steps(rows: list[dict[str, Any]], last: int) -> dict[str, Any]:
    """The mean of a dream's first steps, without an interval: windows have their own."""
    early = [row for row in rows if row["steps"][1] <= last]
    widths = [row["steps"][1] - row["steps"][0] + 1 for row in early]
    paid = sum(w * row["dream"]["mean"] for w, row in zip(widths, early, strict=True))
    return {"mean": paid / sum(widths), "low": None, "high": None} if early else {"mean": None}


def _rewards(seen: dict[str, Any]) -> str:
    header = ["frames", "rewards", "predicted", "precision", "recall"]
    row = [f"{seen['frames']:,}", str(seen["events"]), str(seen["predicted"])]
    return table(header, [[*row, told(seen["precision"]), told(seen["recall"])]], texts=0)


def _how(result: dict[str, Any]) -> str:
    about, machine = result["protocol"], result["machine"]
    lines = [
        f"`{result['command']}`",
        f"Weights {result['checkpoint']['weights_sha256'][:12]}, products in "
        f"{result['checkpoint']['compute_dtype']}, {machine['processor']}, {machine['device']}.",
        f"{about['clips']} clips of {about['episodes']} held-out episodes, {about['context']} "
        f"frames watched, {about['horizon']} imagined; {about['places']} places; "
        f"{about['closed_loop_episodes']} episodes of {about['closed_loop_steps']} steps in closed "
        f"loop; seed {about['seed']}. Brackets: {result['interval']}.",
    ]
    return "\n\n".join(lines)


def main() -> None:
    """Fill in the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--result", type=Path, default=Path("docs/results/life/bundled.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/life.md"))
    args = parser.parse_args()
    fill_tables(args.page, tables(json.loads(args.result.read_text("utf-8"))))


if __name__ == "__main__":
    main()
