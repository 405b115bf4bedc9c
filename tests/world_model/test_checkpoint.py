"""A checkpoint folder: all comes back, what is broken is named, nothing is half-written."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dreamenv.core.errors import CheckpointError
from dreamenv.world_model.checkpoint import load_world_model, read_config, save_world_model
from dreamenv.world_model.config import ActionConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.tensor_files import pack_tensors, unpack_tensors
from tests.world_model.models import (
    random_actions,
    random_frames,
    randomise,
    tiny_config,
)

PROVENANCE = {"env_id": "Counting-v0", "episodes": 3}


def make_model(seed: int = 0, **fields: object) -> WorldModel:
    torch.manual_seed(seed)
    model = WorldModel(tiny_config(**fields))  # type: ignore[arg-type]
    randomise(model, seed)
    model.tokenizer.latent_mean.fill_(0.3)
    model.dynamics.change.fill_(0.7)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete checkpoint."""
    save_world_model(tmp_path / "model", make_model(), PROVENANCE, card="# Card\n")
    return tmp_path / "model"


def test_everything_comes_back(folder: Path) -> None:
    model, loaded = make_model(), load_world_model(folder)
    assert loaded.config == model.config
    assert read_config(folder) == (model.config, PROVENANCE)
    assert (folder / "card.md").read_text() == "# Card\n"
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    state = loaded.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]) and value.dtype == state[name].dtype, name
    assert {p.name for p in folder.iterdir()} == {"card.md", "config.json", "model.safetensors"}


def test_half_size_matrices_stay_close(folder: Path, tmp_path: Path) -> None:
    model = make_model()
    save_world_model(tmp_path / "half", model, PROVENANCE, matrix_dtype=torch.bfloat16)
    loaded = load_world_model(tmp_path / "half")
    full, half = ((f / "model.safetensors").stat().st_size for f in (folder, tmp_path / "half"))
    assert half < 0.75 * full  # a tiny model is mostly names and vectors
    for name, value in model.state_dict().items():
        other = loaded.state_dict()[name]
        assert other.dtype == value.dtype
        if value.ndim > 1:
            torch.testing.assert_close(other, value, rtol=1e-2, atol=0)
        else:
            assert torch.equal(other, value), name


def test_config_is_plain_data(folder: Path) -> None:
    data = json.loads((folder / "config.json").read_text())
    assert data["model"]["format_version"] == 1
    assert set(data) == {"model", "provenance", "sha256"}


def write_config(folder: Path, text: str | bytes) -> None:
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())


def change_config(folder: Path, change: Callable[[dict], object]) -> None:
    """As if it had been written so: without the checksum of what it was."""
    data = json.loads((folder / "config.json").read_text())
    del data["sha256"]
    change(data)
    write_config(folder, json.dumps(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign_weights(folder: Path) -> None:
    save_world_model(folder.parent / "other", make_model(dynamics={"width": 16}), PROVENANCE)
    shutil.copy(folder.parent / "other" / "model.safetensors", folder)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (shutil.rmtree, "holds no world model.*dreamenv train"),
        (lambda f: (f / "config.json").unlink(), "holds no world model"),
        (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors; copy the whole"),
        (lambda f: truncate(f / "config.json"), "not written by this dreamenv"),
        (lambda f: truncate(f / "model.safetensors"), "damaged or cut short.*copy it again"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "damaged or cut short"),
        (lambda f: (f / "model.safetensors").write_bytes(os.urandom(999)), "damaged or cut"),
        (lambda f: write_config(f, os.urandom(99)), "not written by this dreamenv"),
        (lambda f: write_config(f, "[1, 2]"), "not written by this dreamenv"),
        (lambda f: write_config(f, '"text"'), "not written by this dreamenv"),
        (lambda f: write_config(f, "null"), "not written by this dreamenv"),
        (lambda f: write_config(f, '{"model_type": "llama"}'), "not written by this dreamenv"),
        (lambda f: write_config(f, '{"model": 3, "provenance": {}}'), "not written by this"),
        (lambda f: change_config(f, lambda d: d.pop("provenance")), "not written by this"),
        (lambda f: change_config(f, lambda d: d["model"].update(format_version=9)), "version 9"),
        (
            lambda f: change_config(f, lambda d: d["model"]["dynamics"].update(ssm_conv=4)),
            "does not fit config.json",
        ),
        (foreign_weights, "does not fit config.json"),
    ],
)
def test_broken_checkpoints_are_named(
    folder: Path, harm: Callable[[Path], object], message: str
) -> None:
    harm(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_world_model(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_full_disk_leaves_the_old_checkpoint_whole(
    folder: Path, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the three files fails: every file is old or new as a whole, and all load."""
    old = load_world_model(folder).state_dict()
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == failing + 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_world_model(folder, make_model(1), PROVENANCE | {"episodes": 4}, card="# New\n")
    monkeypatch.undo()
    assert {p.name for p in folder.iterdir()} == {"card.md", "config.json", "model.safetensors"}
    found = load_world_model(folder).state_dict()
    new = make_model(1).state_dict()
    assert all(torch.equal(found[k], (new if failing else old)[k]) for k in found)
    assert read_config(folder)[1] == PROVENANCE


def test_a_kill_before_the_rename_leaves_the_old_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_world_model(folder, make_model(1), PROVENANCE)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_loaded_box_model_dreams_as_the_saved_one(tmp_path: Path) -> None:
    """Bounds of actions live in the configuration, not in the weights."""
    model = make_model(actions=ActionConfig(low=(-2.0,), high=(6.0,))).eval()
    save_world_model(tmp_path, model, PROVENANCE)
    loaded = load_world_model(tmp_path)
    frames = random_frames(model.config, 1, 2, 0)
    actions = random_actions(1, 2, 0).float().unsqueeze(-1)
    outcomes = [m.observe(m.initial_state(1), frames, actions)[1] for m in (model, loaded)]
    assert torch.equal(outcomes[0].continuation, outcomes[1].continuation)


def test_equal_tensors_make_equal_files() -> None:
    """A run that was killed and resumed is compared with the unbroken one byte by byte."""
    files = {pack_tensors({"x": torch.ones(3)}, {"config": "a", "more": "b"}) for _ in range(20)}
    assert len(files) == 1
    tensors, about = unpack_tensors(files.pop())
    assert torch.equal(tensors["x"], torch.ones(3)) and about == {"config": "a", "more": "b"}
