"""The tokenizer: an autoencoder of single frames, 16×16 pixels to a token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamenv.world_model.config import TokenizerConfig, grid_of


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(min(8, width), width)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(b, width, h, w) → same."""
        return x + self.second(F.silu(self.norm(self.first(F.silu(x)))))


class Tokenizer(nn.Module):
    """Frames to latents and back. Latents are standardised per channel once trained."""

    latent_mean: Tensor
    """Mean and standard deviation of every channel over the training data."""
    latent_std: Tensor

    def __init__(self, config: TokenizerConfig, frame_channels: int) -> None:
        super().__init__()
        self.config = config
        fine, middle, coarse = config.widths
        blocks = [[ResidualBlock(w) for _ in range(2 * n)]
                  for w, n in zip(config.widths, config.blocks, strict=True)]  # fmt: skip
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(16 * frame_channels, fine, 3, padding=1),
            *blocks[0][: config.blocks[0]],
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * fine, middle, 1),
            *blocks[1][: config.blocks[1]],
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * middle, coarse, 1),
            *blocks[2][: config.blocks[2]],
            nn.Conv2d(coarse, config.latent_channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.latent_channels, coarse, 1),
            *blocks[2][config.blocks[2] :],
            nn.Conv2d(coarse, 4 * middle, 1),
            nn.PixelShuffle(2),
            *blocks[1][config.blocks[1] :],
            nn.Conv2d(middle, 4 * fine, 1),
            nn.PixelShuffle(2),
            *blocks[0][config.blocks[0] :],
            nn.Conv2d(fine, 16 * frame_channels, 3, padding=1),
            nn.PixelShuffle(4),
        )
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, frames: Tensor) -> Tensor:
        """Frames (…, H, W, C) in [0, 1] → standardised latents (…, tokens, channels)."""
        return (self.encode_raw(frames) - self.latent_mean) / self.latent_std

    def decode(self, latents: Tensor, grid: tuple[int, int]) -> Tensor:
        """Latents (…, tokens, channels) → whole tokens (…, 16·rows, 16·columns, C), in [0, 1]."""
        return self._decode(latents * self.latent_std + self.latent_mean, grid)

    def encode_raw(self, frames: Tensor) -> Tensor:
        """Latents before standardisation: unit root mean square over a token's channels."""
        images = _covered(frames.flatten(0, -4).movedim(-1, 1))
        images = images.to(memory_format=torch.channels_last)
        latents = self.encoder(2 * images - 1).flatten(2).transpose(1, 2)
        latents = F.rms_norm(latents.to(frames.dtype), latents.shape[-1:])
        return latents.unflatten(0, frames.shape[:-3])

    def _decode(self, latents: Tensor, grid: tuple[int, int]) -> Tensor:
        images = latents.flatten(0, -3).transpose(1, 2).unflatten(2, grid)
        frames = self.decoder(images.contiguous(memory_format=torch.channels_last))
        frames = (frames.to(latents.dtype) + 1) / 2
        return frames.movedim(1, -1).unflatten(0, latents.shape[:-2])

    def loss(
        self,
        frames: Tensor,
        generator: torch.Generator | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """`reconstruction_error` of frames (b, H, W, C) in [0, 1] from slightly noisy latents."""
        latents = self.encode_raw(frames)
        noise = torch.randn(latents.shape, generator=generator).to(latents)  # drawn on the CPU
        height, width = frames.shape[-3:-1]
        decoded = self._decode(latents + self.config.latent_noise * noise, grid_of((height, width)))
        return reconstruction_error(decoded[..., :height, :width, :], frames, weights)


def reconstruction_error(decoded: Tensor, frames: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean absolute plus squared error of frames (b, H, W, C).

    The first keeps small objects, the second the layout. Pixels count by `weights` (b, H, W) of
    mean 1, if given.
    """
    error = decoded - frames
    if weights is None:
        return error.abs().mean() + 10 * error.square().mean()
    each = error.abs().mean(-1) + 10 * error.square().mean(-1)
    return (each * weights).mean()


def _covered(images: Tensor) -> Tensor:
    """Images (b, c, h, w), their last row and column repeated until whole tokens cover them."""
    bottom, right = -images.shape[-2] % 16, -images.shape[-1] % 16
    if not (bottom or right):
        return images
    return F.pad(images, (0, right, 0, bottom), mode="replicate")
