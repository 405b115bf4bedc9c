"""Tables say what results say: means over seeds, whose intervals, and a dash where nothing is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dreamenv.core.errors import ConfigError
from experiments.document import fill
from experiments.grid import Grid
from experiments.plots import draw_plots
from experiments.report import write_report
from experiments.results import update_results
from experiments.suite import Cell
from experiments.summary import Summary, spread
from experiments.tables import MISSING, all_tables
from tests.experiments.conftest import cue_scores, job_scores, make_suite, memory_scores

ACTIONS = {"conditioning": "action", "stride": 1}
COST = {
    "command": "python -m benchmarks.memory_cost",
    "medians": {
        "ours": {
            "training": [{"frames": n, "seconds": n / 10, "peak_bytes": n * 1e6} for n in (8, 16)],
            "stepping": [{"frames": n, "seconds": 0.1, "state_bytes": 1e6} for n in (8, 16)],
        }
    },
    "exponents": {
        "ours": {
            "training_seconds": {"mean": 1.02, "low": 0.98, "high": 1.07, "from": 256, "to": 2048},
            "peak_bytes": {"mean": 1.0, "low": None, "high": None, "from": 256, "to": 1024},
            "step_seconds": {"mean": 0.0, "low": -0.01, "high": 0.01, "from": 100, "to": 10000},
            "state_bytes": None,
        }
    },
}


def make_grid(path: Path) -> Grid:
    """Cells for every table; `never` is never done."""
    return Grid(
        make_suite(
            cells=(
                Cell("ours", "ours", ("baselines", "ablations", "schemes", "beyond")),
                Cell("window", "windowed", ("baselines",), "causal_window"),
                Cell("never", "never done", ("baselines", "ablations", "beyond"), "mamba2"),
                Cell("walk", "walker", ("actions",), training=ACTIONS, tasks=("revisit",)),
            )
        ),
        path,
    )


def make_results(path: Path, done: dict[tuple[str, int], dict[str, Any]]) -> dict[str, Any]:
    grid = make_grid(path)
    for (cell, seed), scores in done.items():
        job = grid.job(grid.cell(cell), seed)
        job.enter()
        job.finish(scores)
    return update_results(grid, path / "results")


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Any]:
    """Two seeds of ours, one of the window, and a walker by action."""
    everything = {
        "retrieval": memory_scores("retrieval", 24.0),
        "retrieval_2x": memory_scores("retrieval", 23.0, context=16),
        "reasoning": memory_scores("reasoning", 25.0, lpips=True),
        "cue_recall": cue_scores(0.75),
    }
    return make_results(
        tmp_path,
        {
            ("ours", 0): job_scores(24.0, **everything),
            ("ours", 1): job_scores(26.0, seconds=240.0),
            ("window", 0): job_scores(20.0),
            ("walk", 0): job_scores(0.0, revisit=memory_scores("revisit", 21.0)),
        },
    )


def parse(table: str) -> tuple[list[str], dict[str, list[str]]]:
    """Header and rows by their first cell; every row has as many cells as the header."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in cells}) == 1, table
    return cells[0], {row[0]: row[1:] for row in cells[2:]}


def test_baselines_with_several_seeds_one_seed_and_none(results: dict[str, Any]) -> None:
    table = all_tables(results)["baselines"]
    header, rows = parse(table)
    assert header[1] == "retrieval PSNR" and header[-1] == "seeds"
    ours = dict(zip(header[1:], rows["ours"], strict=True))
    assert ours["retrieval PSNR"] == "25.00 [24.00, 26.00]", "lowest and highest seed"
    assert ours["retrieval SSIM"] == "0.250 [0.240, 0.260]"
    assert ours["parameters"] == "1.23 M" and ours["training TFLOP"] == "1.5"
    assert ours["minutes"] == "3.0" and ours["frames/s"] == "250" and ours["seeds"] == "2"
    assert ours["retrieval LPIPS"] == MISSING and ours["reasoning LPIPS"].startswith("0.100")
    window = dict(zip(header[1:], rows["windowed"], strict=True))
    assert window["retrieval PSNR"] == "20.00 [19.50, 20.50]", "its own interval"
    assert set(rows["never done"]) == {MISSING}
    assert rows["*repeat last frame*"][0] == "12.00 [11.50, 12.50]"
    assert "LPIPS is missing: LPIPS needs torchvision." in table
    assert "the lowest and the highest seed around their mean; with one seed, 95%" in table
    assert "4 clips of 2 episodes, 8 frames watched, 8 imagined; every 2nd frame" in table


def test_brackets_are_explained_by_what_there_is(tmp_path: Path) -> None:
    one = make_results(tmp_path / "one", {("ours", 0): job_scores(24.0)})
    assert "Brackets: 95% bootstrap over the clips of the one seed" in all_tables(one)["baselines"]
    done = {("ours", seed): job_scores(24.0 + seed) for seed in range(3)}
    three = all_tables(make_results(tmp_path / "three", done))["baselines"]
    assert "Brackets: the lowest and the highest seed around their mean." in three
    assert "25.00 [24.00, 26.00]" in three


def test_margins_compare_clip_by_clip(results: dict[str, Any]) -> None:
    header, rows = parse(all_tables(results)["margins"])
    assert header[1:] == ["retrieval, context 8", "retrieval, context 16", "reasoning, context 8"]
    # Every clip of the window is 5 dB below ours: clips differ by 2 dB, their difference not.
    assert rows == {"windowed": ["-5.00 [-5.00, -5.00]", MISSING, "-5.00 [-5.00, -5.00]"]}


def test_changes_are_shown_beside_the_reference(results: dict[str, Any]) -> None:
    header, rows = parse(all_tables(results)["ablations"])
    assert header[:6] == [
        "model", "retrieval PSNR", "above ours", "reasoning PSNR", "above ours", "updates",
    ]  # fmt: skip
    assert list(rows) == ["ours", "never done"]
    assert rows["ours"][:2] == ["25.00 [24.00, 26.00]", MISSING] and rows["ours"][4] == "3,000"
    assert list(parse(all_tables(results)["schemes"])[1]) == ["ours"]


def test_the_other_tables(results: dict[str, Any]) -> None:
    tables = all_tables(results, COST)
    header, rows = parse(tables["distance"])
    assert header[1:] == ["1–8", "9–16"]
    assert rows["ours"] == ["25.00", "24.00"] and rows["never done"] == [MISSING, MISSING]
    header, rows = parse(tables["reasoning"])
    assert header[2:] == ["seen (5 frames)", "unseen (27 frames)"]
    assert rows["windowed"] == ["21.00 [20.50, 21.50]", "23.00 [22.50, 23.50]", "19.00"]
    header, rows = parse(tables["beyond"])
    assert header[1:] == ["context 8", "context 16", "seeds"]
    assert rows["ours"][1] == "23.00 [22.50, 23.50]", "done by one of the two seeds"
    assert "windows of 16 frames" in tables["beyond"]
    header, rows = parse(tables["revisit"])
    assert rows == {"walker": ["21.00", "18.00", "+3.00 [+2.50, +3.50]", "1"]}
    _, rows = parse(tables["cost"])
    assert rows == {"ours": ["1.02 [0.98, 1.07]", "1.00", "0.00 [-0.01, 0.01]", MISSING]}
    assert "training time: 256 to 2048 frames; training memory: 256 to 1024" in tables["cost"]
    assert "`python -m benchmarks.memory_cost`" in tables["cost"]
    assert all_tables(results)["cost"].startswith(MISSING)


def test_cue_recall_names_the_controls_and_chance(results: dict[str, Any]) -> None:
    table = all_tables(results)["cue-recall"]
    assert "| 10 (8 questions) | 30 (0 questions) |" in table
    assert "| ours | linear probe | 0.75 [0.65, 0.85] | — |" in table
    assert "| *ours* | *linear probe of a memory that saw nothing* | 0.75" in table
    assert "| *the most frequent answer* |  | 0.50 | — |" in table


def test_nothing_done_is_all_dashes(tmp_path: Path) -> None:
    tables = all_tables(make_results(tmp_path, {}))
    for name, table in tables.items():
        if name == "cost":
            continue
        _, rows = parse(table)
        assert all(set(cells) <= {MISSING, ""} for cells in rows.values()), table
    assert set(parse(tables["baselines"])[1]) == {"ours", "windowed", "never done"}
    assert not re.search(r"\d", tables["ablations"].replace("95%", ""))


def test_spread_of_seeds() -> None:
    assert spread([]) is None and spread([None, {"mean": None}]) is None
    one = spread([None, {"mean": 1.0, "low": 0.5, "high": 1.5}])
    assert one is not None and one.text(1) == "1.0 [0.5, 1.5]" and one.seeds == 1
    several = spread([3, {"mean": 1.0, "low": 0.5, "high": 1.5}])
    assert several is not None and several.text(1, "+") == "+2.0 [+1.0, +3.0]"
    assert spread([2]).text(0) == "2"  # type: ignore[union-attr]


def test_rows_without_a_part_are_left_out_of_the_mean(results: dict[str, Any]) -> None:
    summary = Summary(results)
    assert summary.score("ours", "retrieval_2x", "psnr").seeds == 1  # type: ignore[union-attr]
    assert summary.score("ours", "retrieval_2x", "psnr", "nothing") is None
    assert summary.spread("ours", "training", "seconds", "deeper") is None


def test_plots_are_drawn_of_what_there_is(results: dict[str, Any], tmp_path: Path) -> None:
    from PIL import Image

    paths = draw_plots(results, tmp_path / "plots", COST)
    names = ["retrieval_by_distance.png", "context_length.png", "cue_recall.png", "cost.png"]
    assert [path.name for path in paths] == names
    for path in paths:
        with Image.open(path) as picture:
            assert 700 <= picture.width <= 1200
            assert len(picture.convert("RGB").getcolors(2**24) or []) > 10
    first = paths[0].read_bytes()
    same = draw_plots(results, tmp_path / "plots", COST)[0].read_bytes() == first
    assert same, "drawing again changes no file"
    assert draw_plots(make_results(tmp_path / "none", {}), tmp_path / "none") == []


def test_the_pages_tables_are_those_of_the_stored_results() -> None:
    """Also where results were stored before groups of cells were renamed."""
    docs = Path(__file__).parents[2] / "docs"
    results, cost = (
        json.loads((docs / "results" / name).read_text("utf-8"))
        for name in ("memory/results.json", "memory_cost.json")
    )
    tables, page = all_tables(results, cost), (docs / "memory.md").read_text("utf-8")
    assert fill(page, tables) == page
    assert len(parse(tables["baselines"])[1]) > 6, "a row a baseline, and references"


def test_a_report_fills_the_page(tmp_path: Path, results: dict[str, Any]) -> None:
    page = tmp_path / "memory.md"
    page.write_text("Story.\n<!-- table: baselines -->\n<!-- end -->\nMore.\n")
    written = write_report(make_grid(tmp_path), tmp_path / "results", page)
    assert page in written and all(path.exists() for path in written)
    assert "| ours | 25.00 [24.00, 26.00] |" in page.read_text()
    tables = (tmp_path / "results" / "tables.md").read_text()
    assert all(f"## {name}\n" in tables for name in all_tables(results))
    before = {path: path.read_bytes() for path in written}
    write_report(make_grid(tmp_path), tmp_path / "results", page)
    assert all(path.read_bytes() == content for path, content in before.items())
    page.write_text("<!-- table: baselinings -->\n<!-- end -->\n")
    with pytest.raises(ConfigError, match="asks for the table 'baselinings'; there are ablations"):
        write_report(make_grid(tmp_path), tmp_path / "results", page)


def test_cost_curves_are_shown_once_they_are_finished(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    grid, folder = make_grid(tmp_path), tmp_path / "results"
    for content, shown in ((COST, True), ({"command": "interrupted"}, False)):
        path.write_text(json.dumps(content))
        written = write_report(grid, folder, cost_path=path)
        assert (folder / "cost.png" in written) is shown
        assert ("| cost ∝" in (folder / "tables.md").read_text()) is shown


def test_a_report_without_a_page_or_anything_done(tmp_path: Path) -> None:
    written = write_report(make_grid(tmp_path), tmp_path / "results", tmp_path / "absent.md")
    assert [path.name for path in written] == ["results.json", "tables.md"]
