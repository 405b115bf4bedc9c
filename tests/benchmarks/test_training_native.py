"""The benchmark of training's kernels gives both paths the same updates to make."""

from __future__ import annotations

import os

import pytest
import torch

from dreamenv.core.settings import KERNELS
from dreamenv.world_model.runtime.cpu.build import load_training_kernels
from dreamenv.world_model.runtime.cpu.training.kernels import library_for
from tests.benchmarks.conftest import Run


def test_both_paths_make_the_same_updates(run: Run) -> None:
    switch = os.environ.get(KERNELS)
    library_for.cache_clear()
    load_training_kernels.cache_clear()
    if library_for(torch.float32) is None:
        pytest.skip("there is no C compiler here")
    result = run(
        "training_native", "--preset", "debug", "--window", 6, "--rows", 2, "--rounds", 2,
        "--dtype", "float32",
    )  # fmt: skip
    assert os.environ.get(KERNELS) == switch
    for found in result["by_scheme"].values():
        losses, seconds = found["losses"], found["processor_seconds"]
        assert losses["native"] == pytest.approx(losses["reference"], rel=1e-4)
        assert len(set(losses["native"])) == 4
        assert found["ratios"] == [
            a / b for a, b in zip(seconds["reference"], seconds["native"], strict=True)
        ]
        assert 0 < found["products"] < 1
        assert len(found["ratios"]) == 2 and min(found["ratios"]) <= found["ratio"]
