"""Looks at landmarks for one frame of tokens, in place."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from dreamenv.world_model.network.attention import rotate
from dreamenv.world_model.network.landmarks import LandmarkMemory, LandmarkReader, Sighting
from dreamenv.world_model.runtime.frame_layers import Product, rms_factor


class LandmarkStepper:
    """`LandmarkMemory` for one frame (b, n, d), with its weights cast once.

    Args:
        landmarks: the memory.
        dtype: of matrix products.
        wide: of everything else.
    """

    def __init__(self, landmarks: LandmarkMemory, dtype: torch.dtype, wide: torch.dtype) -> None:
        self.landmarks, self.dtype, self.wide = landmarks, dtype, wide
        self.layers = landmarks.config.layers
        readers = cast(list[LandmarkReader], landmarks.readers)
        self._readers = [_Reader(reader, dtype, wide) for reader in readers]

    def sighting(self, sighting: Sighting) -> Sighting:
        """The same in the dtype that looks are taken in."""
        keys = [x.to(self.wide) for x in sighting.keys]
        values = [x.to(self.wide) for x in sighting.values]
        rest = sighting.moved.to(self.wide), sighting.mask.to(self.wide), sighting.turned
        return Sighting(keys, values, *rest)

    def modulation(self, condition: Tensor) -> Tensor:
        """Scales (one added), shifts and gates of all looks, (rows, looks, 3, d)."""
        readers = cast(list[LandmarkReader], self.landmarks.readers)
        joined = torch.stack([reader.modulation(condition) for reader in readers], 1)
        joined = joined.to(self.wide).unflatten(-1, (3, -1))
        joined[:, :, 0] += 1
        return joined

    def look(self, x: Tensor, layer: int, modulation: Tensor, sighting: Sighting) -> None:
        """Add to tokens x (b, n, d) what they find before a layer that looks.

        `modulation` is (b, looks, 3, d).
        """
        number = self.layers.index(layer)
        scale, shift, gate = modulation[:, number].unsqueeze(2).unbind(1)
        normed = torch.addcmul(shift, x * rms_factor(x), scale)
        keys, values = sighting.keys[number][:, 0], sighting.values[number][:, 0]
        reader = self._readers[number]
        found = reader(normed, keys, values, sighting.mask[:, 0], sighting.turned)
        x.addcmul_(gate, found)


class _Reader:
    def __init__(self, reader: LandmarkReader, dtype: torch.dtype, wide: torch.dtype) -> None:
        self.query, self.out = Product(reader.query, dtype), Product(reader.out, dtype)
        self.head_dim = reader.head_dim
        self.norm = reader.query_norm.weight.detach().to(wide)
        self.common = reader.common[0].detach().to(wide)
        self.wide = wide

    def __call__(
        self, normed: Tensor, keys: Tensor, values: Tensor, mask: Tensor, turned: Tensor
    ) -> Tensor:
        """Tokens (b, n, d) to keys and values (b, heads, places, head dim)."""
        query = self.query(normed).to(self.wide).unflatten(-1, (-1, self.head_dim))
        query = torch.addcmul(self.common, query * rms_factor(query), self.norm)
        query = rotate(query * self.head_dim**-0.5, turned[:, None]).transpose(1, 2)
        weights = (query @ keys.transpose(2, 3)).add_(mask).softmax(-1)
        return self.out((weights @ values).transpose(1, 2).flatten(2))
