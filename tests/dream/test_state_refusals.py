"""States that are of other weights, of other sizes, or no states at all, are refused."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dreamenv.core.errors import CheckpointError, EnvironmentUsageError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.state import DreamState
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.world_model.checkpoint import load_world_model, save_world_model
from tests.dream.stateful import SLOTS, begin


def test_a_state_of_other_weights_is_refused(debug_checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(debug_checkpoint, tmp_path / "model")
    model = load_world_model(folder)
    with torch.no_grad():
        model.head.reward.bias.add_(1)
    save_world_model(folder, model, {"env_id": "Counting-v0"})
    state = begin(debug_checkpoint).get_state()
    for env in (DreamVectorEnv(SLOTS, folder), DreamEnv(folder)):
        env.reset(seed=0)
        with pytest.raises(EnvironmentUsageError, match="dreamt by other weights"):
            env.set_state(state)
    pickled = pickle.dumps(begin(folder))
    shutil.copy(debug_checkpoint / "model.safetensors", folder)
    with pytest.raises(EnvironmentUsageError, match="dreamt by other weights"):
        pickle.loads(pickled)


def test_misuse_is_explained(debug_checkpoint: Path) -> None:
    env, single = DreamVectorEnv(2, debug_checkpoint), DreamEnv(debug_checkpoint)
    for ask in (env.get_state, single.get_state, lambda: env.fork(2), lambda: single.fork(2)):
        with pytest.raises(EnvironmentUsageError, match=r"no state before reset\(\)"):
            ask()
    env.reset(seed=0)
    single.reset(seed=0)
    for n in (0, -1):
        for fork in (env.fork, single.fork, env.get_state().repeat):
            with pytest.raises(EnvironmentUsageError, match=f"forks into 1 or more, not {n}"):
                fork(n)
    with pytest.raises(EnvironmentUsageError, match=r"has 1 slots, the environment 2; take some"):
        env.set_state(single.get_state())
    with pytest.raises(EnvironmentUsageError, match="holds 2 dreams, this is one; take one"):
        single.set_state(env.get_state())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def of_another_version(path: Path) -> None:
    state = DreamState.load(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dreamenv.dream.state.VERSION", 7)
        state.save(path)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (Path.unlink, "no saved dream at"),
        (cut, "is no saved dream, or damaged"),
        (lambda path: path.write_bytes(b"nothing"), "is no saved dream, or damaged"),
        (of_another_version, "its version is 7, not 1"),
    ],
)
def test_files_that_are_no_states(
    debug_checkpoint: Path, tmp_path: Path, harm: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "dream"
    begin(debug_checkpoint).get_state().save(path)
    harm(path)
    with pytest.raises(CheckpointError, match=message):
        DreamState.load(path)
    with pytest.raises(CheckpointError, match="is no saved dream, or damaged"):
        DreamState.load(debug_checkpoint / "model.safetensors")
