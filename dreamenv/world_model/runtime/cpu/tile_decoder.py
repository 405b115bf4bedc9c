"""Latents to frames on CPUs that multiply tiles of bfloat16 (AMX), in one call."""

from __future__ import annotations

import ctypes
from typing import cast

import torch
from torch import Tensor, nn

from dreamenv.world_model.network.tokenizer import ResidualBlock, Tokenizer
from dreamenv.world_model.runtime.cpu.build import address, batch
from dreamenv.world_model.runtime.cpu.packed_weights import Packed, WeightsFields


def decodes_by_tiles(tokenizer: Tokenizer) -> bool:
    """Whether channels come in whole tiles."""
    config = tokenizer.config
    return all(n % 32 == 0 for n in (config.latent_channels, *config.widths))


class TileDecoder:
    """`Tokenizer.decode` with convolutions as products on tiles."""

    def __init__(self, tokenizer: Tokenizer, grid: tuple[int, int], kernels: ctypes.CDLL) -> None:
        self.kernels = kernels
        modules = list(tokenizer.decoder)
        self._kept: list[object] = []  # addresses do not keep what they point at
        levels, blocks, (height, width) = [], list[_BlockFields](), grid
        for module, follower in zip(modules[1:], [*modules[2:], None], strict=True):
            if isinstance(module, ResidualBlock):
                blocks.append(self._block(module))
            elif isinstance(module, nn.Conv2d):
                times = cast(nn.PixelShuffle, follower).upscale_factor
                fields = (_BlockFields * len(blocks))(*blocks)
                self._kept.append(fields)
                levels.append(_LevelFields(
                    height, width, module.in_channels, len(blocks), ctypes.addressof(fields),
                    self._packed(module, times), times,
                ))  # fmt: skip
                height, width, blocks = height * times, width * times, []
        self.channels = cast(nn.Conv2d, modules[-2]).out_channels // levels[-1].times ** 2
        self._levels = (_LevelFields * len(levels))(*levels)
        scale, shift = (
            x.float().contiguous() for x in (tokenizer.latent_std, tokenizer.latent_mean)
        )
        self._kept += [scale, shift]
        self._decoder = _DecoderFields(
            len(levels), ctypes.addressof(self._levels),
            self._packed(cast(nn.Conv2d, modules[0])), scale.data_ptr(), shift.data_ptr(),
        )  # fmt: skip
        self.size = height, width

    def __call__(self, latents: Tensor, spent: Tensor | None = None) -> Tensor:
        """Latents (b, tokens, channels) → frames (b, H, W, C), about in [0, 1]."""
        latents = latents.float().contiguous()
        shape = (len(latents), *self.size, self.channels)
        frames = torch.empty(shape, dtype=torch.float32)
        self.kernels.decode_frames(
            *batch(len(latents)), ctypes.byref(self._decoder), ctypes.c_int(self.channels),
            address(latents), address(frames), address(spent),
        )  # fmt: skip
        return frames

    def _block(self, block: ResidualBlock) -> _BlockFields:
        norm = [x.detach().float().contiguous() for x in (block.norm.weight, block.norm.bias)]
        self._kept.append(norm)
        return _BlockFields(
            self._packed(block.first), self._packed(block.second),
            *(x.data_ptr() for x in norm), block.norm.num_groups,
        )  # fmt: skip

    def _packed(self, convolution: nn.Conv2d, times: int = 1) -> WeightsFields:
        """Its outputs become `times` × `times` pixels, and are put into their order."""

        def ordered(x: Tensor) -> Tensor:  # (channels · times²) → (times² · channels)
            return x.detach().unflatten(0, (-1, times**2)).transpose(0, 1).flatten(0, 1)

        assert convolution.bias is not None
        weight = ordered(convolution.weight).permute(0, 2, 3, 1).flatten(1)  # deep: place, channel
        packed = Packed(weight, ordered(convolution.bias))
        self._kept.append(packed)
        return packed.fields


class _BlockFields(ctypes.Structure):
    """`Block` of `csrc/tiled_decoder.c`, as are the others."""

    _fields_ = [
        ("first", WeightsFields), ("second", WeightsFields),
        ("weight", ctypes.c_void_p), ("bias", ctypes.c_void_p), ("groups", ctypes.c_long),
    ]  # fmt: skip


class _LevelFields(ctypes.Structure):
    _fields_ = [
        ("height", ctypes.c_long), ("width", ctypes.c_long), ("channels", ctypes.c_long),
        ("blocks", ctypes.c_long), ("block", ctypes.c_void_p), ("leave", WeightsFields),
        ("times", ctypes.c_long),
    ]  # fmt: skip


class _DecoderFields(ctypes.Structure):
    _fields_ = [
        ("levels", ctypes.c_long), ("level", ctypes.c_void_p), ("enter", WeightsFields),
        ("scale", ctypes.c_void_p), ("shift", ctypes.c_void_p),
    ]  # fmt: skip


STRUCTURES = {"Block": _BlockFields, "Level": _LevelFields, "Decoder": _DecoderFields}
"""Name in C → the same here."""
