"""What `dreamenv life` measured of the same checkpoint, for the page of a gap report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dreamenv.core.errors import ConfigError, UnreadableFileError
from dreamenv.core.reading import parse_json, read_bytes
from dreamenv.evaluation.life.report import FILES, life_rows

MOST_BYTES = 2**26


@dataclass(frozen=True)
class LifePanel:
    """A table, and film strips if they were drawn."""

    result: dict[str, Any]
    """`table`, rows of cells, the first one its head; `command`, which measured it."""
    picture: np.ndarray | None
    """(height, width, 3) uint8."""


def read_life(folder: str | Path, fingerprint: str) -> LifePanel:
    """Read a folder that `dreamenv life` wrote.

    Args:
        folder: the one that was given as `--out`.
        fingerprint: SHA-256 of the weights that the report is about.

    Raises:
        ConfigError: nothing was written there, or it is damaged, or of other weights.
    """
    data, picture = (Path(folder) / name for name in FILES)
    try:
        found = parse_json(read_bytes(data, MOST_BYTES))
        weights, command = found["checkpoint"]["weights_sha256"], str(found["command"])
        rows = life_rows(found)
    except (OSError, UnreadableFileError, KeyError, TypeError, IndexError) as error:
        raise ConfigError(
            f"{data} does not say how the dream lives ({error!r}); measure it with: "
            f"dreamenv life --checkpoint ... --rollouts ... --out {folder}"
        ) from error
    if weights != fingerprint:
        raise ConfigError(
            f"{data} is about the weights {str(weights)[:12]}, the report about "
            f"{fingerprint[:12]}; measure these with: dreamenv life --out ..."
        )
    shown = None
    if picture.is_file():
        with Image.open(picture) as image:
            shown = np.asarray(image.convert("RGB"))
    return LifePanel({"command": command, "table": rows}, shown)
