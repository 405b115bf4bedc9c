"""How benchmarks are run here: whole, small, and on one thread."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Run torch on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a benchmark by name with arguments; returns what it has written."""

    def run(name: str, *arguments: object) -> dict[str, Any]:
        module = importlib.import_module(f"benchmarks.{name}")
        if not hasattr(module, "main"):  # a package
            module = importlib.import_module(f"benchmarks.{name}.__main__")
        words = list(map(str, arguments))
        if "--out" not in words:
            words += ["--out", str(tmp_path_factory.mktemp(name) / "result.json")]
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(sys, "argv", [f"benchmarks/{name}.py", *words])
            module.main()
        return json.loads(Path(words[words.index("--out") + 1]).read_text())

    return run


@pytest.fixture(scope="session")
def dream_speed(debug_checkpoint: Path, run: Run) -> dict[str, Any]:
    """What the benchmark of the dream's speed writes."""
    return run(
        "dream_speed", "--checkpoint", debug_checkpoint, "--real", "", "--slots", 2, "--rounds", 2,
        "--seconds", 0.01, "--by-slots", 1, 3, "--passes", 2, 1, "--ages", 4, 8, "--pairs", 20,
        "--steps", 5, "--profile-slots", 2, "--profile-steps", 2, "--matmul-size", 64,
        "--copied-mebibytes", 1,
    )  # fmt: skip


@pytest.fixture(scope="session")
def training_speed(run: Run) -> dict[str, Any]:
    """What the benchmark of training writes."""
    return run(
        "training_speed", "--preset", "debug", "--windows", 4, 12, "--frames", 24, "--rounds", 2,
        "--profile-window", 12, "--matmul-size", 64, "--copied-mebibytes", 1,
    )  # fmt: skip


@pytest.fixture(scope="session")
def adapter_speed(debug_checkpoint: Path, run: Run) -> dict[str, Any]:
    """What the benchmark of the adapter writes."""
    return run(
        "adapter_speed", "--checkpoint", debug_checkpoint, "--slots", 2, "--steps", 6,
        "--horizon", 4, "--rounds", 2, "--matmul-size", 64, "--copied-mebibytes", 1,
    )  # fmt: skip


@pytest.fixture(scope="session")
def endurance(
    debug_checkpoint: Path, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the benchmark of endurance writes, of dreams that are compared at 4 and at 30 steps."""
    folder = tmp_path_factory.mktemp("endurance") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("benchmarks.endurance.AGES", (4, 30))
        return run(
            "endurance", "--checkpoint", debug_checkpoint, "--run", folder, "--frames", 150,
            "--slots", 4, "--horizon", 5, "--checkpoints", 5,
        )  # fmt: skip
