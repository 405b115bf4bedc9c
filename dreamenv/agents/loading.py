"""Agents to score: saved Stable-Baselines3 ones and scripted ones that learnt nothing.

An agent acts in N episodes at once. It keeps its memory of each by itself and drops it where an
episode starts, so the same object plays in a dream and in a simulator.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from gymnasium import spaces

from dreamenv.agents.saved_agent import SavedAgent
from dreamenv.agents.scripted import Observation, RandomAgent
from dreamenv.core.errors import (
    CheckpointError,
    ConfigError,
    MissingDependencyError,
    UnreadableFileError,
    UntrustedAgentError,
)
from dreamenv.core.quiet import without_gym_notice
from dreamenv.core.reading import parse_json, read_bytes, read_zip_member
from dreamenv.real.plugin import Family, families

if TYPE_CHECKING:
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import PPO

STICKINESS, FORWARD_SHARE = 0.9, 0.6
MOST_BYTES, MOST_DATA, RATIO = 2**33, 2**26, 20
"""Of a zip, of its plain JSON, and how much smaller packing makes an agent at most."""
SCRIPTED = ("random", "sticky", "forward")
"""Agents for any environment that nothing was learnt for; families bring their own besides."""


class Agent(Protocol):
    """Anything that chooses actions for N episodes at a time."""

    name: str
    observation: str
    """What a dream shows it: "frame", or "memory" if it was trained with that."""

    def act(self, observation: Observation, episode_start: np.ndarray) -> np.ndarray:
        """Choose the next action of each episode.

        Args:
            observation: (N, H, W, C) uint8, or a dictionary of arrays: `frame` and, for agents
                trained with it, `memory`.
            episode_start: (N,) bool, True where the observation is the first of its episode.

        Returns:
            (N, ...) actions; (N,) int64 for a Discrete space.
        """
        ...

    def reset(self, seed: int | None = None) -> None:
        """Forget everything, the random state included: what follows is as if newly loaded.

        Args:
            seed: to be newly loaded with, from now on; None for the last one.
        """
        ...


def load_agent(
    spec: str | Path,
    action_space: spaces.Space,
    seed: int,
    *,
    observation_space: spaces.Space | None = None,
    deterministic: bool = False,
    trust: bool = False,
) -> Agent:
    """Make the agent that `spec` names.

    Args:
        spec: "random" (uniform); "sticky" or "sticky:0.8" (repeats its last action with that
            probability); "forward" or "forward:0.6" (that share of action 1, else another at
            random); a scripted agent of a family of environments, such as "wall" (forward to a
            wall, then turns) or "seek" (the same, but steers to the target asked for); or the
            path of a zip saved by PPO or RecurrentPPO, or of a folder that holds one as
            `agent.zip`. Stable-Baselines3 zips hold pickled Python objects, and unpickling runs
            whatever code their author put there: see `trust`.
        action_space: of the environment to act in.
        seed: of the agent's own randomness; the global generators are left alone.
        observation_space: if given, it is compared with the agent's at once; otherwise the first
            observation is.
        deterministic: take the most probable action instead of sampling.
        trust: the author of the zip may run code on this machine. Nothing in a zip is unpickled
            without; scripted agents need no trust.

    Raises:
        UntrustedAgentError: `spec` is a saved agent, and `trust` was not given.
        CheckpointError: no such file, not an agent, or one of another action or observation space.
        ConfigError: a share that is not a probability, or a scripted agent that does not know
            these actions.
        MissingDependencyError: Stable-Baselines3 or sb3-contrib is not installed.
    """
    if is_scripted(spec):
        return _scripted(str(spec), action_space, seed)
    path = find_zip(spec)
    model = _load_model(path, trust)
    if model.action_space != action_space:
        raise CheckpointError(
            f"the agent {path} chooses actions from {model.action_space}, but the environment "
            f"takes {action_space}; choose an agent trained in an environment with these actions"
        )
    agent = SavedAgent(model, path, seed, deterministic)
    if observation_space is not None:
        agent.check(observation_space)
    return agent


def _scripted(spec: str, action_space: spaces.Space, seed: int) -> Agent:
    name, _, argument = spec.partition(":")
    if name == "sticky":
        stickiness = _probability(name, argument, STICKINESS)
        return RandomAgent(spec, action_space, seed, stickiness)
    if name == "forward":
        if not isinstance(action_space, spaces.Discrete) or action_space.n < 2:
            raise ConfigError(
                f"{name} takes action 1 most of the time, which {action_space} does not have; "
                "take random or sticky"
            )
        share = _probability(name, argument, FORWARD_SHARE)
        return RandomAgent(spec, action_space, seed, forward=share)
    if argument:
        raise ConfigError(f"{name} takes no number, so write just {name!r} and not {spec!r}")
    if name == "random":
        return RandomAgent(spec, action_space, seed)
    family = _families()[name]
    made: Agent = family.load(family.agents[name])(spec, action_space, seed)
    return made


def _families() -> dict[str, Family]:
    """Name of a scripted agent → the family that brings it."""
    return {name: family for family in families() for name in family.agents}


def scripted_names() -> list[str]:
    """What `is_scripted` knows."""
    return [*SCRIPTED, *_families()]


def _probability(name: str, text: str, default: float) -> float:
    try:
        value = float(text or default)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name}:{text} is not a probability; write for example {name}:0.9")
    return value


def is_scripted(spec: str | Path) -> bool:
    """Whether `spec` names an agent that no file is needed for."""
    return str(spec).partition(":")[0] in scripted_names()


def find_zip(spec: str | Path) -> Path:
    """The agent's file: the path itself, `agent.zip` in a folder, or the path plus `.zip`.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(spec)
    for candidate in _candidates(path):
        if candidate.is_file():
            return candidate
    raise CheckpointError(
        f"no agent at {path}; give the zip that dreamenv train-agent or Stable-Baselines3 saved, "
        f"the folder of a run, or one of {', '.join(scripted_names())}"
    )


def has_zip(spec: str | Path) -> bool:
    """Whether `find_zip` would find an agent."""
    return any(candidate.is_file() for candidate in _candidates(Path(spec)))


def _candidates(path: Path) -> tuple[Path, ...]:
    named = (path.with_name(path.name + ".zip"),) if path.name else ()
    return (path, path / "agent.zip", *named)


def require_trust(specs: Iterable[str | Path], trust: bool) -> None:
    """Insist that saved agents among `specs` may run their authors' code.

    Raises:
        CheckpointError: there is no such agent.
        UntrustedAgentError: there is, and it may not.
    """
    saved = [find_zip(spec) for spec in specs if not is_scripted(spec)]
    if saved and not trust:
        raise UntrustedAgentError(
            f"{saved[0]} is a saved agent of Stable-Baselines3. It holds pickled Python objects: "
            "loading it runs whatever code its author put there. If you saved it yourself, or "
            "trust whoever did, say so with --trust-agent (in Python: trust=True for load_agent "
            "and SavedAgents, trust_agent=True in a configuration)"
        )


def _load_model(path: Path, trust: bool) -> PPO | RecurrentPPO:
    """Load with the algorithm that saved the file.

    The network runs on the CPU: it is small, and one seed then gives the same actions with and
    without a GPU.
    """
    data = _read(path)
    algorithm = _algorithm_of(path, data)
    require_trust([path], trust)
    try:
        with without_gym_notice():
            from sb3_contrib import RecurrentPPO
            from stable_baselines3 import PPO
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        raise MissingDependencyError(
            f"loading the agent {path} needs {package}, which is not installed; "
            'run: pip install "dreamenv[agents]"'
        ) from error
    model_class = RecurrentPPO if algorithm == "RecurrentPPO" else PPO
    try:
        return model_class.load(io.BytesIO(data), device="cpu")
    except Exception as error:  # unpickling raises whatever it meets
        raise CheckpointError(f"the agent {path} cannot be loaded: {error!r}") from error


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path, MOST_BYTES)
    except UnreadableFileError as error:
        raise CheckpointError(f"{error}; copy or train the agent again") from error


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


def _algorithm_of(path: Path, content: bytes) -> str:
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
