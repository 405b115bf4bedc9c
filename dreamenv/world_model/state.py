"""What the world model remembers between frames.

Tensors whose size never changes, except for the cache of full causal attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dreamenv.core.errors import CheckpointError, UnreadableFileError
from dreamenv.world_model.tensor_files import pack_tensors, unpack_tensors

LayerState = dict[str, Tensor]
"""Memory of one layer by name; the slot is every tensor's first dimension. Of a scan: `ssm`,
(slots, blocks, state dim, heads, head dim), float32 or wider, and `conv`, the last inputs of its
convolution, (slots, blocks, kernel − 1, channels). Of attention: `keys`, unrotated, and `values`
of the frames before, oldest first, (slots, frames, tokens, heads, head dim)."""

MOST_FRAMES = 2**40
"""No dream has gone on for as long: counters stay far from where they would overflow."""
GROWING = ("keys", "values")
"""Where full attention adds a frame per frame; everything else keeps its size."""
ACTIONS = "actions"
"""What some memories keep besides floats: the actions that led to their frames."""


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
    grows: bool = False
    """Whether a frame adds to the size: so the cache of full causal attention does."""
    landmarks: LayerState = field(default_factory=dict)
    """The landmark memory, of models that have one (`network/landmarks.py`)."""

    def _map(self, change: Callable[[Tensor], Tensor]) -> State:
        # In the order of `named_tensors`.
        layers = [{name: change(layer[name]) for name in sorted(layer)} for layer in self.layers]
        landmarks = {name: change(self.landmarks[name]) for name in sorted(self.landmarks)}
        rest = change(self.latents), change(self.level), change(self.frames)
        return State(layers, *rest, self.grows, landmarks)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of every part, in a fixed order."""
        for i, layer in enumerate(self.layers):
            for name in sorted(layer):
                yield f"layers.{i}.{name}", layer[name]
        for name in sorted(self.landmarks):
            yield f"landmarks.{name}", self.landmarks[name]
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

    @staticmethod
    def join(states: Sequence[State]) -> State:
        """The slots of several memories of one model, one after another."""
        parts = [iter([tensor for _, tensor in state.named_tensors()]) for state in states]
        frames = max(int(state.frames.max()) for state in states) if states[0].grows else 0

        def together(_: Tensor) -> Tensor:
            tensors = [next(part) for part in parts]
            if len({tensor.shape[1:2] for tensor in tensors}) > 1:  # caches that have grown
                tensors = _last_frames(frames, *tensors)
            return torch.cat(tensors)

        return states[0]._map(together)

    def merge(self, mask: Tensor, other: State) -> State:
        """This state where `mask` (slots,) is False, `other` where it is True."""
        frames = torch.where(mask, other.frames, self.frames)
        others = iter([tensor for _, tensor in other.named_tensors()])

        def choose(tensor: Tensor) -> Tensor:
            replacement = next(others).to(tensor.dtype)
            if self.grows and tensor.shape[1:2] != replacement.shape[1:2]:
                tensor, replacement = _last_frames(int(frames.max()), tensor, replacement)
            where = mask.view(-1, *[1] * (tensor.ndim - 1))
            return torch.where(where, replacement, tensor)

        return self._map(choose)

    def put(self, slots: list[int], other: State) -> State:
        """This state with `slots` replaced by those of `other`, in the same order.

        Where sizes are fixed it is overwritten in place, at the cost of the replaced slots only.
        """
        index = torch.tensor(slots, device=self.frames.device)
        if self.grows:
            spread = torch.zeros(self.slots, dtype=torch.int64, device=index.device)
            spread[index] = torch.arange(len(slots), device=index.device)
            mask = torch.zeros(self.slots, dtype=torch.bool, device=index.device)
            mask[index] = True
            return self.merge(mask, other.select(spread))
        for (_, tensor), (_, replacement) in zip(
            self.named_tensors(), other.named_tensors(), strict=True
        ):
            tensor[index] = replacement.to(tensor.dtype)
        return self

    def clone(self) -> State:
        """A copy that shares no memory."""
        return self._map(torch.clone)

    def compact(self) -> State:
        """The same memory, in tensors that keep no larger ones alive as parts of them."""

        def own(tensor: Tensor) -> Tensor:
            return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor

        return self._map(own)

    def packed(self) -> State:
        """A copy in a single block of memory, to be kept for long.

        Many small blocks, allocated while something large was at work, would leave holes where
        that was.
        """
        # Wider numbers first, so that each part begins at a multiple of its own numbers' size.
        tensors = sorted((x for _, x in self.named_tensors()), key=lambda x: -x.itemsize)
        block = torch.empty(self.nbytes, dtype=torch.uint8, device=self.frames.device)
        parts = block.split([tensor.nbytes for tensor in tensors])
        copies = {
            id(tensor): part.view(tensor.dtype).view(tensor.shape).copy_(tensor)
            for tensor, part in zip(tensors, parts, strict=True)
        }
        return self._map(lambda tensor: copies[id(tensor)])

    def detach(self) -> State:
        """The same values without their history, for truncated back-propagation."""
        return self._map(torch.detach)

    def to(self, device: torch.device | str) -> State:
        """The state on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def to_bytes(self) -> bytes:
        """The state as a safetensors file."""
        return pack_tensors(dict(self.named_tensors()), {})

    def from_bytes(self, data: bytes) -> State:
        """A state written by `to_bytes`; this state gives the expected layout.

        Raises:
            CheckpointError: the bytes are damaged, or another architecture wrote them.
        """
        try:
            tensors, _ = unpack_tensors(data)
        except UnreadableFileError as error:
            raise CheckpointError(f"this is no saved dream state: {error}") from error
        expected = dict(self.named_tensors())
        if tensors.keys() != expected.keys():
            raise CheckpointError("the state was saved by a world model of another architecture")
        if len({tensor.shape[:1] for tensor in tensors.values()}) > 1:
            raise CheckpointError("the parts of this state disagree about the number of slots")
        read = iter([tensors[name].to(tensor) for name, tensor in expected.items()])
        state = self._map(lambda _: next(read))
        problem = self.misfit(state)
        if problem:
            raise CheckpointError(
                f"the state was saved by a world model of another architecture: {problem}"
            )
        return state

    def misfit(self, other: State) -> str:
        """Why another state, of any number of slots, is no memory of this one's model, else ""."""
        if not isinstance(other, State) or other.grows is not self.grows:
            return "its memory is of another kind than this model's"
        if len(other.layers) != len(self.layers):
            return f"its memory has {len(other.layers)} layers, the model {len(self.layers)}"
        wanted, found = dict(self.named_tensors()), dict(other.named_tensors())
        if found.keys() != wanted.keys():
            name = sorted(found.keys() ^ wanted.keys())[0]
            return f"its memory lacks or has too much of {name!r}"
        counts = found.pop("frames")
        if not torch.is_tensor(counts) or counts.dtype != torch.int64 or counts.ndim != 1:
            return "its frames are not counted in integers, slot by slot"
        if not bool(((counts >= 0) & (counts < MOST_FRAMES)).all()):
            return f"its memory counts frames, not {counts.tolist()}"
        for name, tensor in found.items():
            shape = [len(counts), *wanted[name].shape[1:]]
            if self._fixed_from(name) == 2 and torch.is_tensor(tensor) and tensor.ndim > 1:
                # As long as the longest of the slots that it was taken with.
                shape[1] = max([*counts.tolist(), tensor.shape[1]])
            if name.endswith(ACTIONS):
                if not _of_actions(tensor, wanted[name], tuple(shape)):
                    return f"{name} must be actions, or none, of the shape {tuple(shape)}"
            elif not of_floats(tensor, tuple(shape)):
                return f"{name} must be finite floats of the shape {tuple(shape)}"
        ages = other.landmarks.get("age")
        if ages is not None and not bool((ages >= 0).all()):
            return "landmarks are of an age of 0 frames or more"
        if not bool(((other.level >= 0) & (other.level <= 1)).all()):
            return f"signal levels are from 0 to 1, not {other.level.tolist()}"
        return ""

    def _fixed_from(self, name: str) -> int:
        """First dimension whose size the architecture fixes."""
        return 2 if self.grows and name.endswith(GROWING) else 1


def _last_frames(count: int, *caches: Tensor) -> list[Tensor]:
    """Caches (slots, frames, …) as their last `count` frames; zeros stand before shorter ones."""
    sized = []
    for cache in caches:
        padding = [0, 0] * (cache.ndim - 2) + [max(0, count - cache.shape[1]), 0]
        sized.append(torch.nn.functional.pad(cache, padding)[:, max(0, cache.shape[1] - count) :])
    return sized


def _of_actions(tensor: object, like: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether something is a tensor of actions; −1 or NaN stands where none led to a frame."""
    if not isinstance(tensor, Tensor) or tensor.dtype != like.dtype:
        return False
    if tensor.is_floating_point():
        return of_floats(tensor.nan_to_num(), shape) and not bool(tensor.isinf().any())
    return of_floats(tensor.float(), shape) and bool((tensor >= -1).all())


def of_floats(tensor: object, shape: tuple[int, ...]) -> bool:
    """Whether something is a tensor of finite floats of a shape, with storage of its own."""
    return (
        isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and not tensor.is_meta
        and tensor.is_floating_point()
        and tuple(tensor.shape) == shape
        and bool(tensor.isfinite().all())
    )
