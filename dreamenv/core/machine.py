"""The machine that a measurement ran on, and how fast it multiplies at that moment."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

from dreamenv.core.device import pick_device

DTYPES = ("float32", "bfloat16")
"""Precisions of products that dreams and training use."""


def machine(device: str = "cpu") -> dict[str, Any]:
    """Processor, accelerator and versions, as plain data."""
    where = pick_device(device)
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def processor() -> str:
    """The name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def matmul_rate(dtype: torch.dtype, size: int = 2048, device: str | torch.device = "cpu") -> float:
    """GFLOP/s of a square matrix product: a yardstick for times taken in the same run."""
    device = torch.device(device)
    a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    times = []
    for _ in range(8):
        synchronize(device)
        began = time.perf_counter()
        a @ b
        synchronize(device)
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times) / 1e9


def matmul_rates(size: int = 2048, device: str | torch.device = "cpu") -> dict[str, float]:
    """`matmul_rate` of each of `DTYPES`, by name."""
    return {name: matmul_rate(getattr(torch, name), size, device) for name in DTYPES}


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was given, so that a clock read now is true."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
