"""Adaptive norm, gated residual and GELU with gradients of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dreamenv.world_model.runtime.cpu.training.kernels import call

BIAS_ROWS = 64
"""Rows whose gradient of a bias is summed before it is written."""


class AdaptiveNorm(torch.autograd.Function):
    """x (b, t, n, d) float32 → x and norm(x) · (1 + scale) + shift in the dtype of products.

    x is handed through so that both its gradients are added in one pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """`scale` and `shift` are (b, t, 1, d)."""
        x = x.contiguous()
        scale, shift, stride = _by_frame(scale, shift)
        out, factor = torch.empty_like(x, dtype=scale.dtype), x.new_empty(x.shape[:3])
        call("adaptive_norm", scale.dtype, *_sizes(x), x, scale, shift, stride, out, factor)
        ctx.save_for_backward(x, scale, factor)
        return x.view_as(x), out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_passed: Tensor, d_out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of x, scale and shift."""
        x, scale, factor = ctx.saved_tensors
        d_x = torch.empty_like(x)
        d_scale, d_shift = (scale.new_empty(scale.shape) for _ in range(2))
        call(
            "adaptive_norm_gradient", scale.dtype, *_sizes(x), x, scale, scale.stride(1), factor,
            d_out.contiguous(), d_passed.contiguous(), d_x, d_scale, d_shift,
        )  # fmt: skip
        return d_x, d_scale, d_shift


class GatedAdd(torch.autograd.Function):
    """x + gate · y for x (b, t, n, d) float32, gate (b, t, 1, d), and y (b, t, n, d)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
        """The sum, float32."""
        x, y = x.contiguous(), y.contiguous()
        gate, _, stride = _by_frame(gate, gate)
        out = torch.empty_like(x)
        call("gated_add", y.dtype, *_sizes(x), x, gate, stride, y, out)
        ctx.save_for_backward(gate, y)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of x, gate and y."""
        gate, y = ctx.saved_tensors
        d_out, d_gate, d_y = d_out.contiguous(), gate.new_empty(gate.shape), torch.empty_like(y)
        call("gated_add_gradient", y.dtype, *_sizes(y), gate, gate.stride(1), y, d_out, d_gate, d_y)
        return d_out, d_gate, d_y


class BiasedGelu(torch.autograd.Function):
    """GELU (by tanh) of x (…, d) + bias (d,), which is float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        """The same shape and dtype as x."""
        x, out = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
        call("biased_gelu", x.dtype, x.numel() // x.shape[-1], x.shape[-1], x, bias, out)
        ctx.save_for_backward(x, bias)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of x and bias."""
        x, bias = ctx.saved_tensors
        rows, width = x.numel() // x.shape[-1], x.shape[-1]
        d_x, d_bias = torch.empty_like(x), bias.new_empty(-(-rows // BIAS_ROWS), width)
        call(
            "biased_gelu_gradient", x.dtype, rows, width, BIAS_ROWS, x, bias, d_out.contiguous(),
            d_x, d_bias,
        )  # fmt: skip
        return d_x, d_bias.sum(0)


def _sizes(x: Tensor) -> tuple[int, int, int]:
    """Groups, rows of a group, and width of (b, t, n, d)."""
    return x.shape[0] * x.shape[1], x.shape[2], x.shape[3]


def _by_frame(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, int]:
    """Two tensors (b, t, 1, d) whose frames lie equally far apart, and how far."""

    def even(x: Tensor) -> bool:
        return x.stride(-1) == 1 and x.stride(0) == x.shape[1] * x.stride(1)

    if not (even(first) and even(second) and first.stride(1) == second.stride(1)):
        first, second = first.contiguous(), second.contiguous()
    return first, second, first.stride(1)
