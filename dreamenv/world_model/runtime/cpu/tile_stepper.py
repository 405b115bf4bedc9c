"""Dreaming on CPUs that multiply tiles of bfloat16 (AMX): a pass over a frame is one call."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dreamenv.world_model.network.dynamics import Dynamics
from dreamenv.world_model.network.tokenizer import Tokenizer
from dreamenv.world_model.runtime.cpu import tile_decoder
from dreamenv.world_model.runtime.cpu.build import address, batch
from dreamenv.world_model.runtime.cpu.declarations import require_sizes
from dreamenv.world_model.runtime.cpu.packed_weights import Packed, WeightsFields
from dreamenv.world_model.runtime.cpu.stepper import KernelStepper, LayerWeights
from dreamenv.world_model.runtime.cpu.tile_decoder import TileDecoder, decodes_by_tiles
from dreamenv.world_model.runtime.frame_layers import LayerStepper
from dreamenv.world_model.runtime.protocol import Shared, View
from dreamenv.world_model.state import State

PARTS = ("products", "norms", "scan", "attention", "convolutions", "images")
"""What a step is made of, in the order of `csrc/parts.h`."""


def fits_tiles(dynamics: Dynamics) -> bool:
    """Whether the depths of all products come in whole tiles."""
    config = dynamics.config
    depths = (
        config.width, config.width * config.ssm_expand, round(config.mlp_ratio * config.width),
        2 * dynamics.latent_channels,
    )  # fmt: skip
    return config.patch == 1 and all(depth % 32 == 0 for depth in depths)


class _LayerFields(ctypes.Structure):
    """`Layer` of `csrc/tiled_pass.c`, as are the others."""

    _fields_ = [
        *((name, WeightsFields)
          for name in ("scan_in", "scan_out", "qkv", "attention_out", "up", "down")),
        ("order", ctypes.c_void_p), ("length", ctypes.c_long),
        ("scan", 5 * ctypes.c_void_p), ("attention", 5 * ctypes.c_void_p),
    ]  # fmt: skip


class _NetworkFields(ctypes.Structure):
    _fields_ = [
        ("layers", ctypes.c_long), ("layer", ctypes.c_void_p),
        ("enter", WeightsFields), ("leave", WeightsFields),
        ("position", ctypes.c_void_p), ("pool", ctypes.c_void_p),
    ]  # fmt: skip


class _FrameFields(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_void_p)
        for name in ("memories", "previous", "previous_level", "frames", "table", "rows",
                     "latents", "pooled", "spent")
    ]  # fmt: skip


class _DenoisingFields(ctypes.Structure):
    _fields_ = [(name, ctypes.c_float) for name in ("level", "pull", "change")]


STRUCTURES = {
    "Weights": WeightsFields,
    "Layer": _LayerFields,
    "Network": _NetworkFields,
    "Frame": _FrameFields,
    "Denoising": _DenoisingFields,
}
"""Name in C → the same here."""


class TileStepper(KernelStepper):
    """`FrameStepper` whose passes are single calls of compiled code, products and all.

    Attributes:
        spent: set it to zeros (len(PARTS),), float64, and CPU seconds are added up there.
    """

    def __init__(
        self, dynamics: Dynamics, tokenizer: Tokenizer, dtype: torch.dtype, kernels: ctypes.CDLL
    ) -> None:
        super().__init__(dynamics, tokenizer, dtype, kernels)
        require_sizes(kernels, STRUCTURES | tile_decoder.STRUCTURES)
        count = len(self.layers)
        self._position = dynamics.position.detach().float().contiguous()
        self._pool = torch.cat([x.flatten(1) for x in _pools(dynamics)]).contiguous()
        self._enter, self._leave = (Packed(x.weight, x.bias) for x in (self.project, self.output))
        self._packed = [
            _Layer(layer, w) for layer, w in zip(self.layers, self._weights, strict=True)
        ]
        self._layers = (_LayerFields * count)(*(layer.fields for layer in self._packed))
        self._network = _NetworkFields(
            count, ctypes.addressof(self._layers), self._enter.fields, self._leave.fields,
            self._position.data_ptr(), self._pool.data_ptr(),
        )  # fmt: skip
        self._change = float(dynamics.change)
        self._frames = None
        if decodes_by_tiles(tokenizer):
            self._frames = TileDecoder(tokenizer, dynamics.grid, kernels)
        self.spent: Tensor | None = None

    def gather(self, state: State) -> list[Any]:
        """As in the base class; what passes share is where the memory is."""
        super().gather(state)
        parts = [x[name] for x in state.layers for name in ("conv", "ssm", "keys", "values")]
        return [(ctypes.c_void_p * len(parts))(*(x.data_ptr() for x in parts))]

    def denoise(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor,
        pull: float,
    ) -> Tensor:  # fmt: skip
        """As in the base class."""
        latents = noisy.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        how = _DenoisingFields(view.level, pull, self._change)
        self._pass(state, shared, latents, view, actions, None, how)
        return latents

    def keep(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As in the base class."""
        shape = (len(noisy), len(self._pool), self._position.shape[1])
        pooled = torch.empty(shape, dtype=torch.float32)
        latents = noisy.float().contiguous()
        self._pass(state, shared, latents, view, actions, pooled, _DenoisingFields())
        return pooled[:, 0], pooled[:, 1:].flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """As in the base class."""
        if self._frames is None:
            return super().decode(latents)
        return self._frames(latents, self.spent)

    def _pass(
        self, state: State, shared: Shared, latents: Tensor, view: View, actions: Tensor,
        pooled: Tensor | None, how: _DenoisingFields,
    ) -> None:  # fmt: skip
        table, rows = self.modulations(view, actions)
        given = (
            state.latents, state.level, state.frames, table, rows, latents, pooled, self.spent
        )  # fmt: skip
        frame = _FrameFields(ctypes.addressof(shared.parts[0]), *map(address, given))
        self.kernels.pass_frame(
            *batch(len(latents)), *map(ctypes.byref, (self._network, frame, how))
        )


class _Layer:
    """The products of a layer as tiles take them, beside its other weights."""

    def __init__(self, layer: LayerStepper, weights: LayerWeights) -> None:
        scan, attention = layer.scan, layer.attention
        products = (scan.project, scan.out, attention.qkv, attention.out, layer.up, layer.down)
        self.products = [Packed(x.weight, x.bias) for x in products]
        self.order = None if scan.order is None else scan.order.to(torch.int32)
        self.fields = _LayerFields(
            *(packed.fields for packed in self.products), address(self.order), scan.length,
            weights.scan, weights.attention,
        )  # fmt: skip


def _pools(dynamics: Dynamics) -> Iterator[Tensor]:
    """Shares (…, tokens) of every token in what `FrameStepper.keep` returns."""
    tokens, device = len(dynamics.position), dynamics.position.device
    yield torch.full((1, tokens), 1 / tokens, dtype=torch.float32)
    units = torch.eye(tokens, dtype=torch.float32, device=device)[None, None]
    yield dynamics._regions(units).view(4, tokens)
