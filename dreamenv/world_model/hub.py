"""World models on the Hugging Face hub: what is fetched of one, and what is published."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from dreamenv.core.errors import CheckpointError
from dreamenv.core.hub import HubFile, HubName, fetch
from dreamenv.core.reading import SMALL
from dreamenv.world_model.checkpoint import (
    CARD,
    CONFIG,
    WEIGHTS,
    load_checkpoint,
    most_bytes,
    read_config,
)

README = "README.md"
"""What the hub shows of a repository."""
SPAWNS, TRUST = "spawns.npz", "trust.json"
"""Files of `dreamenv.dream` that lie beside the weights."""
MOST_SPAWNS = 2**30
FILES = (
    HubFile(CONFIG, lambda _: SMALL, required=True),
    HubFile(SPAWNS, lambda _: MOST_SPAWNS),
    HubFile(TRUST, lambda _: SMALL),
    HubFile(CARD, lambda _: SMALL),
    # Last, because only the configuration tells how large they may be.
    HubFile(WEIGHTS, lambda folder: most_bytes(read_config(folder)[0]), required=True),
)


def fetch_checkpoint(name: str) -> Path:
    """The folder of a world model on the hub, `"hf://user/name"` or `"hf://user/name@revision"`.

    Configuration, weights, spawns, trust and card are fetched, and nothing else that may lie there.

    Raises:
        ConfigError: the name is written otherwise.
        CheckpointError: there is none, it is larger than its configuration says, or the hub cannot
            be reached and nothing is in the cache.
        MissingDependencyError: huggingface_hub is not installed.
    """
    return fetch(HubName.parse(name), FILES)


def checkpoint_for_hub(folder: Path, name: str, license: str) -> dict[str, bytes | Path]:
    """The files of a checkpoint folder for the hub, with a card; weights are loaded to check them.

    Raises:
        CheckpointError: the folder holds no whole world model.
    """
    checkpoint = load_checkpoint(folder)
    files: dict[str, bytes | Path] = {
        file.name: folder / file.name for file in FILES if (folder / file.name).is_file()
    }
    if SPAWNS not in files:
        raise CheckpointError(
            f"{folder} has no {SPAWNS}, so nobody could begin a dream of it; write one with "
            "dreamenv.dream.spawn_drawing.save_spawns(folder, rollouts, count, length)"
        )
    parameters = sum(weight.numel() for weight in checkpoint.model.parameters())
    config = checkpoint.model.config
    actions = config.actions
    facts = {
        "Environment": str(checkpoint.provenance.get("env_id", "")),
        "Parameters": f"{parameters:,}",
        "Frames": " × ".join(map(str, (*config.frame_size, config.frame_channels))),
        "Actions": str(actions.n) if actions.discrete else f"{len(actions.low)} numbers",
        "Denoising passes per frame": str(config.sampler.steps),
        "Steps of training data": f"{checkpoint.provenance.get('environment_steps', 'unknown')}",
    }
    own_card = (folder / CARD).read_text("utf-8") if CARD in files else ""
    files[README] = _card(name, license, facts, files, own_card).encode()
    return files


def _card(
    name: str, license: str, facts: dict[str, str], files: dict[str, Any], own_card: str
) -> str:
    """The text of the hub's page: what it is, how to use it, and what the training wrote."""
    listing = [
        f"| `{file}` | {path.stat().st_size:,} | `{_sha256(path)}` |"
        for file, path in files.items()
    ]
    return "\n".join(
        [
            hub_header(license, ["world-model", "gymnasium"]),
            f"# {name.partition('/')[2]}",
            "",
            f"A world model of `{facts['Environment']}`, which "
            "dreamenv makes a Gymnasium environment of:",
            "",
            "```python",
            "import gymnasium",
            "",
            "import dreamenv",
            "",
            f'env = gymnasium.make("DreamEnv-v0", checkpoint="hf://{name}")',
            "observation, info = env.reset(seed=0)",
            "```",
            "",
            f'The network alone: `dreamenv.WorldModel.from_pretrained("{name}")`. '
            'Both need `pip install "dreamenv[hub]"`.',
            "",
            "| | |",
            "|---|---|",
            *(f"| {what} | {value} |" for what, value in facts.items()),
            "",
            own_card.partition("\n")[2].strip() if own_card.startswith("# ") else own_card.strip(),
            "",
            "## Files",
            "",
            "All are plain data; loading them executes nothing.",
            "",
            "| file | bytes | SHA-256 |",
            "|---|--:|---|",
            *listing,
            "",
        ]
    )


def hub_header(license: str, tags: list[str]) -> str:
    """What the hub reads of a card: YAML between two lines of dashes."""
    lines = ["---", "library_name: dreamenv", "pipeline_tag: reinforcement-learning"]
    if license:
        lines.append(f"license: {license}")
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in ["dreamenv", *tags]), "---", ""])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
