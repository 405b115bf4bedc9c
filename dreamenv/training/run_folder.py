"""The folder of a run: what it was told, the model that stands in it, and what is said of that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dreamenv.core.errors import CheckpointError, ConfigError
from dreamenv.core.files import atomic_write_json
from dreamenv.core.reading import read_object
from dreamenv.training.config import read_architecture
from dreamenv.world_model.checkpoint import CONFIG, read_config
from dreamenv.world_model.config import WorldModelConfig

TOLD = "train_config.json"
SAME_MODEL = (
    "architecture", "tokenizer_from", "weights_from", "shortcut_passes", "conditioning", "pose",
    "stride", "rewards", "frame_size", "moving_pixels",
)  # fmt: skip
"""What a run that is continued must also keep: weights alone would fit another model."""


def model_so_far(folder: Path, env_id: str) -> WorldModelConfig | None:
    """The model that stands in a run folder whose dynamics have begun to train, if any."""
    if not (folder / CONFIG).is_file() or not (folder / "training" / "dynamics.pt").is_file():
        return None
    config, provenance = read_config(folder)
    return config if provenance.get("env_id") == env_id else None


def enter_run_folder(folder: Path, env_id: str, told: dict[str, Any]) -> None:
    """Note what the run was told; a run that stands there must be of the same model.

    Args:
        folder: of the run.
        env_id: of its rollouts.
        told: its configuration as plain data.

    Raises:
        ConfigError: the folder was begun with another environment, preset, seed or model.
        CheckpointError: what was noted there is damaged.
    """
    path = folder / TOLD
    now = json.loads(json.dumps({"env_id": env_id, **told}))
    try:
        before = read_object(path) if path.exists() else {}
        if "architecture" in before:  # earlier versions noted JSON text
            before["architecture"] = read_architecture(before["architecture"])
    except (ValueError, ConfigError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); delete it if the rest of {folder} is yours"
        ) from error
    preset = () if told["weights_from"] else ("preset",)  # which brings its architecture
    for name in ("env_id", *preset, "seed", *SAME_MODEL):
        if before.get(name, now[name]) != now[name]:
            raise ConfigError(
                f"{folder} was begun with {name} {before[name]!r}, not {now[name]!r}; repeat that "
                "to continue it, or train into another --out"
            )
    atomic_write_json(path, now)


def card(about: dict[str, Any], used: list[str]) -> str:
    """The text of `card.md`: what the model learnt from, and what was decided on the way.

    Args:
        about: where the model is from, as stored in its `config.json`.
        used: a sentence each on what the rollouts were used for.
    """
    lines = [
        f"# A world model of {about['env_id']}\n",
        f"{about['dynamics_updates']:,} updates of the dynamics, seed {about['training']['seed']}, "
        f"on {about['episodes']:,} episodes of {about['environment_steps']:,} steps in all.\n",
        *(f"- {line}" for line in used),
    ]
    return "\n".join(lines) + "\n"
