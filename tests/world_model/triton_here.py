"""Whether Triton's kernels can run here: on a GPU, or under its interpreter on the CPU.

The interpreter needs no GPU, only the packages, which the usual environment does not have:

    pip install triton einops
    MAMBA_SKIP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE \\
        pip install --no-build-isolation --no-deps "mamba-ssm>=2.3,<3"
    TRITON_INTERPRET=1 MAMBA_DETERMINISTIC=1 python -m pytest \\
        tests/world_model/network/test_mamba_kernels.py \\
        tests/world_model/runtime/test_triton_kernels.py
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"
HAS_TRITON = importlib.util.find_spec("triton") is not None
RUNS = HAS_TRITON and (INTERPRETED or DEVICE == "cuda")

needs_triton = pytest.mark.skipif(not RUNS, reason="needs Triton, and a GPU or TRITON_INTERPRET=1")


def pretend_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let mamba-ssm's launchers, which ask CUDA about its device, run on CPU tensors."""
    if INTERPRETED:
        # Without it every kernel is tried in several shapes, which takes a GPU to time.
        assert os.environ.get("MAMBA_DETERMINISTIC") == "1", "set MAMBA_DETERMINISTIC=1 as well"
        properties: Any = SimpleNamespace(multi_processor_count=1)
        monkeypatch.setattr(torch.cuda, "device", lambda *_: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: properties)
