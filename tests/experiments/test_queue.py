"""The queue does every job once, whoever dies, fails, changes its mind or works beside it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dreamenv.core.errors import CheckpointError
from dreamenv.core.locks import locked
from experiments.job import Job
from experiments.queue import run_queue


def make_jobs(out: Path, cells: str = "abc", **changes: Any) -> list[Job]:
    """A job per letter; `changes` are a cell's training settings."""
    return [
        Job(cell, 0, out / cell / "seed0", {"steps": changes.get(cell, 1), "t": (1, 2)}, {"k": 1})
        for cell in cells
    ]


class Trainer:
    """Trains by leaving a file; fails or dies where it is told to."""

    def __init__(self, fails: str = "", dies: str = "") -> None:
        self.fails, self.dies, self.worked = fails, dies, ""

    def __call__(self, job: Job) -> dict[str, Any]:
        job.run.mkdir(parents=True, exist_ok=True)
        with (job.run / "updates").open("a") as file:
            file.write("x")
        self.worked += job.cell
        if job.cell in self.fails:
            raise RuntimeError(f"{job.cell} diverged")
        if job.cell in self.dies:
            raise KeyboardInterrupt
        return {"score": len((job.run / "updates").read_text())}


def quiet(_: str) -> None:
    """Say nothing."""


def names(jobs: list[Job]) -> str:
    return "".join(job.cell for job in jobs)


def states(jobs: list[Job]) -> list[str]:
    return [job.state() for job in jobs]


def test_every_job_is_done_once(tmp_path: Path) -> None:
    jobs, work = make_jobs(tmp_path), Trainer()
    assert states(jobs) == ["waiting"] * 3
    assert not list(tmp_path.iterdir()), "asking for the state leaves nothing behind"
    tally = run_queue(jobs, work, say=quiet)
    assert (names(tally.finished), tally.failed, tally.left) == ("abc", [], [])
    scores = json.loads((tmp_path / "b" / "seed0" / "scores.json").read_text())
    assert scores == {"cell": "b", "seed": 0, "fingerprint": jobs[1].fingerprint, "score": 1}
    run_queue(make_jobs(tmp_path), work, say=quiet)
    assert work.worked == "abc" and states(jobs) == ["done"] * 3


def test_a_killed_job_goes_on_in_its_run(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_queue(jobs, Trainer(dies="b"), say=quiet)
    assert states(jobs) == ["done", "begun", "waiting"]
    again = Trainer()
    run_queue(jobs, again, say=quiet)
    assert again.worked == "bc"
    assert jobs[1].scores()["score"] == 2, "the run of the first attempt was continued"


def test_a_failure_is_stored_the_others_go_on_and_the_next_call_tries_again(
    tmp_path: Path,
) -> None:
    jobs, said = make_jobs(tmp_path), []
    work = Trainer(fails="b")
    tally = run_queue(jobs, work, say=said.append)
    assert (names(tally.finished), names(tally.failed), tally.left) == ("ac", "b", [])
    assert work.worked == "abc", "not tried twice by one call"
    error = json.loads((tmp_path / "b" / "seed0" / "error.json").read_text())
    assert error["error"] == "RuntimeError: b diverged" and "Trainer" not in error["error"]
    assert any("__call__" in line for line in error["traceback"])
    assert states(jobs)[1] == "failed" and "b, seed 0: failed: b diverged" in said
    tally = run_queue(jobs, Trainer(), say=quiet)
    assert names(tally.finished) == "abc" and jobs[1].error() is None


def test_what_another_process_just_saw_failing_is_not_tried(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path)

    def other_process_fails_c(job: Job) -> dict[str, Any]:
        if job.cell == "a":
            make_jobs(tmp_path)[2].fail(RuntimeError("no"))
        return work(job)

    work = Trainer()
    tally = run_queue(jobs, other_process_fails_c, say=quiet)
    assert work.worked == "ab" and names(tally.failed) == "c"


def test_changed_training_moves_run_and_scores_away(tmp_path: Path) -> None:
    run_queue(make_jobs(tmp_path), Trainer(), say=quiet)
    changed = make_jobs(tmp_path, b=2)
    assert states(changed) == ["done", "changed", "done"]
    work = Trainer()
    run_queue(changed, work, say=quiet)
    assert work.worked == "b" and changed[1].scores()["score"] == 1, "trained from nothing"
    folder = tmp_path / "b" / "seed0"
    old = json.loads((folder / "stale" / "1" / "job.json").read_text())
    assert old["training"]["steps"] == 1
    assert (folder / "stale" / "1" / "run" / "updates").read_text() == "x"
    assert (folder / "stale" / "1" / "scores.json").exists()
    run_queue(make_jobs(tmp_path), Trainer(), say=quiet)
    assert (folder / "stale" / "2" / "scores.json").exists()


def test_an_unfinished_run_of_other_settings_is_not_continued(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_queue(make_jobs(tmp_path), Trainer(dies="a"), say=quiet)
    changed = make_jobs(tmp_path, a=2)
    assert changed[0].state() == "changed"
    run_queue(changed, Trainer(), say=quiet)
    assert changed[0].scores()["score"] == 1


def test_a_run_without_settings_is_nobodys(tmp_path: Path) -> None:
    job = make_jobs(tmp_path)[0]
    job.run.mkdir(parents=True)
    (job.run / "updates").write_text("xxx")
    run_queue([job], Trainer(), say=quiet)
    assert job.scores()["score"] == 1


def test_changed_tasks_keep_the_trained_model(tmp_path: Path) -> None:
    job = make_jobs(tmp_path, "a")[0]
    run_queue([job], Trainer(), say=quiet)
    other = Job(job.cell, job.seed, job.folder, job.training, {"k": 2})
    assert other.state() == "begun"
    run_queue([other], Trainer(), say=quiet)
    assert other.scores()["score"] == 2, "measured again, in the same run"
    assert (job.folder / "stale" / "1" / "scores.json").exists()


def test_limits_leave_the_rest_for_the_next_call(tmp_path: Path) -> None:
    jobs, work = make_jobs(tmp_path), Trainer(fails="a")
    tally = run_queue(jobs, work, most=2, say=quiet)
    assert work.worked == "ab" and names(tally.left) == "c"
    tally = run_queue(jobs, work, minutes=0, say=quiet)
    assert work.worked == "ab" and names(tally.left) == "ac"


def work_slowly(out: Path, fate: str) -> None:
    """A process that works through the queue, and notes which jobs it did."""

    def work(job: Job) -> dict[str, Any]:
        (out / f"{os.getpid()}.{job.cell}").touch()
        if fate == "hangs":
            time.sleep(60)
        time.sleep(0.05)
        return {}

    run_queue(make_jobs(out, "abcdef"), work, say=quiet)


def start(target: Callable[..., None], *args: Any) -> Any:
    process = multiprocessing.get_context("fork").Process(target=target, args=args)
    process.start()
    return process


def test_two_processes_share_the_jobs(tmp_path: Path) -> None:
    processes = [start(work_slowly, tmp_path, "") for _ in range(2)]
    for process in processes:
        process.join(20)
        assert process.exitcode == 0
    done = sorted(path.name.split(".")[1] for path in tmp_path.glob("*.?"))
    assert done == list("abcdef"), "each by one of them"
    assert states(make_jobs(tmp_path, "abcdef")) == ["done"] * 6


def test_a_process_that_is_killed_lets_go_of_its_job(tmp_path: Path) -> None:
    process = start(work_slowly, tmp_path, "hangs")
    jobs, work = make_jobs(tmp_path, "ab"), Trainer()
    while not list(tmp_path.glob("*.a")):
        time.sleep(0.01)
    tally = run_queue(jobs, work, say=quiet)
    assert work.worked == "b" and names(tally.left) == "a"
    assert states(jobs) == ["running", "done"]
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)
    assert states(jobs) == ["begun", "done"]
    run_queue(jobs, work, say=quiet)
    assert work.worked == "ba"


def hold(lock: Path, order: Path) -> None:
    """Hold a lock for a while, then note it."""
    with locked(lock) as mine:
        assert mine
        order.touch()
        time.sleep(0.2)
        order.write_text("first")


def test_a_lock_can_be_waited_for(tmp_path: Path) -> None:
    lock, order = tmp_path / "lock", tmp_path / "order"
    process = start(hold, lock, order)
    while not order.exists():
        time.sleep(0.01)
    with locked(lock) as mine:
        assert not mine
    with locked(lock, wait=True) as mine:
        assert mine and order.read_text() == "first"
    process.join(20)
    assert process.exitcode == 0


def test_damaged_scores_are_named(tmp_path: Path) -> None:
    job = make_jobs(tmp_path)[0]
    job.folder.mkdir(parents=True)
    (job.folder / "scores.json").write_text("{")
    with pytest.raises(CheckpointError, match="scores.json is damaged.*delete it"):
        run_queue([job], Trainer(), say=quiet)
