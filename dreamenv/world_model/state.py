"""What the world model remembers between frames: tensors whose size never changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamenv.errors import CheckpointError


@dataclass
class LayerState:
    """Memory of one layer; the slot is every tensor's first dimension."""

    ssm: Tensor
    """SSM state of every block, (slots, blocks, heads, head dim, state dim), float32 or wider."""
    conv: Tensor
    """The last inputs of the causal convolution, (slots, blocks, kernel − 1, channels)."""
    keys: Tensor
    """Unrotated keys of the last k frames, oldest first, (slots, k, tokens, heads, head dim)."""
    values: Tensor
    """Values of the last k frames, like `keys`."""


@dataclass
class State:
    """Memory of the whole model for a batch of slots."""

    layers: list[LayerState]
    latents: Tensor
    """The last frame as committed, (slots, tokens, channels)."""
    level: Tensor
    """Signal level of `latents`: 1 clean … 0 unknown, as before the first frame; (slots,)."""
    frames: Tensor
    """Number of frames committed so far, (slots,), int64."""

    def _map(self, change: Callable[[Tensor], Tensor]) -> State:
        layers = [
            LayerState(change(s.ssm), change(s.conv), change(s.keys), change(s.values))
            for s in self.layers
        ]
        return State(layers, change(self.latents), change(self.level), change(self.frames))

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of every part, in a fixed order."""
        for i, layer in enumerate(self.layers):
            for name in ("ssm", "conv", "keys", "values"):
                yield f"layers.{i}.{name}", getattr(layer, name)
        yield "latents", self.latents
        yield "level", self.level
        yield "frames", self.frames

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.frames)

    @property
    def nbytes(self) -> int:
        """Bytes held, all slots together."""
        return sum(tensor.nbytes for _, tensor in self.named_tensors())

    def select(self, index: Tensor | slice | list[int]) -> State:
        """The slots `index`, in that order; an index may repeat (a fork)."""
        return self._map(lambda tensor: tensor[index])

    def merge(self, mask: Tensor, other: State) -> State:
        """This state where `mask` (slots,) is False, `other` where it is True."""
        others = iter([tensor for _, tensor in other.named_tensors()])

        def choose(tensor: Tensor) -> Tensor:
            where = mask.view(-1, *[1] * (tensor.ndim - 1))
            return torch.where(where, next(others).to(tensor.dtype), tensor)

        return self._map(choose)

    def clone(self) -> State:
        """A copy that shares no memory."""
        return self._map(torch.clone)

    def to(self, device: torch.device | str) -> State:
        """The state on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def to_bytes(self) -> bytes:
        """The state as a safetensors file."""
        from safetensors.torch import save

        return save({name: tensor.contiguous() for name, tensor in self.named_tensors()})

    def from_bytes(self, data: bytes) -> State:
        """A state written by `to_bytes`; this state gives the expected layout.

        Raises:
            CheckpointError: the bytes are damaged, or another architecture wrote them.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            tensors = load(data)
        except SafetensorError as error:
            raise CheckpointError(f"this is no saved dream state: {error}") from error
        expected = dict(self.named_tensors())
        if set(tensors) != set(expected) or any(
            tensors[name].shape[1:] != tensor.shape[1:] for name, tensor in expected.items()
        ):
            raise CheckpointError("the state was saved by a world model of another architecture")
        if len({tensor.shape[:1] for tensor in tensors.values()}) > 1:
            raise CheckpointError("the parts of this state disagree about the number of slots")
        loaded = iter([tensors[name].to(tensor) for name, tensor in expected.items()])
        return self._map(lambda _: next(loaded))
