"""mamba-ssm's Triton kernels, where they can be had: found without importing the whole package.

`import mamba_ssm` asks for a compiled extension and for Hugging Face's transformers. The kernels
need neither, only Triton and einops, so they are imported past the package's own `__init__`.
Then a build without the extension serves as well, and it needs no CUDA toolkit:

    MAMBA_SKIP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE \\
        pip install --no-build-isolation --no-deps mamba-ssm einops

`DREAMENV_KERNELS=0` in the environment leaves them alone, like all kernels.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dreamenv.core.settings import kernels_wanted

PACKAGE = "mamba_ssm"
LEAST_TOKENS = 4096
"""Of all sequences together: the kernels are for training. Watching some frames before a dream is
no work that would repay the minutes in which they tune themselves."""
MOST_SEQUENCES = 65535
"""CUDA's limit on the second dimension of a grid, which counts sequences times chunks."""

logger = logging.getLogger(__name__)


@torch.compiler.disable
def chunk_scan_for(x: Tensor) -> Callable[..., Any] | None:
    """`mamba_chunk_scan_combined`, if it should and can scan x (g, l, h, p), perhaps two of them.

    Its products in float32 are made of TF32 numbers, so float32 goes there only where torch's own
    products may do the same (`torch.set_float32_matmul_precision`). float64 never does.
    """
    if not x.is_cuda or not kernels_wanted():
        return None
    if x.dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision != "tf32":
        return None
    sequences, length = x.shape[:2]
    if sequences * length < LEAST_TOKENS or sequences * (1 + length // 64) > MOST_SEQUENCES:
        return None
    if x.dtype == torch.float64:
        return None
    return load_kernel("ssd_combined", "mamba_chunk_scan_combined")


@lru_cache
def load_kernel(module: str, name: str) -> Callable[..., Any] | None:
    """A function of `mamba_ssm.ops.triton`, or None where it cannot be imported."""
    try:
        kernel = getattr(_import_past_init(f"{PACKAGE}.ops.triton.{module}"), name)
        return torch.compiler.disable(kernel)  # a layer is compiled around it
    except Exception as error:  # a kernel of another version may fail in any way
        logger.info("scans run without mamba-ssm's kernels: %s: %s", type(error).__name__, error)
        return None


def _import_past_init(module: str) -> ModuleType:
    if PACKAGE in sys.modules:
        return importlib.import_module(module)
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"no module named {PACKAGE!r}")
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)  # made, not executed
    try:
        return importlib.import_module(module)
    finally:
        del sys.modules[PACKAGE]  # whoever imports it later gets the whole of it
