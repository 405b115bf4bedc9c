"""When a target of a Memory Maze is in view, and in which pixels.

A pixel shows a target if two tests agree: the ray through it meets the target's sphere before a
wall (geometry, from the recorded infos), and it has the target's colour. Each test alone errs:
walls may have a target's colour, and a nearer target, or the frame's resolution, hides what
the geometry would show. Lengths are in maze cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dreamenv.real.memory_maze.target_colours import (
    RGB,
    SAME_COLOUR,
    chromaticity,
    inside_border,
)

# The camera and the targets of `memory_maze.tasks`, where a cell is 2 units wide: a camera at
# height 0.9, 0.15 ahead of the agent, pitched down; half-spheres of radius 0.6 on the floor.
_CAMERA_HEIGHT, _CAMERA_AHEAD = 0.45, 0.075
_PITCH_DOWN = np.arcsin(0.09950371902)
_HALF_VIEW = np.radians(40)
_RADIUS = 0.3
_TOUCH = 0.5
_WALL_STEP = 0.04
_FRAMES_AT_ONCE = 128


@dataclass(frozen=True)
class Sightings:
    """One target in the T frames of an episode."""

    mask: np.ndarray
    """(T, H, W) bool: pixels that show the target, by geometry and by colour."""
    seen: np.ndarray
    """(T,) bool: there may be a trace of it. By geometry some pixel shows it, or it is touched
    (which changes the prompted colour). Where False the frame says nothing about the target."""

    @property
    def pixels(self) -> np.ndarray:
        """(T,) number of pixels that show the target."""
        return self.mask.sum((1, 2))


def target_sightings(
    frames: np.ndarray,
    position: np.ndarray,
    direction: np.ndarray,
    target: np.ndarray,
    index: int,
    layout: np.ndarray,
) -> Sightings:
    """Where target `index` is in each frame.

    Args:
        frames: (T, H, W, 3) uint8.
        position: (T, 2) the agent's x, y.
        direction: (T, 2) unit vector of its heading.
        target: (2,) the target's x, y.
        index: which target it is, hence its colour.
        layout: (rows, columns) 1 where one can walk, indexed [y, x].
    """
    size = (frames.shape[1], frames.shape[2])
    mask = geometric_mask(position, direction, target, layout, size)
    touched = np.linalg.norm(position - target, axis=1) < _TOUCH
    seen = mask.any((1, 2)) | touched
    where = np.nonzero(mask)
    off = chromaticity(frames[where]) - chromaticity(RGB[index])
    mask[where] = np.linalg.norm(off, axis=-1) < SAME_COLOUR
    return Sightings(mask, seen)


def geometric_mask(
    position: np.ndarray,
    direction: np.ndarray,
    target: np.ndarray,
    layout: np.ndarray,
    size: tuple[int, int],
) -> np.ndarray:
    """Pixels (T, H, W) inside the border whose ray meets the target before a wall."""
    position, direction, target = (np.asarray(x, np.float64) for x in (position, direction, target))
    mask = np.zeros((len(position), *size), np.bool_)
    camera = position + _CAMERA_AHEAD * direction
    # Behind the camera is nothing to be seen: most frames end here.
    ahead = ((target - camera) * direction).sum(1) > -_RADIUS
    frames = np.flatnonzero(ahead)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        part = frames[start : start + _FRAMES_AT_ONCE]
        mask[part] = _hits(camera[part], direction[part], target, layout, size)
    return mask & inside_border(size)


def _hits(
    camera: np.ndarray,
    direction: np.ndarray,
    target: np.ndarray,
    layout: np.ndarray,
    size: tuple[int, int],
) -> np.ndarray:
    rays = _rays(size)  # (H·W, 3): ahead, to the right, up, of unit length
    right = np.stack([direction[:, 1], -direction[:, 0]], 1)
    offset = target - camera
    centre = np.stack(
        [
            (offset * direction).sum(1),
            (offset * right).sum(1),
            np.full(len(camera), -_CAMERA_HEIGHT),
        ],
        1,
    )
    along = centre @ rays.T
    discriminant = along**2 - (centre**2).sum(1, keepdims=True) + _RADIUS**2
    length = along - np.sqrt(np.maximum(discriminant, 0))
    # The lower half of the sphere is under the floor.
    above = _CAMERA_HEIGHT + length * rays[:, 2] >= 0
    frame, pixel = np.nonzero((discriminant > 0) & (length > 0) & above)
    ray, reach = rays[pixel], length[frame, pixel, None]
    step = reach * (ray[:, :1] * direction[frame] + ray[:, 1:2] * right[frame])
    clear = _clear(camera[frame], step, layout)
    hits = np.zeros((len(camera), len(rays)), np.bool_)
    hits[frame[clear], pixel[clear]] = True
    return hits.reshape(-1, *size)


def _rays(size: tuple[int, int]) -> np.ndarray:
    height, width = size
    slope = np.tan(_HALF_VIEW)
    up = -((np.arange(height) + 0.5) / height * 2 - 1) * slope
    right = ((np.arange(width) + 0.5) / width * 2 - 1) * slope * width / height
    up, right = (x.ravel() for x in np.meshgrid(up, right, indexing="ij"))
    sine, cosine = np.sin(_PITCH_DOWN), np.cos(_PITCH_DOWN)
    rays = np.stack([cosine + up * sine, right, up * cosine - sine], 1)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _clear(start: np.ndarray, step: np.ndarray, layout: np.ndarray) -> np.ndarray:
    """Whether the segments start … start + step (n, 2) meet no wall; (n,) bool."""
    if not len(start):
        return np.zeros(0, np.bool_)
    samples = 2 + int(np.linalg.norm(step, axis=1).max() / _WALL_STEP)
    clear = np.ones(len(start), np.bool_)
    for share in np.linspace(0, 1, samples):
        column, row = np.floor(start + share * step).astype(int).T
        inside = (row >= 0) & (row < layout.shape[0]) & (column >= 0) & (column < layout.shape[1])
        clear &= inside
        clear[inside] &= layout[row[inside], column[inside]] != 0
    return clear
