"""A judge of patches: a decoder that has to deceive it draws frames as sharp as real ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


class Adversary(nn.Module):
    """Tells decoded frames from real ones, patch by patch of 34×34 pixels.

    Three strided convolutions and a last one, all of spectral norm 1 [Miyato et al. 2018], trained
    by the hinge loss: of few weights, because it learns beside the decoder and is then thrown away.

    Args:
        channels: of a frame.
        width: channels of the first convolution; every later one has twice as many.
    """

    def __init__(self, channels: int, width: int = 48) -> None:
        super().__init__()
        widths = channels, width, 2 * width, 4 * width
        layers: list[nn.Module] = []
        for inner, outer in zip(widths, widths[1:], strict=False):
            layers += [spectral_norm(nn.Conv2d(inner, outer, 4, 2, 1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1)))

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (b, H, W, C) in [0, 1] → (b, 1, H/8, W/8), above 0 where they look real."""
        images = 2 * frames.movedim(-1, 1) - 1
        return self.layers(images.contiguous(memory_format=torch.channels_last)).float()

    def losses(self, decoded: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder pays for looking decoded, and what this pays for its mistakes.

        The first has no gradient here, the second none in the decoder, so that one backward pass
        over their sum trains both.
        """
        self.requires_grad_(False)
        deceived = -self(decoded).mean()
        self.requires_grad_(True)
        fake, true = self(decoded.detach()), self(real)
        return deceived, F.relu(1 + fake).mean() + F.relu(1 - true).mean()
