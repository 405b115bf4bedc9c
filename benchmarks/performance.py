"""Fills in `docs/performance.md` and draws its plots from the stored results; measures nothing.

    python -m benchmarks.performance

Everything between `<!-- table: NAME -->` and `<!-- end -->` comes from docs/results/*.json; the
rest of the page is written by people.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.page import dream_tables, other_tables
from benchmarks.page.markdown import UNKNOWN
from benchmarks.page.peer_tables import peers
from benchmarks.page.plots import draw_plots
from benchmarks.page.results import COMMANDS, Results
from benchmarks.script import DOCS
from experiments.document import fill_tables

TABLES = {
    "machine": (other_tables.machine, "dream_speed"),
    "passes": (dream_tables.passes, "dream_speed"),
    "shortcuts": (dream_tables.shortcuts, "open_loop_shortcut"),
    "slots": (dream_tables.slots, "dream_speed"),
    "peers": (peers, "dream_speed"),
    "real": (dream_tables.real, "dream_speed"),
    "ages": (dream_tables.ages, "dream_speed"),
    "endurance": (dream_tables.endurance, "endurance"),
    "roofline": (dream_tables.roofline, "dream_speed"),
    "parts": (dream_tables.parts, "dream_speed"),
    "training": (other_tables.training, "training_speed"),
    "operations": (other_tables.operations, "training_speed"),
    "adapter": (other_tables.adapter, "adapter_speed"),
    "state": (other_tables.state, "state_bytes"),
}
"""Name → what makes the table, and the benchmark that it waits for."""
PICTURES = {
    "slots": ("slots.png", "Frames per second by slots"),
    "roofline": ("roofline.png", "Roofline"),
    "parts": ("parts.png", "Where a step's time goes"),
    "ages": ("ages.png", "Latency over time"),
    "training": ("training.png", "Training speed by window length"),
}
"""Table → the plot below it."""


def all_tables(results: Results) -> dict[str, str]:
    """Name → Markdown."""
    return {
        name: make(results) or f"{UNKNOWN.capitalize()} yet: `{COMMANDS[file]}`.\n"
        for name, (make, file) in TABLES.items()
    }


def render(results: Path, page: Path) -> None:
    """Draw the plots into `results/performance` and put tables and plots into the page."""
    found, plots = Results(results), results / "performance"
    drawn = draw_plots(found, plots)
    tables = all_tables(found)
    for name, (picture, title) in PICTURES.items():
        if picture in drawn:
            path = Path(os.path.relpath(plots / picture, page.parent)).as_posix()
            tables[name] += f"\n![{title}]({path})\n"
    fill_tables(page, tables)


def main() -> None:
    """Render."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=DOCS / "results")
    parser.add_argument("--page", type=Path, default=DOCS / "performance.md")
    args = parser.parse_args()
    render(args.results, args.page)
    print(f"written: {args.page}")


if __name__ == "__main__":
    main()
