"""Dreaming on the CPU with everything between two matrix products in one compiled kernel."""

from __future__ import annotations

import ctypes
import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from dreamenv.world_model.network.dynamics import Dynamics
from dreamenv.world_model.network.heads import Outcome, OutcomeHead
from dreamenv.world_model.network.layers import DynamicsLayer
from dreamenv.world_model.network.tokenizer import Tokenizer
from dreamenv.world_model.runtime.cpu.build import address, batch, load_kernels
from dreamenv.world_model.runtime.cpu.declarations import declare, require_sizes
from dreamenv.world_model.runtime.cpu.decoder import KernelDecoder
from dreamenv.world_model.runtime.frame import FrameStepper
from dreamenv.world_model.runtime.frame_layers import LayerStepper, Product, versions
from dreamenv.world_model.runtime.protocol import Shared, View
from dreamenv.world_model.runtime.workspaces import Workspaces
from dreamenv.world_model.state import State


def kernels_for(dynamics: Dynamics, dtype: torch.dtype, tiles: bool = False) -> ctypes.CDLL | None:
    """Kernels for a model's sizes, with or without products on tiles; None where there are none."""
    config, position = dynamics.config, dynamics.position
    if (
        position.device.type != "cpu"
        or position.dtype != torch.float32
        or dtype not in (torch.float32, torch.bfloat16)
        or len(position) % 4  # kernels take four tokens and four rows of a state at a time
        or config.ssm_state_dim % 4
    ):
        return None
    first = cast(DynamicsLayer, dynamics.layers[0])
    kernels = load_kernels(
        TOKENS=len(position),
        WIDTH=config.width,
        HIDDEN=cast(nn.Linear, first.mlp[0]).out_features,
        HEAD_DIM=config.attention_head_dim,
        WINDOW=config.attention_window,
        SSM_HEADS=config.width * config.ssm_expand // config.ssm_head_dim,
        SSM_HEAD_DIM=config.ssm_head_dim,
        STATE_DIM=config.ssm_state_dim,
        TAPS=config.ssm_conv,
        LANES=math.gcd(len(position), config.attention_head_dim, 16),
        HALF=int(dtype == torch.bfloat16),
        LATENTS=dynamics.latent_channels,
        TILES=int(tiles),
    )
    if kernels is not None:
        declare(kernels, tiles)
    return kernels


class KernelStepper(FrameStepper):
    """`FrameStepper` in float32 on the CPU, by compiled kernels.

    Args:
        dynamics: one that `can_step`.
        tokenizer: its latents are decoded.
        dtype: of matrix products, float32 or bfloat16.
        kernels: compiled for its sizes.
    """

    def __init__(
        self, dynamics: Dynamics, tokenizer: Tokenizer, dtype: torch.dtype, kernels: ctypes.CDLL
    ) -> None:
        super().__init__(dynamics, tokenizer, dtype)
        require_sizes(kernels, {"Head": _HeadFields})
        self._decoder = KernelDecoder(tokenizer, dtype, kernels)
        self.kernels = kernels
        self._weights = [LayerWeights(layer) for layer in self.layers]
        self._workspaces = Workspaces(self._make_buffers)
        self._head: HeadWeights | None = None

    def gather(self, state: State) -> list[Any]:
        """Brings the memory into the layout that kernels take; of layers passes share no more."""
        for memory in state.layers:
            for name, tensor in memory.items():
                dtype = self.wide if name == "ssm" else self.dtype
                if tensor.dtype != dtype or not tensor.is_contiguous():
                    memory[name] = tensor.to(dtype).contiguous()
        # After real frames these are the last of several, and not in one piece.
        state.latents, state.level = (x.float().contiguous() for x in (state.latents, state.level))
        state.frames = state.frames.contiguous()
        return []

    def tokens(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor,
        keep: bool,
    ) -> Tensor:  # fmt: skip
        """As in the base class."""
        with self._workspaces.lent(len(noisy)) as buffers:
            return self._tokens(buffers, state, shared, noisy, view, actions, keep)

    def _tokens(
        self, buffers: dict[str, Tensor], state: State, shared: Shared, noisy: Tensor,
        view: View, actions: Tensor, keep: bool,
    ) -> Tensor:  # fmt: skip
        kernels = self.kernels
        x = self.enter(noisy, state, shared)
        looks = self.looks(view, actions)
        table, rows = self.modulations(view, actions)
        parts, width = table.shape[2:]
        slots = batch(len(noisy))
        which = address(rows), ctypes.c_long(len(self.layers) * parts * width)
        normed, product = buffers["normed"], buffers["product"]

        def modulation(layer: int, part: int) -> ctypes.c_void_p:
            offset = (layer * parts + part) * width * table.element_size()
            return ctypes.c_void_p(table.data_ptr() + offset)

        def norm(
            layer: int, part: int, bias: Tensor | None = None, order: Tensor | None = None,
            new_order: Tensor | None = None, added: Tensor | None = product,
        ) -> None:  # fmt: skip
            """Add the product of the part before, if there is one, and norm for this part."""
            before = (layer, 3 * part - 1) if part else (layer - 1, parts - 1)
            kernels.residual_norm(
                *slots, address(x), address(added), address(bias), address(order),
                modulation(*before), modulation(layer, 3 * part), modulation(layer, 3 * part + 1),
                *which, address(new_order), address(normed),
            )  # fmt: skip

        bias = None
        for i, (w, memory) in enumerate(zip(self._weights, state.layers, strict=True)):
            added = product if i else None
            if self.looks_before(i):
                if (
                    added is not None and bias is not None
                ):  # what is pending goes in before tokens look
                    gate = table[rows, i - 1, parts - 1].unsqueeze(1)
                    x.addcmul_(gate, (product.to(x.dtype) + bias).view_as(x))
                    added = None
                self.look(x, i, looks, shared)
            norm(i, 0, None if added is None else bias, new_order=w.order, added=added)
            torch.mm(normed, w.scan_in, out=buffers["projected"])
            kernels.scan(
                *slots, w.length, address(buffers["projected"]), address(memory["conv"]),
                address(memory["ssm"]), w.scan, ctypes.c_int(keep), address(buffers["scanned"]),
            )  # fmt: skip
            torch.mm(buffers["scanned"], w.scan_out, out=product)
            norm(i, 1, order=w.order)
            torch.mm(normed, w.qkv, out=buffers["qkv"])
            kernels.attend(
                *slots, address(buffers["qkv"]), address(memory["keys"]),
                address(memory["values"]), address(state.frames), w.attention,
                ctypes.c_int(keep), address(normed),
            )  # fmt: skip
            torch.mm(normed, w.attention_out, out=product)
            norm(i, 2)
            torch.mm(normed, w.up, out=buffers["hidden"])
            kernels.gelu(*slots, address(buffers["hidden"]), address(w.up_bias))
            torch.mm(buffers["hidden"], w.down, out=product)
            bias = w.down_bias
        tokens = torch.empty_like(x)
        kernels.residual_final(
            *slots, address(x), address(product), address(bias),
            modulation(len(self.layers) - 1, parts - 1), *which, address(tokens),
        )  # fmt: skip
        return tokens

    def outcome(self, head: OutcomeHead, features: Tensor) -> Outcome:
        """As in the base class, in float32."""
        if self._head is None or not self._head.is_of(head):
            self._head = HeadWeights(head)
        return self._head(self.kernels, features)

    def decode(self, latents: Tensor) -> Tensor:
        """As in the base class."""
        return self._decoder(latents, self.dynamics.grid)

    def _make_buffers(self, slots: int) -> dict[str, Tensor]:
        """Where products and kernels write."""
        rows, width = slots * len(self.dynamics.position), self.dynamics.position.shape[1]
        first = self._weights[0]
        sizes = {
            "normed": width, "product": width, "qkv": 3 * width,
            "projected": first.scan_in.shape[1], "scanned": first.scan_out.shape[0],
            "hidden": first.up.shape[1],
        }  # fmt: skip
        return {name: torch.empty(rows, size, dtype=self.dtype) for name, size in sizes.items()}


class LayerWeights:
    """The weights of a layer as kernels and products take them."""

    def __init__(self, layer: LayerStepper) -> None:
        scan, attention = layer.scan, layer.attention
        self.scan_in, self.scan_out = _turned(scan.project), _turned(scan.out)
        self.qkv, self.attention_out = _turned(attention.qkv), _turned(attention.out)
        self.up, self.down = _turned(layer.up), _turned(layer.down)
        self.up_bias, self.down_bias = (_wide_bias(x) for x in (layer.up, layer.down))
        self.length = ctypes.c_int(scan.length)
        self.order = None if scan.order is None else scan.back.to(torch.int32)
        self._kept = [  # addresses do not keep what they point at
            [x.float().contiguous() for x in parts]
            for parts in (
                (scan.taps, scan.conv_bias, scan.dt_bias, scan.decay, scan.skip),
                (attention.norm, attention.cos, attention.sin,
                 attention.own_cos, attention.own_sin),
            )
        ]  # fmt: skip
        self.scan, self.attention = (
            (ctypes.c_void_p * len(parts))(*(x.data_ptr() for x in parts)) for parts in self._kept
        )


class _HeadFields(ctypes.Structure):
    """`Head` of `csrc/outcome.c`."""

    _fields_ = [
        *((name, ctypes.c_void_p)
          for name in ("body", "body_bias", "logits", "logit_bias", "values")),
        ("count", ctypes.c_int64), ("exact", ctypes.c_int64),
    ]  # fmt: skip


class HeadWeights:
    """An `OutcomeHead` as `outcomes` takes it."""

    def __init__(self, head: OutcomeHead) -> None:
        self._of = head
        self._sources: list[Tensor] = [*head.parameters()]
        self._versions = versions(self._sources)
        body, last = cast(nn.Linear, head.body[0]), (head.reward, head.continuation)
        parts = (
            body.weight.t(), body.bias, torch.cat([x.weight for x in last]),
            torch.cat([x.bias for x in last]), head.values,
        )  # fmt: skip
        self._kept = [x.detach().float().contiguous() for x in parts]
        addresses = (x.data_ptr() for x in self._kept)
        self._fields = _HeadFields(*addresses, len(head.values), int(head.exact))

    def is_of(self, head: OutcomeHead) -> bool:
        """Whether these are the head's weights as they are now."""
        return head is self._of and self._versions == versions(self._sources)

    def __call__(self, kernels: ctypes.CDLL, features: Tensor) -> Outcome:
        """Outcome of frames from their features (b, width), float32, whose rows are contiguous."""
        count = self._fields.count
        told = torch.empty(len(features), count + 2, dtype=torch.float32)
        kernels.outcomes(
            *batch(len(features)), ctypes.byref(self._fields), address(features),
            ctypes.c_long(features.stride(0)), address(told),
        )  # fmt: skip
        return Outcome(told[:, count], told[:, :count], told[:, count + 1])


def _turned(product: Product) -> Tensor:
    """Weights as the right factor of a matrix product."""
    return product.weight.t()


def _wide_bias(product: Product) -> Tensor:
    assert product.bias is not None
    return product.bias.float()
