"""Stable-Baselines3's own zips of agents: what can be read of them without running their code."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

from dreamenv.core.errors import CheckpointError, UnreadableFileError
from dreamenv.core.reading import parse_json, read_zip_member

MOST_DATA, RATIO = 2**26, 20
"""Bytes of a zip's plain JSON, and how much smaller packing makes an agent at most."""


def read_agent_data(data: bytes) -> dict[str, Any]:
    """The plain JSON of a Stable-Baselines3 zip; nothing is unpickled.

    Raises:
        UnreadableFileError: there is none, or it is damaged or huge.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            read = parse_json(read_zip_member(archive, "data", MOST_DATA))
    except (zipfile.BadZipFile, zlib.error, KeyError, OSError, NotImplementedError) as error:
        raise UnreadableFileError(f"no agent of Stable-Baselines3 ({error!r})") from error
    if not isinstance(read, dict):
        raise UnreadableFileError("no agent of Stable-Baselines3")
    return read


def algorithm_of(path: Path, content: bytes) -> str:
    """Read from the zip's plain JSON which algorithm saved it; nothing is unpickled.

    Raises:
        CheckpointError: a damaged or foreign file, or an algorithm that is not supported.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > max(MOST_DATA, RATIO * len(content)):
                raise CheckpointError(f"{path} unpacks to {unpacked} bytes; no agent does")
            damaged = archive.testzip()
            members = set(archive.namelist())
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is not a zip, or is cut off or damaged; copy or train it again"
        ) from error
    if damaged is not None:
        raise CheckpointError(f"{path} is damaged at {damaged!r}; copy or train it again")
    foreign = f"{path} is a zip, but not an agent saved by Stable-Baselines3"
    if not {"data", "policy.pth"} <= members:
        raise CheckpointError(foreign)
    try:
        data = read_agent_data(content)
    except UnreadableFileError as error:
        raise CheckpointError(foreign) from error
    policy = data.get("policy_class", {})
    module = policy.get("__module__", "") if isinstance(policy, dict) else ""
    # Only PPO and its relatives clip; of these, sb3-contrib's have policies of their own modules.
    if "clip_range" in data and "maskable" not in module:
        recurrent = "recurrent" in module or "_last_lstm_states" in data
        return "RecurrentPPO" if recurrent else "PPO"
    raise CheckpointError(
        f"{path} was saved by another algorithm than PPO or RecurrentPPO (its policy is from "
        f"{module or 'an unknown module'}); train one with dreamenv train-agent"
    )
