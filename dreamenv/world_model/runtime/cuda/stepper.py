"""Dreaming on CUDA with everything between two matrix products in one Triton kernel."""

from __future__ import annotations

import importlib
import logging
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from dreamenv.core.settings import kernels_wanted
from dreamenv.world_model.network.dynamics import Dynamics
from dreamenv.world_model.network.layers import DynamicsLayer
from dreamenv.world_model.network.tokenizer import Tokenizer
from dreamenv.world_model.runtime.frame import FrameStepper
from dreamenv.world_model.runtime.frame_layers import LayerStepper
from dreamenv.world_model.runtime.protocol import Shared, View
from dreamenv.world_model.state import State

SCAN_PART = 32
"""Most columns of a head's state in one program: enough programs for a dream of one slot."""
CONVOLUTION_PART = 128
"""Channels in one program."""

logger = logging.getLogger(__name__)


def load_triton() -> Any:
    """The module of kernels, or None where Triton does not import or `DREAMENV_KERNELS=0`."""
    if not kernels_wanted():
        return None
    try:
        return importlib.import_module("dreamenv.world_model.runtime.cuda.triton_kernels")
    except Exception as error:  # Triton may find a driver, a compiler or a GPU not to its liking
        logger.info("dreams run without Triton's kernels: %s: %s", type(error).__name__, error)
        return None


class TritonStepper(FrameStepper):
    """`FrameStepper` in float32 with Triton's kernels.

    Args:
        dynamics: one that `can_step`, in float32.
        tokenizer: its latents are decoded.
        dtype: of matrix products.
        kernels: the module `triton_kernels`.
    """

    def __init__(
        self, dynamics: Dynamics, tokenizer: Tokenizer, dtype: torch.dtype, kernels: ModuleType
    ) -> None:
        super().__init__(dynamics, tokenizer, dtype)
        self.kernels: Any = kernels
        config, (count, width) = dynamics.config, dynamics.position.shape
        first = cast(DynamicsLayer, dynamics.layers[0])
        assert first.scan is not None
        heads, size = first.scan.heads, first.scan.head_dim
        self._order = torch.arange(count, dtype=torch.int32, device=dynamics.position.device)
        self._weights = [_LayerWeights(layer, self._order) for layer in self.layers]
        self._no_bias = torch.zeros(width, dtype=torch.float32, device=dynamics.position.device)
        part = min(SCAN_PART, _power_of_two(size))
        self._parts = heads * -(-size // part)
        self._scan_sizes = {
            "HEADS": heads, "HEAD_DIM": size, "STATE_DIM": config.ssm_state_dim,
            "BLOCK_N": _power_of_two(config.ssm_state_dim), "BLOCK_P": part,
        }  # fmt: skip
        self._convolution_sizes = {
            "CHANNELS": first.scan.channels, "WIDTH": first.scan.project.weight.shape[0],
            "FIRST": first.scan.inner, "TAPS": config.ssm_conv, "BLOCK_C": CONVOLUTION_PART,
        }  # fmt: skip
        self._norm_sizes = {
            "TOKENS": count, "WIDTH": width, "INNER": heads * size,
            "BLOCK_D": _power_of_two(width), "BLOCK_PARTS": _power_of_two(self._parts),
        }  # fmt: skip
        dim = config.attention_head_dim
        self._attention_sizes = {  # products of a tile want sixteen rows and columns
            "TOKENS": count, "HEADS": width // dim, "HEAD_DIM": dim,
            "WINDOW": config.attention_window, "BLOCK_T": max(16, _power_of_two(count)),
            "BLOCK_D": max(16, _power_of_two(dim)),
        }  # fmt: skip

    def gather(self, state: State) -> list[Any]:
        """Brings the memory into the layout that kernels take; of layers passes share no more."""
        for memory in state.layers:
            for name, tensor in memory.items():
                dtype = self.wide if name == "ssm" else self.dtype
                memory[name] = tensor.to(dtype).contiguous()
        return []

    def tokens(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor,
        keep: bool,
    ) -> Tensor:  # fmt: skip
        """As in the base class."""
        with torch.cuda.device_of(noisy):  # Triton launches on the current device
            return self._tokens(state, shared, noisy, view, actions, keep)

    def _tokens(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor, keep: bool
    ) -> Tensor:
        x = self.enter(noisy, state, shared).contiguous()
        looks = self.looks(view, actions)
        slots, count, width = x.shape
        table, which = self.modulations(view, actions)
        parts, heads = table.shape[2], self._attention_sizes["HEADS"]
        rows = slots * count
        channels = self._convolution_sizes["CHANNELS"]
        normed, convolved, scanned, squares = (
            x.new_empty(rows, size, dtype=dtype)
            for size, dtype in (
                (width, self.dtype),
                (channels, self.wide),
                (self._norm_sizes["INNER"], self.dtype),
                (self._parts, self.wide),
            )
        )

        def norm(
            layer: int, part: int, product: Tensor | None = None, bias: Tensor | None = None,
            order: Tensor = self._order, new_order: Tensor = self._order,
        ) -> None:  # fmt: skip
            """Add the product of the part before, if there is one, and norm for this part."""
            here, last = layer * parts + 3 * part, layer == len(self.layers)
            self.kernels.residual_norm[(rows,)](
                x, x if product is None else product, squares,
                self._no_bias if bias is None else bias, order, table, which, new_order,
                tokens if last else normed,
                (here - 1) * width, here * width, (here + 1) * width,
                len(self.layers) * parts * width,
                PARTS=self._parts if part == 1 else 0, ADDS=product is not None,
                MODULATES=not last, **self._norm_sizes,
            )  # fmt: skip

        tokens, product, bias = torch.empty_like(x), None, None
        for i, (w, memory) in enumerate(zip(self._weights, state.layers, strict=True)):
            if self.looks_before(i):
                if product is not None:  # what is pending goes in before tokens look
                    assert bias is not None
                    gate = table[which, i - 1, parts - 1].unsqueeze(1)
                    x.addcmul_(gate, (product.to(x.dtype) + bias).view_as(x))
                    product = bias = None
                self.look(x, i, looks, shared)
            norm(i, 0, product, bias, new_order=w.order)
            projected, sequences = w.scan_in(normed), rows // w.length
            self.kernels.convolve[(sequences, -(-channels // CONVOLUTION_PART))](
                projected, memory["conv"], *w.convolution, convolved,
                LENGTH=w.length, KEEP=keep, **self._convolution_sizes,
            )  # fmt: skip
            self.kernels.scan[(sequences, self._parts)](
                projected, convolved, memory["ssm"], *w.scan, scanned, squares,
                LENGTH=w.length, KEEP=keep, **self._scan_sizes,
            )  # fmt: skip
            product = w.scan_out(scanned)
            norm(i, 1, product, order=w.order)
            self.kernels.attend[(slots, heads)](
                w.qkv(normed), memory["keys"], memory["values"], state.frames, *w.attention,
                normed, KEEP=keep, **self._attention_sizes,
            )  # fmt: skip
            norm(i, 2, w.attention_out(normed))
            hidden = F.gelu(w.up(normed), approximate="tanh")
            product, bias = F.linear(hidden, w.down.weight), w.down_bias
        norm(len(self.layers), 0, product, bias)
        return tokens


class _LayerWeights:
    """The weights of a layer as kernels and products take them."""

    def __init__(self, layer: LayerStepper, in_order: Tensor) -> None:
        scan, attention = layer.scan, layer.attention
        self.length = scan.length
        self.scan_in, self.scan_out = scan.project, scan.out
        self.qkv, self.attention_out = attention.qkv, attention.out
        self.up, self.down = layer.up, layer.down
        assert self.down.bias is not None
        self.down_bias = self.down.bias.float()
        self.order = in_order if scan.order is None else scan.back.to(torch.int32)
        self.convolution, self.scan, self.attention = (
            [x.detach().float().contiguous() for x in parts]
            for parts in (
                (scan.taps, scan.conv_bias),
                (scan.dt_bias, scan.decay, scan.skip),
                (attention.norm, attention.cos, attention.sin,
                 attention.own_cos, attention.own_sin),
            )
        )  # fmt: skip


def _power_of_two(size: int) -> int:
    """The least power of two that is not smaller."""
    return 1 << (size - 1).bit_length()
