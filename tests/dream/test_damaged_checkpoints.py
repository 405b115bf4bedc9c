"""Checkpoints that somebody else wrote, damaged or replaced: refused, or dreamt from as a whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dreamenv.core.errors import CheckpointError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.loading import load_for_dreaming
from dreamenv.dream.spawns import load_spawns
from dreamenv.dream.trust import Trust
from dreamenv.world_model.checkpoint import load_world_model, read_config, save_world_model


@pytest.fixture
def folder(debug_checkpoint: Path, tmp_path: Path) -> Path:
    copy = shutil.copytree(debug_checkpoint, tmp_path / "model")
    Trust((0.0, 1.0), (1.0, 0.5), about={"steps": 2}).save(copy)
    return copy


def flip(path: Path, place: int, bit: int = 2) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= bit
    path.write_bytes(data)


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """As a version without checksums wrote them, with something changed."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    data = json.loads(path.read_text())
    if path.name == "config.json":  # as if it had been written so
        data.pop("sha256", None)
    change(data)
    path.write_text(json.dumps(data))


def test_a_flipped_bit_in_the_weights_is_noticed(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(len(whole), size=8).tolist():
        flip(path, place)
        with pytest.raises(CheckpointError, match="damaged|does not fit"):
            load_world_model(folder)
        path.write_bytes(whole)
    load_world_model(folder)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_no_numbers_are_refused(folder: Path, value: float) -> None:
    """Whoever wrote them; such a model dreams black."""
    rewrite_weights(folder, lambda tensors: tensors["head.reward.bias"].fill_(value))
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        DreamEnv(folder)


def test_weights_of_an_earlier_version_are_read(folder: Path) -> None:
    before = load_world_model(folder).state_dict()
    rewrite_weights(folder, lambda _: None)
    after = load_world_model(folder).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("head.reward.bias"),
        lambda t: t.update(more=torch.zeros(1)),
        lambda t: t.update({"head.reward.bias": t["head.reward.bias"].long()}),
        lambda t: t.update({"head.reward.bias": t["head.reward.bias"][:1]}),
    ],
)
def test_weights_of_another_model_are_named(folder: Path, change: Callable) -> None:
    rewrite_weights(folder, change)
    with pytest.raises(CheckpointError, match="does not fit config.json beside it: '"):
        load_world_model(folder)


def test_weights_belong_to_one_configuration(folder: Path) -> None:
    """A digit of a reward that has changed would change rewards and nothing else."""
    change_json(
        folder / "config.json",
        lambda data: data["model"]["rewards"]["values"].__setitem__(-1, 1e6),
    )
    with pytest.raises(CheckpointError, match="saved with another configuration"):
        load_world_model(folder)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("dynamics", {"width": 10**12}),
        ("dynamics", {"width": 65_536, "ssm_expand": 65_536}),
        ("dynamics", {"attention_window": 10**9}),
        ("dynamics", {"scan_blocks": [[1, 1]] * 10_000}),
        ("dynamics", {"mlp_ratio": 1e300}),
        ("dynamics", {"mlp_ratio": float("nan")}),
        ("tokenizer", {"widths": [65_536, 65_536, 65_536]}),
        ("tokenizer", {"blocks": [10**6, 1, 1]}),
        ("actions", {"n": 10**30}),
        ("actions", {"n": 0, "low": [-1e300], "high": [1e300]}),
        ("rewards", {"values": [0.0, 10**38, float("inf")]}),
        ("rewards", {"values": [0, 10**40]}),
        ("sampler", {"steps": 10**12}),
    ],
)
def test_a_configuration_that_asks_for_all_memory_is_refused(
    folder: Path, part: str, changes: dict[str, Any]
) -> None:
    change_json(folder / "config.json", lambda data: data["model"][part].update(changes))
    with pytest.raises(CheckpointError):
        load_world_model(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "spawns.npz", "trust.json"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "large", "deep"])
def test_what_stands_where_a_file_should_is_refused_at_once(
    folder: Path, name: str, kind: str
) -> None:
    path = folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(2**40)
    else:
        path.write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=name):
        DreamEnv(folder)


def test_weights_replaced_under_a_running_dream(folder: Path) -> None:
    """A dream keeps the identity of what it dreams with; a new one has that of the new weights."""
    env = DreamEnv(folder, dtype="float32")
    env.reset(seed=0)
    model = load_world_model(folder)
    with torch.no_grad():
        model.head.reward.bias.add_(1)
    about = (folder / "model.safetensors").stat()
    save_world_model(folder, model, {"env_id": "Other-v0"})
    os.utime(folder / "model.safetensors", ns=(about.st_atime_ns, about.st_mtime_ns))
    old = env.get_state()
    assert env.vector.loaded.env_id == "Counting-v0"
    env.set_state(old)
    with pytest.warns(UserWarning, match="made for other weights"):
        new = DreamEnv(folder, dtype="float32")
    new.reset(seed=0)
    assert new.get_state().fingerprint != old.fingerprint
    assert new.vector.loaded.env_id == "Other-v0"
    assert torch.equal(new.vector.loaded.model.head.reward.bias, model.head.reward.bias)


def test_files_that_change_while_they_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of one checkpoint and half of another are never taken for one."""
    from dreamenv.dream import loading as weights

    read, calls = weights.load_checkpoint, []

    def meanwhile(*args: Any) -> Any:
        calls.append(args)
        if len(calls) <= changes:
            change_json(
                folder / "config.json", lambda data: data["provenance"].update(n=len(calls))
            )
        return read(folder)

    monkeypatch.setattr(weights, "load_checkpoint", meanwhile)
    changes = 1
    load_for_dreaming(folder, "cpu")
    assert len(calls) == 2
    changes = 99
    os.utime(folder / "config.json")
    with pytest.raises(CheckpointError, match="changes while it is read"):
        load_for_dreaming(folder, "cpu")


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(actions=s["actions"].astype(float)),
        lambda s: s.update(actions=np.where(s["actions"] < 0, -1, 7)),
        lambda s: s.update(actions=np.where(s["actions"] < 0, -9, s["actions"])),
        lambda s: s.update(actions=np.zeros_like(s["actions"])),
        lambda s: s.update(actions=s["actions"][:3]),
        lambda s: s.update(frames=s["frames"].astype(float)),
        lambda s: s.update(frames=s["frames"][:, :, :32]),
        lambda s: s.update(frames=s["frames"][:, :0], actions=s["actions"][:, :0]),
        lambda s: s.update(frames=s["frames"][:, 0]),
        lambda s: s.update(sources=np.array("[]")),
        lambda s: s.update(sources=np.array("3")),
        lambda s: s.update(sources=np.array(json.dumps([None] * 8))),
        lambda s: s.update(sources=np.array("[" * 5000)),
        lambda s: s.update(sources=np.array([{}] * 8, object)),
        lambda s: s.pop("actions"),
    ],
)
def test_spawns_that_no_model_could_watch_are_refused(folder: Path, change: Callable) -> None:
    with np.load(folder / "spawns.npz") as stored:
        arrays = dict(stored)
    change(arrays)
    np.savez_compressed(folder / "spawns.npz", **arrays)
    with pytest.raises(CheckpointError, match=r"spawns\.npz"):
        load_spawns(folder)


def test_trust_of_other_weights_is_left_aside_with_a_warning(folder: Path) -> None:
    rewrite_weights(folder, lambda tensors: tensors["head.reward.bias"].add_(1))
    with pytest.warns(UserWarning, match="other weights.*copy the checkpoint again"):
        env = DreamEnv(folder)
    assert "trust" not in env.reset(seed=0)[1]
    with pytest.raises(CheckpointError, match="other weights"):
        DreamEnv(folder, min_trust=0.5)


def test_a_changed_digit_of_trust_is_noticed(folder: Path) -> None:
    assert Trust.load(folder).calibrated
    change_json(folder / "trust.json", lambda data: data.update(explained=[1.0, 0.25]))
    with pytest.raises(CheckpointError, match=r"trust\.json is damaged"):
        Trust.load(folder)
    change_json(folder / "trust.json", lambda data: data.pop("sha256"))
    assert Trust.load(folder).explained == (1.0, 0.25)  # as earlier versions wrote it


def test_a_changed_letter_of_the_provenance_is_noticed(folder: Path) -> None:
    path = folder / "config.json"
    whole = path.read_text()
    for one, other in (("Counting-v0", "Counting-v1"), ('"sha256"', '"sha257"')):
        path.write_text(whole.replace(one, other))
        with pytest.raises(CheckpointError, match="not those that were written"):
            read_config(folder)


def test_provenance_is_an_object(folder: Path) -> None:
    change_json(folder / "config.json", lambda data: data.update(provenance=[1]))
    with pytest.raises(CheckpointError, match="not written by this dreamenv"):
        read_config(folder)
