"""Writing what a comparison found: results, tables, plots, and the tables inside a page."""

from __future__ import annotations

from pathlib import Path

from dreamenv.core.files import atomic_write_text
from experiments.document import fill_tables
from experiments.grid import Grid
from experiments.plots import draw_plots
from experiments.results import read_results, update_results
from experiments.tables import all_tables

TABLES = "tables.md"


def write_report(
    grid: Grid, folder: Path, page: Path | None = None, cost_path: Path | None = None
) -> list[Path]:
    """Render whatever is done; what is not done is shown as missing.

    Args:
        grid: whose results; those in `folder` of an earlier call are kept while they are current.
        folder: for `results.json`, `tables.md` and the plots.
        page: a Markdown page whose tables are filled in, if it exists.
        cost_path: of finished cost curves (see `experiments.cost`), if they exist.

    Returns:
        The files that there now are.

    Raises:
        ConfigError: the page asks for a table that there is not.
        CheckpointError: a file of results is damaged.
    """
    results = update_results(grid, folder)
    cost = read_results(cost_path) if cost_path is not None and cost_path.exists() else None
    if cost is not None and "exponents" not in cost:
        cost = None  # its measurement was interrupted
    tables = all_tables(results, cost)
    command = results["command"]
    parts = [f"<!-- Written by: {command} -->"]
    parts += [f"## {name}\n\n{table}" for name, table in tables.items()]
    atomic_write_text(folder / TABLES, "\n".join(parts))
    written = [folder / "results.json", folder / TABLES, *draw_plots(results, folder, cost)]
    if page is not None and page.exists():
        fill_tables(page, tables)
        written.append(page)
    return written
