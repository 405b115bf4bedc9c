"""What is damaged, and what reading it gives: a checkpoint, a rollout store, a saved dream.

Each is small and made here. `Subject.observe` returns a digest of all that a reader would get.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from safetensors.torch import load_file, save_file

from benchmarks.fuzz.mutations import damage
from dreamenv.dream.spawn_drawing import save_spawns
from dreamenv.dream.state import DreamState
from dreamenv.dream.trust import Trust
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.writer import RolloutWriter
from dreamenv.training.latents import encoded
from dreamenv.world_model.checkpoint import load_world_model, save_world_model
from dreamenv.world_model.config import ActionConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.presets import preset

ACTIONS, SIZE = 4, 64
SLOTS, STEPS = 2, 2
IMPOSSIBLE = (-1, 10**300, 0.5, float("nan"), float("inf"), "", "x", [], [[]], [0] * 3000)
"""What neither a generator's state nor a source ever is."""


@dataclass(frozen=True)
class Subject:
    """One thing that is damaged, again and again, and read each time."""

    make: Callable[[Path], object]
    """Write a whole one into a new folder."""
    damage: Callable[[Path, np.random.Generator], str]
    """Damage it; returns how."""
    observe: Callable[[Path], str]
    """Read everything; a digest of what was read, or one of each part."""


def make_store(folder: Path) -> None:
    """Three short episodes with infos."""
    rng = np.random.default_rng(0)
    space = Box(0, 255, (SIZE, SIZE, 3), np.uint8)
    with RolloutWriter(folder, "Fuzz-v0", space, Discrete(ACTIONS)) as writer:
        for seed, length in enumerate((5, 9, 14)):
            last = np.arange(length) == length - 1
            coarse = rng.integers(0, 256, (length + 1, 4, 4, 3), np.uint8)
            frames = np.kron(coarse, np.ones((1, SIZE // 4, SIZE // 4, 1), np.uint8))
            writer.append(
                Episode(
                    frames,
                    rng.integers(ACTIONS, size=length),
                    rng.integers(0, 2, length).astype(np.float32),
                    last,
                    np.zeros(length, np.bool_),
                    seed,
                    "fuzz",
                    {"place": rng.normal(size=(length + 1, 2)).astype(np.float32)},
                )
            )


def make_checkpoint(folder: Path) -> None:
    """An untrained model of the `debug` preset with spawns and a calibration of trust."""
    torch.manual_seed(0)
    model = WorldModel(preset("debug", actions=ActionConfig(n=ACTIONS)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    make_store(folder / "rollouts")
    save_world_model(folder, model, {"env_id": "Fuzz-v0"}, card="# A model\n")
    save_spawns(folder, folder / "rollouts", count=4, length=4)
    shutil.rmtree(folder / "rollouts")
    about = {"steps": model.config.sampler.steps}
    Trust((0.0, 0.5, 1.0), (1.0, 0.5, 0.2), about=about).save(folder)


def make_old_store(folder: Path) -> None:
    """As earlier versions wrote it, without checksums: what is checked beneath them."""
    make_store(folder)
    journal = folder / "episodes.jsonl"
    lines = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
    for line in lines:
        for name in ("check", "digests", "layouts"):
            line.pop(name, None)
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def make_old_checkpoint(folder: Path) -> None:
    """As earlier versions wrote it, without checksums."""
    make_checkpoint(folder)
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors")
    (folder / "trust.json").unlink()
    Trust((0.0, 0.5, 1.0), (1.0, 0.5, 0.2), about={"steps": 2}).save(folder)
    trust = json.loads((folder / "trust.json").read_text("utf-8"))
    del trust["sha256"]
    (folder / "trust.json").write_text(json.dumps(trust), "utf-8")


def make_state(folder: Path) -> None:
    """A dream under way, saved."""
    make_checkpoint(folder / "checkpoint")
    env = DreamVectorEnv(SLOTS, folder / "checkpoint", dtype="float32")
    env.reset(seed=0)
    env.step(np.zeros(SLOTS, np.int64))
    env.get_state().save(folder / "dream")


def make_encoded(folder: Path) -> None:
    """Rollouts as a tokenizer sees them, kept for training."""
    make_checkpoint(folder / "checkpoint")
    make_store(folder / "rollouts")
    encoded_rows(folder)


def encoded_rows(folder: Path) -> str:
    """All rows that training would read: those that are damaged are made again."""
    model = load_world_model(folder / "checkpoint")
    rows = encoded(RolloutStore(folder / "rollouts"), model, folder / "latents")
    signals = [rows.action[:], rows.reward[:], rows.terminated[:]]
    return digest([rows.latents[:], rows.latent_mean, rows.latent_std, *signals])


def damage_encoded(folder: Path, rng: np.random.Generator) -> str:
    """Damage one of the files of encoded rollouts."""
    return damage_any(folder / "latents", rng)


def damage_any(folder: Path, rng: np.random.Generator) -> str:
    """Damage one of the files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [path for path in files if path.stat().st_size and path.name != "card.md"]
    path = files[rng.integers(len(files))]
    return f"{damage(path, rng)} of {path.name}"


def damage_state(folder: Path, rng: np.random.Generator) -> str:
    """Damage the file of a saved dream, or forge a part of the dream and save it as a whole one."""
    path = folder / "dream"
    if rng.integers(3) == 0:
        return f"{damage(path, rng)} of dream"
    state = DreamState.load(path)
    part, forged = forge(state, rng)
    forged.save(path)
    return f"forged {part}"


def forge(state: DreamState, rng: np.random.Generator) -> tuple[str, DreamState]:
    """A state with one part that no dream was in, and the name of that part."""
    tensors = dict(state.memory.named_tensors())
    name = ["arrays", "generators", "sources", *tensors][rng.integers(3 + len(tensors))]
    if name in tensors:
        memory = state.memory.clone()
        tensor = dict(memory.named_tensors())[name]
        values = (torch.nan, torch.inf, -torch.inf) + (-5.0, 7.0) * (name == "level")
        choice = values if tensor.is_floating_point() else (-5, -1, 2**40, 2**62)
        tensor.view(-1)[rng.integers(tensor.numel())] = choice[rng.integers(len(choice))]
        return name, dataclasses.replace(state, memory=memory)
    if name == "arrays":
        name = ("elapsed", "spawns")[rng.integers(2)]
        array = getattr(state, name).copy()
        array[0] = (-7, 2**41, 2**62, -(2**62))[rng.integers(4)]
        return name, dataclasses.replace(state, **{name: array})
    values_of = list(copy.deepcopy(getattr(state, name)))
    value = IMPOSSIBLE[rng.integers(len(IMPOSSIBLE))]
    if name == "generators" and rng.integers(2):
        kind = ("state", "inc", "has_uint32", "uinteger", "bit_generator")[rng.integers(5)]
        inside = values_of[0]["state"] if kind in ("state", "inc") else values_of[0]
        inside[kind] = value
    else:
        values_of[0] = value
    return name, dataclasses.replace(state, **{name: tuple(values_of)})


def dream_from(folder: Path) -> str:
    """Everything that two steps of two dreams give."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = DreamVectorEnv(SLOTS, folder, dtype="float32")
    told: list[Any] = [env.loaded.env_id]
    trust = []
    for action in range(-1, STEPS):
        *step, info = env.reset(seed=0) if action < 0 else env.step(np.full(SLOTS, action))
        for told_of in (info, info.get("final_info", {})):
            trust += [told_of.pop(name) for name in ("trust", "_trust") if name in told_of]
        told += [*step, info]
    return ",".join([digest(told), *[digest(trust)] * bool(trust)])


def read_store(folder: Path) -> str:
    """All that a store says of itself, and of each of its episodes."""
    store = RolloutStore(folder)
    told = [digest([store.env_id, str(store.action_space), str(store.observation_space)])]
    for index in range(store.num_episodes):
        known = [store.returns[index], store.reward_events[index]]
        told.append(digest([*known, dataclasses.astuple(store.read(index))]))
    return ",".join(told)


def go_on_from(folder: Path) -> str:
    """Two steps from a saved dream."""
    env = DreamVectorEnv(SLOTS, folder / "checkpoint", dtype="float32")
    env.set_state(DreamState.load(folder / "dream"))
    state = env.get_state()
    told = [state.elapsed, state.spawns, json.dumps(state.generators), state.frames]
    told += [env.step(np.full(SLOTS, action)) for action in range(STEPS)]
    return digest(told)


def digest(told: Any) -> str:
    """SHA-256 of nested lists, dictionaries and arrays."""
    found = hashlib.sha256()

    def take(value: Any) -> None:
        if isinstance(value, dict):
            for name in sorted(value):
                found.update(name.encode())
                take(value[name])
        elif isinstance(value, list | tuple):
            for entry in value:
                take(entry)
        elif isinstance(value, np.ndarray) and value.dtype != object:
            found.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        else:
            found.update(repr(value).encode())

    take(told)
    return found.hexdigest()


SUBJECTS = {
    "checkpoints": Subject(make_checkpoint, damage_any, dream_from),
    "stores": Subject(make_store, damage_any, read_store),
    "states": Subject(make_state, damage_state, go_on_from),
    "checkpoints_without_checksums": Subject(make_old_checkpoint, damage_any, dream_from),
    "stores_without_checksums": Subject(make_old_store, damage_any, read_store),
    "tokenized": Subject(make_encoded, damage_encoded, encoded_rows),
}
