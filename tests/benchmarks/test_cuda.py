"""The script for GPU machines runs here as far as a CPU goes, and says what it left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.cuda import __main__ as cuda
from benchmarks.cuda import checks
from tests.benchmarks.conftest import Run
from tests.world_model.models import tiny_config, tiny_model

NEED_CUDA = {"scans", "steps", "graphs", "same_dream", "host_waits", "memory", "tuning"}


@pytest.fixture(scope="module")
def result(debug_checkpoint: Path, run: Run) -> dict[str, Any]:
    return run(
        "cuda", "--device", "cpu", "--checkpoint", debug_checkpoint, "--slots", 1, 2, "--passes", 1,
        "--seconds", 0.01, "--steps", 5, "--ages", 4, 8, "--pairs", 4, "--presets", "debug",
        "--rows", 1, "--window", 6, "--updates", 1, "--real", "", "--check-frames", 5,
        "--matmul-size", 32, "--copied-mebibytes", 1,
    )  # fmt: skip


def test_every_part_is_there_and_none_has_failed(result: dict[str, Any]) -> None:
    for name in cuda.PARTS:
        assert "error" not in result[name], result[name]
        assert ("left_out" in result[name]) == (name in NEED_CUDA | {"real"}), name
    assert result["conditions"]["device"] == "cpu" and "torch" in result["conditions"]["versions"]
    assert set(result["yardsticks"]["matmul_gflops"]) == {"float32", "bfloat16", "tf32"}


def test_what_a_cpu_can_measure_is_measured(result: dict[str, Any]) -> None:
    rates = {(row["slots"], row["denoising_steps"]): row["frames_per_second"]
             for row in result["dream"]["rows"]}  # fmt: skip
    assert set(rates) == {(1, 1), (2, 1)} and min(rates.values()) > 0
    latency = result["one_slot"]
    assert latency["milliseconds_99th"] >= latency["milliseconds_median"] > 0
    assert [row["slots"] for row in result["variants"]["rows"]] == [1, 2]
    assert result["profile"]["milliseconds"]["step"] > 0 and result["profile"]["operations"]
    assert len(result["over_time"]["ages"]) == 2
    (row,) = result["training"]["rows"]
    assert row["frames_per_second_reference"] == pytest.approx(6e3 / row["milliseconds_reference"])
    assert [row["frame_tokens"] for row in result["scan_speed"]["rows"]] == [2, 16]
    assert result["whole_model"]["passes"], "both paths are the reference path here"
    assert result["targets"]["whole_model"] is True and result["targets"]["scans"] is None
    assert result["targets"]["one slot in at most 10 ms"] in (True, False)


def test_a_part_that_fails_loses_no_other(
    debug_checkpoint: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("no such kernel")

    monkeypatch.setitem(cuda.PARTS, "one_slot", fail)
    found = run(
        "cuda", "--device", "cpu", "--checkpoint", debug_checkpoint, "--parts", "one_slot", "dream",
        "--slots", 1, "--passes", 1, "--seconds", 0, "--matmul-size", 32, "--copied-mebibytes", 1,
    )  # fmt: skip
    assert found["one_slot"]["error"] == "ValueError: no such kernel"
    assert len(found["dream"]["rows"]) == 1 and "training" not in found


def test_errors_are_judged_beside_those_of_the_reference() -> None:
    exact = {"y": torch.tensor([1.0, -2.0], dtype=torch.float64)}
    rounded = {"y": exact["y"] + torch.tensor([0.02, 0.0])}

    def judged(error: float) -> dict[str, Any]:
        got = {"y": exact["y"] + torch.tensor([0.0, error])}
        return checks.compare(exact, rounded, got, torch.float32)

    good, bad = judged(0.03), judged(0.1)
    assert good["passes"] and not bad["passes"]
    assert good["parts"]["y"]["reference"] == pytest.approx(0.01)
    assert bad["parts"]["y"]["kernels"] == pytest.approx(0.05)


def test_frames_of_a_gpu_dream_are_checked_against_float64() -> None:
    """The way the check goes, with the reference path on both sides."""
    model = tiny_model(tiny_config()).float()
    start = checks.aged_state(model, 4)
    assert start.frames.tolist() == [5, 5, 1, 1]
    exact = checks.imagined(checks._double(model), checks._as(start, torch.float64), 3, reuse=False)
    by_reference = checks.imagined(model, start, 3, reuse=False)
    in_place = checks.imagined(model, start.clone(), 3)
    row = checks.compare(exact, by_reference, in_place, torch.float32)
    assert row["passes"], row
    assert max(part["kernels"] for part in row["parts"].values()) < 1e-4
    assert model.dynamics.position.dtype == torch.float32


def test_kernels_are_switched_and_switched_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(checks.KERNELS, "1")
    before = torch.backends.cuda.matmul.fp32_precision
    with checks.kernels(False), checks.tf32():
        assert checks.os.environ[checks.KERNELS] == "0"
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    assert checks.os.environ[checks.KERNELS] == "1"
    assert torch.backends.cuda.matmul.fp32_precision == before
