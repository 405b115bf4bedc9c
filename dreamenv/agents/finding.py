"""Where an agent lies on disk, what kind of file it is, and whether it may be loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dreamenv.core.errors import CheckpointError, UnreadableFileError, UntrustedAgentError
from dreamenv.core.hub import HubFile, HubName, fetch, is_hub_name, may_be_hub_name
from dreamenv.core.reading import open_file
from dreamenv.real.plugin import Family, families

SAFE, PICKLED = ".safetensors", ".zip"
"""Endings of this project's own files, which are data alone, and of Stable-Baselines3's."""
FILE = f"agent{SAFE}"
"""The agent in the folder of a run."""
EARLIER_FILE = f"agent{PICKLED}"
"""The agent in the folder of a run of version 0.1."""
SCRIPTED = ("random", "sticky", "forward")
"""Agents for any environment that nothing was learnt for; families bring their own besides."""
MOST_BYTES, MOST_HUB_BYTES = 2**33, 2**30
"""Of an agent's file, and of one from the hub."""


HUB_FILES = (HubFile(FILE, lambda _: MOST_HUB_BYTES, required=True),)


def scripted_families() -> dict[str, Family]:
    """Name of a scripted agent → the family that brings it."""
    return {name: family for family in families() for name in family.agents}


def scripted_names() -> list[str]:
    """What `is_scripted` knows."""
    return [*SCRIPTED, *scripted_families()]


def is_scripted(spec: str | Path) -> bool:
    """Whether `spec` names an agent that no file is needed for."""
    return str(spec).partition(":")[0] in scripted_names()


def find_agent(spec: str | Path) -> Path:
    """The agent's file: the path itself, the agent of a run folder, or the path plus an ending.

    `hf://user/name` or `hf://user/name@revision` is one on the Hugging Face hub, of which only
    this project's own kind of file is fetched.

    Raises:
        CheckpointError: there is none.
    """
    if is_hub_name(spec):
        return fetch(HubName.parse(str(spec)), HUB_FILES) / FILE
    path = Path(spec)
    for candidate in _candidates(path):
        if candidate.is_file():
            return candidate
    raise CheckpointError(
        f"no agent at {path}; give the file that dreamenv train-agent, save_agent or "
        f"Stable-Baselines3 saved, the folder of a run, or one of {', '.join(scripted_names())}"
    )


def has_agent(spec: str | Path) -> bool:
    """Whether `find_agent` would find an agent."""
    if is_hub_name(spec):  # whether the hub has it is seen when it is fetched
        return may_be_hub_name(str(spec))
    return any(path.is_file() for path in _candidates(Path(spec)))


def _candidates(path: Path) -> tuple[Path, ...]:
    endings = (SAFE, PICKLED) if path.name else ()
    named = tuple(path.with_name(path.name + ending) for ending in endings)
    return (path, path / FILE, path / EARLIER_FILE, *named)


def is_pickled(path: Path) -> bool:
    """Whether a file is a zip, whatever it is called; all others are read as plain data.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        with open_file(path, MOST_BYTES) as file:
            return path.suffix == PICKLED or file.read(4) == b"PK\x03\x04"
    except (UnreadableFileError, OSError) as error:
        raise CheckpointError(f"{error}; copy or train the agent again") from error


def require_trust(specs: Iterable[str | Path], trust: bool) -> None:
    """Insist that agents among `specs` that could run their authors' code may do so.

    Raises:
        CheckpointError: there is no such agent.
        UntrustedAgentError: there is, and it may not.
    """
    saved = [find_agent(spec) for spec in specs if not is_scripted(spec)]
    pickled = [path for path in saved if is_pickled(path)]
    if pickled and not trust:
        raise UntrustedAgentError(
            f"{pickled[0]} is a zip of Stable-Baselines3. It holds pickled Python objects: loading "
            "it runs whatever code its author put there. If you saved it yourself, or trust "
            "whoever did, say so with --trust-agent (in Python: trust=True for load_agent, "
            "load_sb3 and SavedAgents, trust_agent=True in a configuration). "
            "dreamenv.save_agent writes a file that needs no trust, because it holds data alone"
        )
