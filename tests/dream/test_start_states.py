"""Spawns are watched once, kept while there is room, and never changed by dreams from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dreamenv.dream.spawns import Spawns
from dreamenv.dream.start_states import StartStates, observe_contexts
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.world_model.config import ActionConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.presets import preset


@pytest.fixture(scope="module")
def model() -> WorldModel:
    torch.manual_seed(0)
    return WorldModel(preset("debug", actions=ActionConfig(n=3))).eval()


def some_spawns(model: WorldModel, count: int) -> Spawns:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (count, 3, *model.config.frame_size, 3), dtype=np.uint8)
    actions = rng.integers(0, 3, (count, 3))
    actions[:, 0] = -1
    return Spawns(frames, actions, [{}] * count)


def test_each_is_watched_once_while_there_is_room(
    model: WorldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawns, watched, observe = some_spawns(model, 4), [], model.observe

    def counting(state, frames, actions):  # type: ignore[no-untyped-def]
        watched.append(int(frames[0, 0, 0, 0, 0]))
        return observe(state, frames, actions)

    monkeypatch.setattr(model, "observe", counting)
    names = spawns.frames[:, 0, 0, 0, 0].tolist()
    size = observe_contexts(model, spawns, [0]).nbytes
    watched.clear()
    kept = StartStates(model, spawns, room=2 * size)
    for spawn in (0, 1, 0, 1, 0):
        kept[spawn]
    assert watched == [names[0], names[1]]
    kept[2]  # 1 was not asked for longest
    kept[0]
    assert watched == [names[0], names[1], names[2]]
    kept[1]
    assert watched[3:] == [names[1]]
    tight = StartStates(model, spawns, room=0)
    tight[3], tight[3]
    assert watched[4:] == [names[3]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_kept_takes_the_bytes_that_are_counted(
    model: WorldModel, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those of all the frames that were watched, of which the memory is the last."""
    monkeypatch.setattr(model, "compute_dtype", dtype)
    kept = StartStates(model, some_spawns(model, 3))
    for spawn in range(3):
        memory, features = kept[spawn]
        tensors = [features, *(tensor for _, tensor in memory.named_tensors())]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        assert sum(storages.values()) == kept[spawn].nbytes
        assert kept[spawn].nbytes == model.initial_state(1).nbytes + features.nbytes
        assert len(storages) == 2, "many blocks leave holes"
        watched, _ = observe_contexts(model, kept.spawns, [spawn])
        for (name, one), (_, other) in zip(
            memory.named_tensors(), watched.named_tensors(), strict=True
        ):
            assert one.dtype == other.dtype and torch.equal(one, other), name


def test_dreams_leave_it_as_it_was(bundled_dream: DreamVectorEnv) -> None:
    """The second dream from a spawn is the first again, though slots are overwritten in place."""
    env = bundled_dream
    actions = np.random.default_rng(0).integers(0, 6, (4, 2))

    def episode() -> list[np.ndarray]:
        first, _ = env.reset(seed=7, options={"spawn": [3, 5]})
        return [first, *(env.step(a)[0] for a in actions)]

    one, other = episode(), episode()
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert not np.array_equal(one[0], one[-1])


@pytest.fixture(scope="module")
def bundled_dream() -> DreamVectorEnv:
    return DreamVectorEnv(2, horizon=100)
