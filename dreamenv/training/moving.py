"""Pixels that change from frame to frame: what a tokenizer keeps of them, and their weight.

A ball of two pixels is nothing to the mean error of a frame and everything to the game. So the
error of pixels that change is told beside that of all, and small things that move are counted: a
region of changed pixels is lost if less than half of its change, in squares, is left when both
frames have gone through the tokenizer. A tokenizer that leaves the ball out leaves 0 of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.preprocessing import to_unit

CHANGE = 32
"""Grey levels by which a pixel changes that moves, in one of its channels."""
SMALL = 1 / 64
"""Share of a frame's pixels that a small region has at most."""
KEPT = 0.5
"""Share of its change below which a region is lost."""
MANY = 0.5
"""Share of lost regions from which on the tokenizer is said to lose what moves."""
PAIRS = 64


def moving_pixels(pairs: Tensor) -> Tensor:
    """Which pixels changed between the frames of pairs (2, b, H, W, C) uint8: (b, H, W) bool."""
    now, before = pairs.to(torch.int16)
    return (now - before).abs().amax(-1) >= CHANGE


def pixel_weights(pairs: Tensor, weight: float) -> Tensor:
    """Weights (b, H, W) of mean 1: a pixel that moves counts 1 + `weight` times as much."""
    weights = 1 + weight * moving_pixels(pairs).float()
    return weights / weights.mean()


def measure_moving(model: WorldModel, pairs: Tensor) -> dict[str, float]:
    """What a model's tokenizer keeps of moving pixels.

    Args:
        model: the world model.
        pairs: frames and those just before them, (2, b, H, W, C) uint8.

    Returns:
        `moving_psnr`, dB over the pixels that move; `moving_share` of all; `moving_regions`, how
        many are small, and `moving_lost`, the share of these that are lost. Without anything that
        moves only the share, without small regions no share of lost ones.
    """
    moving = moving_pixels(pairs)
    found = {"moving_share": float(moving.float().mean())}
    if not moving.any():
        return found
    real = to_unit(pairs)
    with torch.no_grad(), model.autocast():
        decoded = torch.stack([model.decode(model.tokenizer.encode(frames)) for frames in real])
    decoded = decoded.float()
    error = (decoded[0] - real[0])[moving].square().mean().clamp(min=1e-10)
    found["moving_psnr"] = float(-10 * torch.log10(error))
    change = (real[0] - real[1]).square().sum(-1)
    missing = (decoded[0] - decoded[1] - (real[0] - real[1])).square().sum(-1)
    lost = _lost_regions(*(x.cpu().numpy() for x in (moving, change, missing)))
    found["moving_regions"] = float(len(lost))
    if lost:
        found["moving_lost"] = float(np.mean(lost))
    return found


def _lost_regions(moving: np.ndarray, change: np.ndarray, missing: np.ndarray) -> list[bool]:
    """For each small region of pixels that touch, also at corners, whether it is lost."""
    lost: list[bool] = []
    for mask, there, gone in zip(moving, change, missing, strict=True):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        index = np.arange(1, count + 1)
        sizes, whole, part = (
            np.atleast_1d(ndimage.sum_labels(x, labels, index)) for x in (mask, there, gone)
        )
        small = sizes <= SMALL * mask.size
        lost += (1 - part / whole < KEPT)[small].tolist()
    return lost


def say_moving(measured: dict[str, float], psnr: float, frame_size: Sequence[int]) -> str:
    """A line on what a tokenizer keeps of what moves.

    Args:
        measured: by `measure_moving`.
        psnr: of all pixels, in dB.
        frame_size: height and width of the frames.
    """
    line = f"tokenizer: held-out frames are decoded to {psnr:.1f} dB"
    if "moving_psnr" not in measured:
        return f"{line}; nothing in them moves"
    share = measured["moving_share"]
    line += f", the {share:.1%} of pixels that move to {measured['moving_psnr']:.1f} dB"
    if "moving_lost" not in measured:
        return f"{line}; nothing small moves in them"
    lost, regions = measured["moving_lost"], int(measured["moving_regions"])
    if lost < MANY:
        return f"{line}; {lost:.0%} of {regions} small things that move are lost"
    height, width = (2 * side for side in frame_size)
    return (
        f"{line}; SMALL THINGS THAT MOVE ARE LOST, {lost:.0%} of {regions}: what agents play for "
        "may be missing from these dreams. Give pixels that move weight (--moving-pixels 100), "
        f"train the tokenizer for longer, or dream larger frames (--frame-size {height} {width})"
    )
