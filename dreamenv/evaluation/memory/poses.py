"""Poses, (x, y, cos, sin) with x and y in cells: which of those watched is one near to?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Nearness:
    """Two poses are near within this distance, in cells, and this angle, both included."""

    cells: float
    degrees: float

    def of(self, asked: np.ndarray, watched: np.ndarray) -> np.ndarray:
        """Which of `watched` (q, 4) each of `asked` (p, 4) is near to, (p, q) bool."""
        cells, degrees = offsets(asked, watched)
        # Recorded float32 poses that are exactly as far apart as allowed must not be left out.
        return (cells <= self.cells + 1e-4) & (degrees <= self.degrees + 1e-2)


def offsets(asked: np.ndarray, watched: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance in cells and angle in degrees, both (p, q), between poses (p, 4) and (q, 4)."""
    cells = np.linalg.norm(asked[:, None, :2] - watched[None, :, :2], axis=-1)
    cosine = np.clip(asked[:, 2:] @ watched[:, 2:].T, -1, 1)
    return cells, np.degrees(np.arccos(cosine))


def latest_sighting(asked: np.ndarray, watched: np.ndarray, nearness: Nearness) -> np.ndarray:
    """Index of the last of `watched` (n, q, 4) near each of `asked` (n, p, 4); −1 for none."""
    last = np.full(asked.shape[:2], -1)
    for row, ours, theirs in zip(last, asked, watched, strict=True):
        near = nearness.of(ours, theirs)
        latest = near.shape[1] - 1 - near[:, ::-1].argmax(1)
        row[:] = np.where(near.any(1), latest, -1)
    return last


def nearest(asked: np.ndarray, watched: np.ndarray) -> np.ndarray:
    """Index of the nearest of `watched` (n, q, 4) to each of `asked` (n, p, 4), the last of equals.

    Half a cell counts as much as 20 degrees.
    """
    found = np.empty(asked.shape[:2], np.int64)
    for row, ours, theirs in zip(found, asked, watched, strict=True):
        cells, degrees = offsets(ours, theirs)
        far = (cells / 0.5) ** 2 + (degrees / 20) ** 2
        row[:] = far.shape[1] - 1 - far[:, ::-1].argmin(1)
    return found


def ages(latest: np.ndarray, watched: int) -> np.ndarray:
    """Frames since the sighting `latest` (n, h) of each frame after `watched` ones; 0 for none."""
    now = watched + np.arange(latest.shape[1])
    return np.where(latest >= 0, now - latest, 0)


def coverage(watched: np.ndarray, layouts: np.ndarray) -> np.ndarray:
    """Share of free cells stood on, (n,): poses (n, q, 4), layouts (n, rows, columns) [y, x]."""
    shares = [
        len(np.unique(poses[:, :2].astype(np.int64), axis=0)) / layout.sum()
        for poses, layout in zip(watched, layouts, strict=True)
    ]
    return np.array(shares)
