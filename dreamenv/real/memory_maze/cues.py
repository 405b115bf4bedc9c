"""What cue recall asks about in Memory Maze: which colour a target has, and where one is seen."""

from __future__ import annotations

from dreamenv.real.memory_maze.target_colours import (
    NAMES,
    NEAR_COLOUR,
    NO_COLOUR,
    name_colour,
    nearest_colour,
)
from dreamenv.real.memory_maze.target_sightings import Sightings, target_sightings

__all__ = [
    "INFOS",
    "NAMES",
    "NEAR_COLOUR",
    "NO_COLOUR",
    "Sightings",
    "name_colour",
    "nearest_colour",
    "target_sightings",
]

INFOS = ("agent_pos", "agent_dir", "targets_pos", "maze_layout")
"""Infos that must have been recorded."""
