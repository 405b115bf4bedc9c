"""Latents to frames on the CPU, with compiled kernels between the convolutions."""

from __future__ import annotations

import ctypes
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamenv.world_model.network.tokenizer import ResidualBlock, Tokenizer
from dreamenv.world_model.runtime.cpu.build import address, batch


class KernelDecoder:
    """`Tokenizer.decode` in float32, with convolutions in `dtype`.

    Images are (b, channels, height, width), channels last in memory. Channels that become pixels
    are put into the order of pixels when weights are taken, so that whole runs are copied.
    """

    def __init__(self, tokenizer: Tokenizer, dtype: torch.dtype, kernels: ctypes.CDLL) -> None:
        self.tokenizer, self.dtype, self.kernels = tokenizer, dtype, kernels
        modules = list(tokenizer.decoder)
        self.steps: list[_Convolution | _Block | _Spread] = []
        for module, follower in zip(modules, [*modules[1:], None], strict=True):
            if isinstance(module, ResidualBlock):
                self.steps.append(_Block(module, dtype, kernels))
            elif isinstance(module, nn.PixelShuffle):
                last = follower is None
                self.steps.append(_Spread(module.upscale_factor, dtype, kernels, frames=last))
            else:
                times = follower.upscale_factor if isinstance(follower, nn.PixelShuffle) else 1
                self.steps.append(_Convolution(cast(nn.Conv2d, module), dtype, times))

    def __call__(self, latents: Tensor, grid: tuple[int, int]) -> Tensor:
        """Latents (b, tokens, channels) → frames (b, H, W, C), about in [0, 1]."""
        raw = latents * self.tokenizer.latent_std + self.tokenizer.latent_mean
        x = raw.to(self.dtype).unflatten(1, grid).permute(0, 3, 1, 2)
        for step in self.steps:
            x = step(x)
        return x.permute(0, 2, 3, 1)


class _Convolution:
    def __init__(self, convolution: nn.Conv2d, dtype: torch.dtype, times: int = 1) -> None:
        """Its outputs become `times` × `times` pixels."""

        def ordered(x: Tensor) -> Tensor:  # (channels · times²) → (times² · channels)
            return x.unflatten(0, (-1, times**2)).transpose(0, 1).flatten(0, 1).to(dtype)

        assert convolution.bias is not None
        weight = ordered(convolution.weight.detach())
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.bias = ordered(convolution.bias.detach())
        self.padding = cast(tuple[int, int], convolution.padding)

    def __call__(self, x: Tensor) -> Tensor:
        y = F.conv2d(x, self.weight, self.bias, padding=self.padding)
        return y.contiguous(memory_format=torch.channels_last)


class _Block:
    """`ResidualBlock`."""

    def __init__(self, block: ResidualBlock, dtype: torch.dtype, kernels: ctypes.CDLL) -> None:
        self.first, self.second = (_Convolution(x, dtype) for x in (block.first, block.second))
        self.groups = ctypes.c_int(block.norm.num_groups)
        self.weight, self.bias = (x.detach().float() for x in (block.norm.weight, block.norm.bias))
        self.kernels = kernels

    def __call__(self, x: Tensor) -> Tensor:
        channels, pixels = x.shape[1], x.shape[2] * x.shape[3]
        activated = torch.empty_like(x)
        self.kernels.silu_image(
            *batch(len(x)), ctypes.c_long(channels * pixels), address(x), address(activated)
        )
        inner = self.first(activated)
        self.kernels.group_norm_silu(
            *batch(len(x)), ctypes.c_long(pixels), ctypes.c_int(channels), self.groups,
            address(inner), address(self.weight), address(self.bias),
        )  # fmt: skip
        return self.second(inner).add_(x)


class _Spread:
    """`nn.PixelShuffle` of channels in the order of pixels, at the end into frames in [0, 1]."""

    def __init__(self, times: int, dtype: torch.dtype, kernels: ctypes.CDLL, frames: bool) -> None:
        self.times, self.dtype = times, torch.float32 if frames else dtype
        self.kernel = kernels.spread_frames if frames else kernels.spread_pixels

    def __call__(self, x: Tensor) -> Tensor:
        slots, channels, height, width = x.shape
        times, channels = self.times, channels // self.times**2
        out = torch.empty(slots, height * times, width * times, channels, dtype=self.dtype)
        sizes = (ctypes.c_int(n) for n in (height, width, times, channels))
        self.kernel(*batch(slots), *sizes, address(x), address(out))
        return out.permute(0, 3, 1, 2)
