"""The performance page says what the result files hold, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.page.markdown import UNKNOWN
from benchmarks.page.results import COMMANDS, Results
from benchmarks.performance import all_tables, render
from tests.benchmarks.conftest import Run

DOCS = Path(__file__).parents[2] / "docs"


def cells(table: str) -> list[list[str]]:
    """Rows of all tables of some Markdown, without the lines below headers."""
    lines = [line for line in table.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def results(
    tmp_path: Path, dream_speed: dict[str, Any], training_speed: dict[str, Any], run: Run
) -> Path:
    """A folder of results of the untrained model, as if it had a quality at K = 1."""
    state = run("state_bytes", "--presets", "debug")
    loop = {
        "command": "python benchmarks/open_loop.py",
        "checkpoint": {"weights_sha256": dream_speed["checkpoint"]["weights_sha256"]},
        "clips": {"clips": 5, "episodes": 3, "context": 4, "horizon": 4},
        "dtype": "bfloat16",
        "psnr_db": {"model, K=1": {"mean": [30.0, 25.0, 21.0, 20.0]}},
    }
    files = {"dream_speed": dream_speed, "training_speed": training_speed, "open_loop": loop}
    files |= {
        "training_speed_compiled": training_speed | {"compiled": True},
        "state_bytes": state,
        "peers": peers(),
    }
    for name, content in files.items():
        write(tmp_path, name, content)
    return tmp_path


def peers() -> dict[str, Any]:
    return {
        "provenance": "Measured elsewhere.",
        "matmul_gflops": {"float32": 185},
        "slots": [1, 3],
        "allocator": "theirs",
        "models": [
            {"name": "SLOW", "parameters": 1e6, "frames_per_second": [1e-4, None]},
            {"name": "FAST", "frames_per_second": [1e9, 1e9],
             "frames_per_second_glibc_defaults": [5.0, 27]},
        ],
        "aims": {"SLOW": 2, "every peer": 1},
    }  # fmt: skip


def write(folder: Path, name: str, content: dict[str, Any]) -> None:
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_speed_stands_beside_the_quality_of_the_same_weights(results: Path) -> None:
    header, two, one = cells(all_tables(Results(results))["passes"])
    assert header[:4] == ["K", "PSNR, frame 1", "mean of 4", "frame 4"]
    assert two[:4] == ["2", UNKNOWN, UNKNOWN, UNKNOWN]
    assert one[:4] == ["1", "30.00", "24.00", "20.00"]
    rows = cells(all_tables(Results(results))["slots"])[1:]
    assert {(row[2], row[3]) for row in rows} == {("2", UNKNOWN), ("1", "24.00")}
    assert len(rows) == 2 * 2 * 2, "precisions, slots, passes"


def test_shortcuts_stand_beside_the_checkpoint_that_they_were_added_to(results: Path) -> None:
    assert "Not measured yet" in all_tables(Results(results))["shortcuts"]
    loop = json.loads((results / "open_loop.json").read_text())
    quality = {"model, K=1": {"mean": [28.0, 26.0]}, "model, K=8": {"mean": [27.0, 23.0]}}
    write(results, "open_loop_shortcut", loop | {"psnr_db": quality})
    eight, one = cells(all_tables(Results(results))["shortcuts"])[1:]
    assert eight == ["8", *[UNKNOWN] * 3, "27.00", "25.00", "23.00"]
    assert one == ["1", "30.00", "24.00", "20.00", "28.00", "27.00", "26.00"]


def test_quality_of_other_weights_is_not_claimed(results: Path) -> None:
    loop = json.loads((results / "open_loop.json").read_text())
    loop["checkpoint"]["weights_sha256"] = "others"
    write(results, "open_loop", loop)
    tables = all_tables(Results(results))
    assert all(row[1] == UNKNOWN for row in cells(tables["passes"])[1:])
    assert "24.00" not in "".join(tables.values())


def test_peers_are_compared_at_the_speed_of_their_machine(
    results: Path, dream_speed: dict[str, Any]
) -> None:
    k = dream_speed["checkpoint"]["denoising_passes"]
    ours = next(
        row for row in dream_speed["by_slots"]
        if (row["dtype"], row["slots"], row["denoising_steps"]) == ("float32", 1, k)
    )  # fmt: skip
    scaled = ours["frames_per_second"] * 185 / ours["matmul_gflops"]["float32"]
    table = all_tables(Results(results))["peers"]
    by_name = {(row[0], row[1]): row[2:] for row in cells(table)}
    assert float(by_name["SLOW", "float32"][0].rstrip("×").replace(",", "")) == pytest.approx(
        scaled / 1e-4, rel=0.01
    )
    assert by_name["SLOW", "1.0 M"] == ["0.0001", "—"]
    assert by_name["SLOW", "float32"][1] == "—"
    assert by_name["FAST, glibc's defaults", ""] == ["5.0", "27"]
    assert "Aim, 2× SLOW at equal slots: reached in float32" in table
    assert "Aim, 1× every peer at equal slots: not reached in float32" in table


def test_every_way_of_training_has_its_rows(results: Path) -> None:
    rows = cells(all_tables(Results(results))["training"])[1:]
    ways = [(row[0].split(", ")[1], row[1]) for row in rows]
    assert ways == [("eager", "4"), ("eager", "12"), ("compiled", "4"), ("compiled", "12")]


def test_other_results_are_told_as_they_are_stored(
    results: Path,
    dream_speed: dict[str, Any],
    adapter_speed: dict[str, Any],
    endurance: dict[str, Any],
) -> None:
    beside = {
        "env_id": "Real-v0", "slots": 16, "dtype": "bfloat16", "denoising_steps": 1,
        "real_processes": 2, "dream_frames_per_second": [300.0, 310.0, 350.0],
        "real_frames_per_second": [150.0, 155.0, 160.0], "ratio": 2.0,
        "matmul_gflops": {"float32": 200, "bfloat16": 800}, "copied_gigabytes_per_second": 10,
    }  # fmt: skip
    write(results, "dream_speed", dream_speed | {"against_real": beside})
    write(results, "adapter_speed", adapter_speed)
    write(results, "endurance", endurance)
    write(results, "open_loop_shortcut", json.loads((results / "open_loop.json").read_text()))
    tables = all_tables(Results(results))
    assert "Not measured yet" not in "".join(tables.values())
    assert cells(tables["real"])[1:] == [
        ["dream, 16 slots, K=1, bfloat16", "310", "300 … 350", "24.00"],
        ["`Real-v0` in 2 processes", "155", "150 … 160", "—"],
    ]
    assert "dream over real: **2.00**" in tables["real"]
    measured = adapter_speed["frame"]["overhead"]["adapter"]
    assert cells(tables["adapter"])[1][5] == f"{measured:.1%}"
    ages = [row[0] for row in cells(tables["ages"])[1:]]
    assert ages == ["4", "24", "4", "30", "38"], "of one slot, then of the long run"
    assert ["frames", "152"] in cells(tables["endurance"])
    assert len(cells(tables["machine"])) == 1 + 5, "every command that measured"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.99, 1.01, "yes"), (1.03, 1.05, "no"), (1.0, 1.03, "open"), (None, None, "open")],
)
def test_an_old_dream_is_only_called_slow_or_fast_where_it_is_certain(
    results: Path, dream_speed: dict[str, Any], low: Any, high: Any, verdict: str
) -> None:
    row = dream_speed["over_time"]["ages"][0] | {"low": low, "ratio": 1.0, "high": high}
    over_time = dream_speed["over_time"] | {"ages": [row]}
    write(results, "dream_speed", dream_speed | {"over_time": over_time})
    assert cells(all_tables(Results(results))["ages"])[1][5] == verdict


def test_the_page_is_filled_in_with_tables_and_plots(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "page" / "performance.md"
    page.parent.mkdir()
    shutil.copy(DOCS / "performance.md", page)
    render(results, page)
    text = page.read_text()
    plots = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert len(plots) == 5 and all((page.parent / plot).stat().st_size > 5000 for plot in plots)
    for name in ("adapter_speed", "endurance", "open_loop_shortcut"):
        assert f"Not measured yet: `{COMMANDS[name]}`" in text
    assert len(re.findall("Not measured yet", text)) == 4, "and the real environment"
    render(results, page)
    assert page.read_text() == text


def test_nothing_measured_is_nothing_claimed(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    shutil.copy(DOCS / "performance.md", page)
    render(tmp_path, page)
    names = re.findall("<!-- table: (.*?) -->", page.read_text())
    assert set(names) == set(all_tables(Results(tmp_path)))
    assert len(re.findall("Not measured yet", page.read_text())) == len(names)
    assert not (tmp_path / "performance").exists() and "| --" not in page.read_text()


def test_the_peers_of_this_project_are_complete() -> None:
    stored = json.loads((DOCS / "results" / "peers.json").read_text())
    names = [model["name"] for model in stored["models"]]
    assert "DIAMOND" in names and stored["aims"] == {"DIAMOND": 50, "every peer": 10}
    for model in stored["models"]:
        assert len(model["frames_per_second"]) == len(stored["slots"])
