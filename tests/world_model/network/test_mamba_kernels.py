"""Scans by mamba-ssm's kernels equal the reference, forwards and backwards; see `triton_here`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dreamenv.core.settings import KERNELS
from dreamenv.world_model.network import mamba_kernels
from dreamenv.world_model.network.mamba_kernels import chunk_scan_for, load_kernel
from dreamenv.world_model.network.ssd import ScanInputs, scan_by_kernel, ssd_scan
from tests.world_model.triton_here import DEVICE, INTERPRETED, needs_triton, pretend_cuda

SEQUENCES, HEADS, HEAD_DIM, STATE_DIM = 2, 3, 16, 8
TOLERANCE = 2e-5 if INTERPRETED else 2e-3
"""Of the largest value; a GPU multiplies TF32 numbers here."""


def inputs(length: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn((SEQUENCES, length, *shape), generator=generator)

    dt = torch.nn.functional.softplus(draw(HEADS) - 1)
    tensors = draw(HEADS, HEAD_DIM), dt, draw(STATE_DIM), draw(STATE_DIM)
    return [x.to(DEVICE).requires_grad_() for x in tensors]


def loaded(monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> Callable[..., Any]:
    pretend_cuda(monkeypatch)
    kernel = load_kernel(module, name)
    if kernel is None:
        pytest.skip("needs mamba-ssm and einops")
    return kernel


@needs_triton
@pytest.mark.parametrize(("frames", "frame_tokens"), [(5, 1), (7, 4), (3, 16), (40, 4)])
@pytest.mark.parametrize("streams", [1, 2])
def test_scan_and_its_gradients(
    frames: int, frame_tokens: int, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = loaded(monkeypatch, "ssd_combined", "mamba_chunk_scan_combined")
    write, read = (inputs(frames * frame_tokens, seed) for seed in (0, 1))
    generator = torch.Generator().manual_seed(2)
    a = (-torch.rand(HEADS, generator=generator) - 0.1).to(DEVICE).requires_grad_()
    shape = (SEQUENCES, STATE_DIM, HEADS, HEAD_DIM)
    state = torch.randn(shape, generator=generator).to(DEVICE).requires_grad_()
    leaves = [*write, *(read if streams == 2 else []), a, state]
    reading = ScanInputs(*read) if streams == 2 else None

    def measured(outputs: tuple[Tensor, Tensor | None, Tensor]) -> list[Tensor]:
        present = [x for x in outputs if x is not None]
        generator = torch.Generator().manual_seed(3)
        weights = [torch.randn(x.shape, generator=generator).to(DEVICE) for x in present]
        total = sum(((x * w).sum() for x, w in zip(present, weights, strict=True)), torch.zeros(()))
        return [*present, *torch.autograd.grad(total, leaves)]

    expected = measured(_reference(ScanInputs(*write), a, state, frame_tokens, reading))
    got = measured(scan_by_kernel(kernel, ScanInputs(*write), a, state, frame_tokens, reading))
    names = ["y", *(["y_read"] if reading else []), "state", "x", "dt", "b", "c"]
    names += [f"read {name}" for name in "x dt b c".split()] if reading else []
    for name, one, other in zip([*names, "a", "state before"], expected, got, strict=True):
        error = (one - other).abs().max() / one.abs().max()
        assert error < TOLERANCE, f"{name}: {error}"
        print(f"{name}: {error:.1e}")


def _reference(
    write: ScanInputs, a: Tensor, state: Tensor, frame_tokens: int, read: ScanInputs | None
) -> tuple[Tensor, Tensor | None, Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KERNELS, "0")
        return ssd_scan(write, a, state, frame_tokens, 16, read)


@needs_triton
def test_a_look_leaves_the_state_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = loaded(monkeypatch, "ssd_combined", "mamba_chunk_scan_combined")
    with torch.no_grad():
        write = ScanInputs(*inputs(6, 0))
        state = torch.ones(SEQUENCES, STATE_DIM, HEADS, HEAD_DIM, device=DEVICE)
        a = -torch.ones(HEADS, device=DEVICE)
        _, _, after = scan_by_kernel(kernel, write, a, state, 2, keep=False)
    assert after is state and (state == 1).all()


def test_the_cpu_never_asks_for_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mamba_kernels, "load_kernel", lambda *_: pytest.fail("asked"))
    assert chunk_scan_for(torch.zeros(1, 8, 2, 4)) is None


def test_what_cannot_be_imported_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "mamba_ssm", raising=False)
    load_kernel.cache_clear()
    try:
        assert load_kernel("no_such_module", "mamba_chunk_scan_combined") is None
        assert "mamba_ssm" not in sys.modules, "half of a package was left behind"
    finally:
        load_kernel.cache_clear()


class OnCuda:
    """What `chunk_scan_for` asks a tensor."""

    is_cuda = True

    def __init__(self, dtype: torch.dtype, sequences: int = 32) -> None:
        self.dtype, self.shape = dtype, (sequences, 128, 8, 64)


def test_kernels_are_chosen_for_what_they_compute_well(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = object()
    monkeypatch.setattr(mamba_kernels, "load_kernel", lambda *_: kernel)
    monkeypatch.delenv(KERNELS, raising=False)

    def chosen(*args: Any) -> bool:
        return chunk_scan_for(OnCuda(*args)) is kernel  # type: ignore[arg-type]

    assert chosen(torch.bfloat16) and not chosen(torch.float64)
    assert not chosen(torch.bfloat16, 30_000), "more programs than CUDA starts"
    assert not chosen(torch.bfloat16, 31), "too little work"
    assert not chosen(torch.float32), "TF32 is not asked for"
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    try:
        products.fp32_precision = "tf32"
        assert chosen(torch.float32)
    finally:
        products.fp32_precision = before
    monkeypatch.setenv(KERNELS, "0")
    assert not chosen(torch.bfloat16)
