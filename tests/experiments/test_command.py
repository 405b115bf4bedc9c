"""The command: its options, its exit codes, and a whole grid killed and shared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dreamenv.cli import main
from experiments import preparation, suites, work
from experiments.grid import Grid
from experiments.job import Job
from tests.experiments.conftest import job_scores, make_suite


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The suite `test` with jobs that take no time; the jobs done, and "prepare"."""
    done: list[str] = []

    def train_and_measure(_: Grid, job: Job) -> dict[str, Any]:
        done.append(job.name)
        return job_scores(20.0 + job.seed)

    monkeypatch.setattr(suites, "SUITES", {"test": make_suite()})
    monkeypatch.setattr(preparation, "prepare", lambda *_: done.append("prepare"))
    monkeypatch.setattr(work, "train_and_measure", train_and_measure)
    return done


def compare(path: Path, *options: str) -> int:
    return main(["compare", "--suite", "test", "--out", str(path / "out"), *options])


def test_everything_is_done_once_and_rendered(
    tmp_path: Path, worked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(tmp_path) == 0
    assert worked == ["prepare", "ours, seed 0", "window, seed 0"]
    out = capsys.readouterr().out
    assert "2 of 2 jobs are done" in out and "retrieval_by_distance.png" in out
    assert (tmp_path / "out" / "results" / "tables.md").is_file()
    assert compare(tmp_path) == 0
    assert len(worked) == 3, "nothing is prepared or done again"


def test_a_checkout_compares_from_any_folder(tmp_path: Path) -> None:
    """An editable install finds the comparison beside the package, whatever stands around."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("raise RuntimeError('another one')")
    command = [sys.executable, "-m", "dreamenv", "compare", "--suite", "debug", "--list"]
    listed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    assert "ours, seed 0" in listed.stdout and "waiting" in listed.stdout


def test_options_choose_what_is_done(
    tmp_path: Path, worked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    page, results = tmp_path / "memory.md", tmp_path / "results"
    page.write_text("<!-- table: baselines -->\n<!-- end -->\n")
    options = ("--results", str(results), "--docs", str(page))
    assert compare(tmp_path, "--only", "window", "--seeds", "4", "5", "--jobs-limit", "1") == 0
    assert worked == ["prepare", "window, seed 4"]
    assert "1 are left" in capsys.readouterr().out
    assert compare(tmp_path, "--minutes", "0") == 0 and worked.count("prepare") == 2
    assert compare(tmp_path, "--report", *options) == 0 and worked.count("prepare") == 2
    assert "| windowed | 24.00 [23.50, 24.50] |" in page.read_text()
    assert json.loads((results / "results.json").read_text())["rows"][0]["seed"] == 4
    assert compare(tmp_path, "--list", "--seeds", "4") == 0
    listing = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split() for line in listing] == [
        ["ours,", "seed", "4", "waiting"], ["window,", "seed", "4", "done"],
    ]  # fmt: skip


def test_a_failure_is_one_line_and_exit_code_1(
    tmp_path: Path,
    worked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(grid: Grid, job: Job) -> dict[str, Any]:
        if job.cell == "ours":
            raise ValueError("the loss is a fish")
        return job_scores(20.0)

    monkeypatch.setattr(work, "train_and_measure", fails)
    assert compare(tmp_path) == 1
    captured = capsys.readouterr()
    path = tmp_path / "out" / "jobs" / "ours" / "seed0" / "error.json"
    assert captured.err == f"failed: ours, seed 0: ValueError: the loss is a fish ({path})\n"
    assert "1 of 2 jobs are done" in captured.out and "are left" not in captured.out
    assert json.loads(path.read_text())["error"] == "ValueError: the loss is a fish"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_says_how_to_go_on(
    tmp_path: Path,
    worked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    def interrupted(*_: Any) -> dict[str, Any]:
        signal.raise_signal(number)
        time.sleep(5)
        raise AssertionError("the signal came to nothing")

    monkeypatch.setattr(work, "train_and_measure", interrupted)
    monkeypatch.setattr(sys, "argv", ["dreamenv", "compare", "--suite", "test"])
    # Where tests run in the background SIGINT may be ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert compare(tmp_path) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    error = capsys.readouterr().err
    assert error.endswith("to go on: dreamenv compare --suite test\n")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_full_disk_stops_with_advice(
    tmp_path: Path,
    worked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preparation, "prepare", full)
    assert compare(tmp_path) == 2
    assert "No space left" in (error := capsys.readouterr().err) and "same command" in error


def test_mistakes_are_named_before_anything_is_made(
    tmp_path: Path, worked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--suite", "tset"]) == 2
    assert "no suite 'tset'; there are test" in capsys.readouterr().err
    assert compare(tmp_path, "--only", "theirs") == 2
    assert "no cell 'theirs'" in capsys.readouterr().err
    assert worked == [] and not (tmp_path / "out").exists()


def start(folder: Path, *options: str) -> subprocess.Popen:
    """The command on the suite `debug`, in a process of its own."""
    command = [sys.executable, "-m", "dreamenv", "compare", "--suite", "debug", *options]
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [*command, "--out", "out"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_debug_grid_from_nothing_stopped_and_shared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real rollouts of Memory Maze, every kind of cell and task; two processes finish it."""
    pytest.importorskip("memory_maze")
    first = start(tmp_path)
    jobs = tmp_path / "out" / "jobs"
    while first.poll() is None and not list(jobs.glob("*/seed0/run/training")):
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    _, errors = first.communicate(timeout=800)
    assert first.returncode == 130, errors
    assert "to go on: dreamenv compare --suite debug --out out" in errors
    assert not list(jobs.glob("*/seed0/scores.json"))

    pair = [start(tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=800) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    begun = [line for out, _ in outputs for line in out.splitlines() if "begins" in line]
    cells = suites.DEBUG.cells
    assert sorted(line.split(",")[0] for line in begun) == sorted(cell.name for cell in cells)

    capsys.readouterr()
    assert main(["compare", "--suite", "debug", "--out", str(tmp_path / "out"), "--report"]) == 0
    assert f"{len(cells)} of {len(cells)} jobs are done" in capsys.readouterr().out
    results = json.loads((tmp_path / "out" / "results" / "results.json").read_text())
    assert [row["cell"] for row in results["rows"]] == [cell.name for cell in cells]
    assert all(row["training"]["matmul_flops"] > 1e6 for row in results["rows"])
    tables = (tmp_path / "out" / "results" / "tables.md").read_text()
    for name in ("baselines", "margins", "distance", "beyond", "cue-recall", "revisit"):
        table = tables.split(f"## {name}\n")[1].split("## ")[0]
        numbers = [line for line in table.splitlines()[3:] if line.startswith("|") and "." in line]
        assert numbers, f"the table {name} is empty:\n{table}"
    assert len(list((tmp_path / "out" / "results").glob("*.png"))) == 3
