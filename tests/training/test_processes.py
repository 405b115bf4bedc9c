"""A training that several processes share is the one that one process does, and ends as one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamenv.core.errors import ConfigError, DreamEnvError
from dreamenv.core.json_lines import read_json_lines
from dreamenv.training.processes import Processes, joined
from dreamenv.training.train import train_world_model
from tests.training.conftest import MakeRun

SCRIPT = Path(__file__).with_name("one_of_several.py")


def train_in(
    count: int, out: Path, store: Path, changes: dict[str, Any], killed: tuple[str, int] = ("", 0)
) -> list[tuple[int, str]]:
    """Train in `count` processes; the last kills itself at an update. Exit codes and messages."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []
    for rank in range(count):
        about = {"RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = os.environ | {name: str(value) for name, value in about.items()}
        dies = killed if rank == count - 1 else ("", 0)
        command = [sys.executable, SCRIPT, out, store, json.dumps(changes), *dies]
        running.append(
            subprocess.Popen(
                list(map(str, command)), env=environment, stderr=subprocess.PIPE, text=True
            )
        )
    try:
        messages = [process.communicate(timeout=600)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    return [(p.returncode, m) for p, m in zip(running, messages, strict=True)]


def states(out: Path) -> dict[str, Any]:
    return {
        stage: torch.load(out / "training" / f"{stage}.pt", weights_only=True)
        for stage in ("tokenizer", "dynamics")
    }


def test_two_processes_train_what_one_does_also_after_one_was_killed(
    make_run: MakeRun, quick: None, counting_store: Path
) -> None:
    changes = {"shares": 2, "log_every": 1}
    whole, shared = make_run("whole", **changes), make_run("shared", **changes)
    train_world_model(whole)
    left, killed = train_in(2, Path(shared.out), counting_store, changes, ("dynamics", 3))
    assert killed[0] == -signal.SIGKILL and left[0] == 1
    assert "DreamEnvError: process 0 of 2 lost the others" in left[1]
    assert "start all of them again with the same command" in left[1]
    assert states(Path(shared.out))["dynamics"]["step"] == 2
    assert not (Path(shared.out) / ".lock").exists()
    done = train_in(2, Path(shared.out), counting_store, changes)
    assert [code for code, _ in done] == [0, 0], done
    # Gradients are sums over the same shares in another order.
    one, two = states(Path(whole.out)), states(Path(shared.out))
    for stage, state in one.items():
        assert state["step"] == two[stage]["step"]
        for part in ("modules", "average"):
            expected, found = state[part], two[stage][part]
            if part == "average":
                expected, found = expected["weights"], found["weights"]
            for name, tensor in expected.items():
                torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)
    rows = [read_json_lines(Path(run.out) / "metrics.jsonl") for run in (whole, shared)]
    for expected_row, row in zip(*rows, strict=True):
        for what in ("stage", "kind", "step"):
            assert row[what] == expected_row[what]
        if row["kind"] == "train":
            assert row["total"] == pytest.approx(expected_row["total"], rel=1e-4)


def test_shares_are_a_batch_of_their_own_and_not_the_same_rows(
    make_run: MakeRun, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every share has other windows and other noise, and all have what one batch has in rows."""
    from dreamenv.training.loop import Stage

    original, seen = Stage._update, []

    def watched(self: Stage, batches: Any) -> Any:
        if self.name == "dynamics":
            seen.append([batch.latents.clone() for batch in batches])
        return original(self, batches)

    monkeypatch.setattr(Stage, "_update", watched)
    train_world_model(make_run(shares=2))
    assert [[len(part) for part in parts] for parts in seen] == [[1, 1]] * 6
    assert not all(torch.equal(*parts) for parts in seen)


def test_every_process_gets_its_own_shares() -> None:
    for count in (1, 2, 4):
        all_shares = [list(Processes(i, count).shares(4)) for i in range(count)]
        assert sum(all_shares, []) == [0, 1, 2, 3] and len({len(s) for s in all_shares}) == 1


def test_shares_that_cannot_be_equal_are_refused(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer.batch 6 does not fall into 4 equal shares"):
        train_world_model(make_run(shares=4))
    monkeypatch.setattr("dreamenv.training.train.joined", lambda _: _alone_as(2))
    with pytest.raises(ConfigError, match="2 processes cannot have equal parts of 3 shares"):
        train_world_model(make_run(shares=3))


def _alone_as(count: int) -> Any:
    from contextlib import nullcontext

    processes = Processes(0, count)
    processes._sum = lambda tensor: tensor  # type: ignore[method-assign]
    return nullcontext(processes)


def test_processes_that_cannot_meet_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "one")
    with pytest.raises(ConfigError, match="RANK, WORLD_SIZE and LOCAL_RANK must be numbers"):
        joined("cpu").__enter__()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(DreamEnvError, match="process 1 of 2 cannot meet the others"):
        joined("cpu").__enter__()
