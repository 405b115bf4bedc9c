"""Fills in `docs/performance.md` and draws its plots from the stored results; measures nothing.

    python -m benchmarks.performance

Everything between `<!-- table: NAME -->` and `<!-- end -->` comes from docs/results/*.json; the
rest of the page is written by people.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.performance_plots import draw_plots
from benchmarks.performance_results import Results
from benchmarks.performance_tables import all_tables
from dreamenv.comparison.document import fill_tables

DOCS = Path(__file__).parents[1] / "docs"
PICTURES = {
    "slots": ("slots.png", "Frames per second by slots"),
    "roofline": ("roofline.png", "Roofline"),
    "parts": ("parts.png", "Where a step's time goes"),
    "ages": ("ages.png", "Latency over time"),
    "training": ("training.png", "Training speed by window length"),
}
"""Table → the plot below it."""


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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=DOCS / "results")
    parser.add_argument("--page", type=Path, default=DOCS / "performance.md")
    args = parser.parse_args()
    render(args.results, args.page)
    print(f"written: {args.page}")


if __name__ == "__main__":
    main()
