"""Planar poses: x, y and a heading in radians, (…, 3); and motions, poses seen from another one.

A motion is (forward, left, turn): where a pose lies for one who stands at another pose and looks
along it. Floats of any dtype; headings are not wrapped by composing, and are by comparing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def compose(pose: Tensor, motion: Tensor) -> Tensor:
    """The pose that a motion leads to."""
    x, y, heading = pose.unbind(-1)
    forward, left, turn = motion.unbind(-1)
    cos, sin = heading.cos(), heading.sin()
    moved = x + cos * forward - sin * left, y + sin * forward + cos * left
    return torch.stack([*moved, wrap(heading + turn)], -1)


def relative(pose: Tensor, to: Tensor) -> Tensor:
    """The motion that leads from `to` to `pose`; undoes `compose`."""
    x, y, turn = (pose - to).unbind(-1)
    cos, sin = to[..., 2].cos(), to[..., 2].sin()
    return torch.stack([cos * x + sin * y, cos * y - sin * x, wrap(turn)], -1)


def distance(pose: Tensor, other: Tensor, turn: float) -> Tensor:
    """How far apart poses are, (…); a small turn of one radian counts like a shift by `turn`."""
    x, y, heading = (pose - other).unbind(-1)
    return (x.square() + y.square() + 2 * turn**2 * (1 - heading.cos())).sqrt()


def wrap(angle: Tensor) -> Tensor:
    """The same angles from −π to π."""
    return angle - 2 * math.pi * torch.round(angle / (2 * math.pi))
