"""What fixes a landmark memory, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from dreamenv.core.errors import ConfigError

MOST_LANDMARKS = 4096
"""A memory of no more places: each step compares the present pose with all of them."""


@dataclass(frozen=True)
class LandmarkConfig:
    """A memory of constant size for views and the poses that they were seen from.

    Poses are planar: x, y and a heading. A dream integrates its own: a small network says how each
    action moves it, frames are drawn from where that leads, and the nearest landmarks are seen by
    their pose relative to the frame that is drawn.
    """

    count: int = 0
    """M: landmarks that the memory holds; 0: there is no such memory."""
    nearest: int = 6
    """Landmarks that a frame is drawn from."""
    spacing: float = 0.0
    """A view becomes a landmark where none of those held is nearer than this, in the units of
    positions. 0: as training measures it, two of the longer steps."""
    turn: float = 3.0
    """Spacings that a small turn, of one radian, counts as."""
    layers: tuple[int, ...] = (0, 2)
    """Layers of the dynamics before which tokens look at landmarks, counted from 0."""
    tracker_width: int = 384
    """Hidden width of the networks that say how an action moves the pose."""

    def __post_init__(self) -> None:
        if not 0 <= self.count <= MOST_LANDMARKS:
            raise ConfigError(f"landmarks.count is from 0 to {MOST_LANDMARKS}, not {self.count}")
        if not self.count:
            return
        if not 1 <= self.nearest <= self.count:
            raise ConfigError(
                f"a frame looks at 1 to landmarks.count ({self.count}) landmarks, not "
                f"{self.nearest}: lower landmarks.nearest or raise landmarks.count"
            )
        if not 0 <= self.spacing < float("inf") or not 0 < self.turn < float("inf"):
            raise ConfigError(
                "landmarks.spacing must not be negative (0: measured by training) and "
                f"landmarks.turn above 0: {self.spacing}, {self.turn}"
            )
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise ConfigError(
                f"landmarks.layers must name layers in ascending order: {self.layers}"
            )
        if not 1 <= self.tracker_width <= 2**16:
            raise ConfigError(
                f"landmarks.tracker_width is from 1 to {2**16}, not {self.tracker_width}"
            )

    @property
    def unit(self) -> float:
        """What shifts are measured in where networks are told them."""
        return 2 * self.spacing

    def require_network(self, layers: int, attention: str) -> None:
        """Refuse a network of so many layers and this attention if it cannot have landmarks."""
        if self.count and self.layers[-1] >= layers:
            raise ConfigError(
                f"landmarks.layers names layer {self.layers[-1]}, but the dynamics have {layers}, "
                "counted from 0"
            )
        if self.count and attention == "bidirectional":
            raise ConfigError("bidirectional attention has no landmarks: set landmarks.count to 0")
