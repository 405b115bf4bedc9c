"""What is disturbed: commands on little data, and what their results are compared by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

ENV = "benchmarks.faults.little_env:Little-v0"


@dataclass(frozen=True)
class Subject:
    """A command that makes something in a folder."""

    arguments: Callable[[Path, Path], list[str]]
    """(shared, folder) → arguments of `dreamenv`; `shared` holds what `prepare` made."""
    digest: Callable[[Path], str]
    """What the finished folder holds; equal for what counts as the same."""
    prepare: Callable[[Path], list[list[str]]] = lambda shared: []
    """(shared) → commands to run once before."""
    resumed: tuple[str, ...] = ()
    """Arguments that are added when it goes on."""
    workers: bool = False
    """Whether it has workers, of which one may die."""


def collect_into(folder: Path, frames: int, seed: int) -> list[str]:
    """Arguments of a small collection."""
    numbers = ["--frames", str(frames), "--seed", str(seed), "--workers", "2"]
    return ["collect", "--env", ENV, *numbers, "--out", str(folder)]


def train_in(shared: Path, folder: Path) -> list[str]:
    """Arguments of a training of both stages."""
    given = ["--data", str(shared / "train"), "--held-out", str(shared / "held_out")]
    stages = [
        f"--{stage}.{name}={value}"
        for stage, steps in (("tokenizer", 6), ("dynamics", 8))
        for name, value in (("steps", steps), ("batch", 2), ("warmup", 2))
    ]
    every = ["--checkpoint-every", "2", "--evaluate-every", "100000", "--log-every", "1"]
    small = ["--preset", "debug", "--window", "6", "--dtype", "float32", "--threads", "1"]
    spawns = ["--spawns", "2", "--spawn-frames", "4"]
    return ["train", *given, "--out", str(folder), *small, *stages, *every, *spawns]


def train_agent_in(shared: Path, folder: Path) -> list[str]:
    """Arguments of an agent's training in real environments."""
    fast = ["--hyperparameters", "n_steps=32", "batch_size=32", "features_dim=16"]
    sizes = ["--steps", "192", "--num-envs", "1", "--save-every", "32", "--eval-every", "0"]
    return ["train-agent", "--env", ENV, "--out", str(folder), *sizes, "--threads", "1", *fast]


def gap_into(shared: Path, folder: Path) -> list[str]:
    """Arguments of a gap report with two workers."""
    worlds = ["--real", ENV, "--dream", "DreamEnv-v0"]
    dream = ["--dream-kwargs", f"checkpoint={shared / 'model'}", "dtype=float32"]
    sizes = ["--spawns", "2", "--horizon", "8", "--clips", "0", "--match-tolerance", "255"]
    agents = ["--agents", "random", "sticky:0.9", "--workers", "2"]
    return ["gap", *worlds, *dream, *sizes, *agents, "--out", str(folder)]


def compare_in(shared: Path, folder: Path) -> list[str]:
    """Arguments of a comparison of two models on rollouts that are there."""
    cells = ["--only", "causal_window", "block_1", "--rollouts", str(shared / "rollouts")]
    return ["compare", "--suite", "debug", *cells, "--out", str(folder)]


def import_into(shared: Path, folder: Path) -> list[str]:
    """Arguments of an import."""
    return ["import", str(shared / "exported"), "--out", str(folder)]


def all_files(folder: Path) -> str:
    """A digest of every byte and every name."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def training_states(folder: Path) -> str:
    """A digest of the checkpoint's weights and of the states that the run would go on from."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes())
    for stage in ("tokenizer", "dynamics"):
        state = torch.load(folder / "training" / f"{stage}.pt", weights_only=True)
        del state["seconds"]
        _add(digest, state)
    return digest.hexdigest()


def agent_weights(folder: Path) -> str:
    """A digest of the saved agent: weights, optimiser, random state, returns of episodes."""
    digest = hashlib.sha256()
    tensors = load_file(folder / "agent.safetensors")
    del tensors["episodes/t"]  # the time of day
    _add(digest, dict(sorted(tensors.items())))
    return digest.hexdigest()


def report(folder: Path) -> str:
    """A digest of a gap report's figures, and of the episodes that it keeps."""
    told = json.loads((folder / "gap.json").read_text("utf-8"))
    del told["command"]  # it names the folder
    return hashlib.sha256(json.dumps(told).encode()).hexdigest() + all_files(folder / "episodes")


def scores(folder: Path) -> str:
    """A digest of what a comparison has measured, without seconds."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("jobs/*/*/scores.json")):
        told = json.loads(path.read_text("utf-8"))
        digest.update(json.dumps([told["cell"], told["fingerprint"], told["tasks"]]).encode())
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        digest.update(value.contiguous().numpy().tobytes())
    elif isinstance(value, dict):
        for key, entry in value.items():
            digest.update(str(key).encode())
            _add(digest, entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            _add(digest, entry)
    else:
        digest.update(repr(value).encode())


def _both_stores(shared: Path) -> list[list[str]]:
    return [collect_into(shared / "train", 120, 1), collect_into(shared / "held_out", 120, 2)]


def _model(shared: Path) -> list[list[str]]:
    return [*_both_stores(shared), train_in(shared, shared / "model")]


def _rollouts_of_the_suite(shared: Path) -> list[list[str]]:
    return [[*compare_in(shared, shared / "prepared"), "--jobs-limit", "0"]]


def _data_set(shared: Path) -> list[list[str]]:
    exported = ["export", str(shared / "train"), "--to", "npz", "--out", str(shared / "exported")]
    return [collect_into(shared / "train", 600, 1), exported]


SUBJECTS = {
    "collect": Subject(lambda _, folder: collect_into(folder, 240, 0), all_files, workers=True),
    "train": Subject(train_in, training_states, _both_stores),
    "train-agent": Subject(train_agent_in, agent_weights, resumed=("--resume",)),
    "gap": Subject(gap_into, report, _model, workers=True),
    "compare": Subject(compare_in, scores, _rollouts_of_the_suite),
    "import": Subject(import_into, all_files, _data_set),
}
"""Name → command."""
