"""Publishing on the Hugging Face hub: a world model's folder, or an agent."""

from __future__ import annotations

import re
from pathlib import Path

from dreamenv.agents.agent_files import read_described, without_training
from dreamenv.agents.finding import FILE, find_agent, has_agent, is_pickled
from dreamenv.core.errors import CheckpointError, ConfigError
from dreamenv.core.hub import publish
from dreamenv.world_model.checkpoint import CONFIG, WEIGHTS, checkpoint_folder
from dreamenv.world_model.hub import README, checkpoint_for_hub, hub_header

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,40}")


def push_to_hub(
    path: str | Path,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    license: str = "",
    message: str = "",
) -> str:
    """Publish a world model or an agent, with a card that is generated from what is in its files.

    Of a world model its configuration, weights, spawns, trust and card are published, of an agent
    what it needs to act; nothing else in the folder is. All of it is plain data.

    Args:
        path: a checkpoint folder or `"bundled:NAME"`; or an agent's file or run folder.
        repo: `"user/name"` on the hub; made if it is not there.
        private: make a new repository private.
        revision: the branch to write to; None for the main one.
        license: what the hub calls it, such as "mit"; "" leaves it out.
        message: of the commit.

    Returns:
        The name to load it by, `hf://user/name@commit`.

    Raises:
        CheckpointError: there is nothing whole to publish, the hub refuses or cannot be reached.
        ConfigError: the agent is a zip, or a name is written wrongly.
        MissingDependencyError: huggingface_hub is not installed.
    """
    if license and not _LICENSE.fullmatch(license):
        raise ConfigError(f"{license!r} is no license that the hub knows, such as mit")
    folder = checkpoint_folder(path)
    if (folder / WEIGHTS).is_file():
        files, kind = checkpoint_for_hub(folder, repo, license), "world model"
    elif has_agent(path):
        files, kind = _agent_for_hub(find_agent(path), repo, license), "agent"
    else:
        raise CheckpointError(
            f"{path} holds neither a world model ({CONFIG} and {WEIGHTS}) nor an agent ({FILE})"
        )
    return str(publish(repo, files, message or f"Add {kind}", private, revision))


def _agent_for_hub(path: Path, repo: str, license: str) -> dict[str, bytes | Path]:
    if is_pickled(path):
        raise ConfigError(
            f"{path} is a zip of Stable-Baselines3, which runs code where it is loaded; write it "
            "as data first: dreamenv.save_agent(dreamenv.load_sb3(path, trust=True), "
            f"{FILE!r})"
        )
    blueprint, progress = read_described(path)
    card = [
        hub_header(license, ["stable-baselines3", "gymnasium"]),
        f"# {repo.partition('/')[2]}",
        "",
        f"An agent of {blueprint.algorithm} ({blueprint.policy}) after "
        f"{progress.get('num_timesteps', 'an unknown number of')} steps of training. It is plain "
        "data; loading it executes nothing.",
        "",
        "```python",
        "import dreamenv",
        "",
        f'agent = dreamenv.load_sb3("hf://{repo}")  # an ordinary Stable-Baselines3 agent',
        "```",
        "",
        "The same name stands wherever a command takes an agent, such as "
        f'`dreamenv gap --agents hf://{repo}`. All need `pip install "dreamenv[hub,agents]"`.',
        "",
        "| | |",
        "|---|---|",
        f"| Observations | `{blueprint.observations()}` |",
        f"| Actions | `{blueprint.actions()}` |",
        "",
    ]
    return {FILE: without_training(path.read_bytes()), README: "\n".join(card).encode()}
