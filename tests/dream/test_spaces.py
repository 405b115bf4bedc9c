"""A dream's actions are those of the environment it learned: start, shape, dtype and bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counting_env import CountingEnv
from gymnasium.spaces import Box, Discrete, Space
from gymnasium.vector import SyncVectorEnv

from dreamenv.core.errors import ConfigError, EnvironmentUsageError, RolloutError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.memory import WithMemory, WithMemoryVector
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.real.replayed import SpawnedEnv
from dreamenv.rollouts.actions import fit_actions, to_model
from dreamenv.rollouts.policies import make_policy
from dreamenv.rollouts.spaces import space_from_dict, space_to_dict
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.worker import record_episode
from dreamenv.rollouts.writer import RolloutWriter
from dreamenv.training.config import TrainConfig
from dreamenv.training.fit_config import model_config
from dreamenv.world_model.checkpoint import load_world_model, save_world_model
from dreamenv.world_model.config import ActionConfig, WorldModelConfig
from tests.conftest import save_debug_checkpoint

STEPS = 40
SPACES: dict[str, Any] = {
    "starts at 1": Discrete(4, start=1),
    "starts below 0": Discrete(3, start=-1, dtype=np.int32),
    "two by two": Box(np.array([[-1, 0], [-2, 0.5]], np.float32), np.float32(3), (2, 2)),
    "float64": Box(0.1, 0.3, (2,), np.float64),
    "integers": Box(np.array([0, -7]), np.array([255, 9]), dtype=np.int16),
    "a scalar": Box(-0.5, 2.0, (), np.float32),
}


class AnyActions(CountingEnv):
    """Counts, insists on its action space as the strictest environments do, and keeps actions."""

    def __init__(self, space: Space) -> None:
        super().__init__(length=STEPS)
        self.action_space, self.played = space, []  # type: ignore[assignment, var-annotated]

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        plain = isinstance(action, int)
        assert self.action_space.contains(action if plain else np.asarray(action)), repr(action)
        self.played.append(np.array(action))
        frame, *rest = super().step(action)
        return frame.copy(), *rest  # type: ignore[return-value]


@pytest.fixture(scope="module", params=SPACES)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[AnyActions, Path, Path]:
    """An environment, rollouts of it, and a world model of its actions."""
    real, folder = AnyActions(SPACES[request.param]), tmp_path_factory.mktemp("world")
    with RolloutWriter(
        folder / "store", "Counting-v0", real.observation_space, real.action_space
    ) as writer:
        writer.append(record_episode(real, make_policy("uniform"), 1, 1))
    return real, folder / "store", save_debug_checkpoint(folder / "model", folder / "store")


def test_the_dream_takes_the_actions_of_its_environment(
    world: tuple[AnyActions, Path, Path],
) -> None:
    real, _, checkpoint = world
    one, several = DreamEnv(checkpoint), DreamVectorEnv(3, checkpoint)
    for space in (one.action_space, several.single_action_space):
        assert space == real.action_space and space.dtype == real.action_space.dtype
        assert type(space) is type(real.action_space) and space.shape == real.action_space.shape
    for seed, env in enumerate((one, several)):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        real.reset(seed=seed)
        for _ in range(3):
            action = env.action_space.sample()
            env.step(action)
            for single in (action,) if env is one else action:
                real.step(single)  # whatever is taken here is taken there
    for env in (one, several):
        with pytest.raises(EnvironmentUsageError):
            env.step(np.asarray(env.action_space.sample()) + 300)


def test_rollouts_keep_what_was_played(world: tuple[AnyActions, Path, Path]) -> None:
    real, store, _ = world
    real.played.clear()
    record_episode(real, make_policy("uniform"), 1, 1)
    stored = RolloutStore(store).read(0).action
    assert np.array_equal(stored, real.played)
    discrete = isinstance(real.action_space, Discrete)
    assert stored.dtype == (np.int64 if discrete else real.action_space.dtype)
    real.played.clear()
    source = {"seed": 1, "actions": stored[:20].tolist()}
    SpawnedEnv(real).reset(options={"source": source})
    assert np.array_equal(real.played, stored[:20])


def test_memory_and_contexts_take_the_environments_own_actions(
    world: tuple[AnyActions, Path, Path],
) -> None:
    """A dream from a context remembers what an agent's memory does that watched the same."""
    real, _, checkpoint = world
    watching = WithMemory(real, checkpoint, dtype="float32")
    frames, actions = [watching.reset(seed=5)[0]["frame"]], []
    real.action_space.seed(7)
    for _ in range(5):
        actions.append(real.action_space.sample())
        observation = watching.step(actions[-1])[0]
        frames.append(observation["frame"])
    dream = DreamEnv(checkpoint, observation="memory", dtype="float32")
    context = {"context": np.stack(frames), "actions": np.stack(actions)}
    remembered = dream.reset(seed=0, options=context)[0]["memory"]
    assert np.allclose(remembered, observation["memory"], atol=1e-4)
    other = {**context, "actions": np.stack(actions)[::-1]}
    assert not np.allclose(dream.reset(options=other)[0]["memory"], remembered, atol=1e-4)
    both = SyncVectorEnv([lambda: AnyActions(real.action_space)] * 2)
    together = WithMemoryVector(both, checkpoint, dtype="float32")
    together.reset(seed=[5, 5])
    for action in actions:
        shown = together.step(np.stack([action, action]))[0]
    assert np.allclose(shown["memory"][1], remembered, atol=1e-4)


def test_a_checkpoint_of_earlier_versions_dreams_as_before(debug_checkpoint: Path) -> None:
    data = json.loads((debug_checkpoint / "config.json").read_text())["model"]
    for name in ("start", "shape", "dtype"):
        del data["actions"][name]
    assert WorldModelConfig.from_dict(data).actions == ActionConfig(n=5)
    box = {"n": 0, "low": [-1.0, 0.0], "high": [1.0, 2.0]}
    old = WorldModelConfig.from_dict({**data, "actions": box}).actions
    assert space_from_dict(old.space()) == Box(np.float32([-1, 0]), np.float32([1, 2]))


@pytest.mark.parametrize("space", SPACES.values(), ids=list(SPACES))
def test_spaces_survive_as_plain_data(space: Space) -> None:
    plain = json.loads(json.dumps(space_to_dict(space)))
    config = ActionConfig.of(plain)
    again = space_from_dict(json.loads(json.dumps(config.space())))
    assert space_from_dict(plain) == again == space and again.dtype == space.dtype
    if isinstance(space, Box):
        assert np.array_equal(again.low, space.low)  # to the last bit


def test_the_border_converts_and_refuses() -> None:
    start = Discrete(4, start=1)
    assert to_model(start, np.array([1, 4])).tolist() == [0, 3]
    for wrong in (0, 5, 1.0, True, "left", None, [1, 2], np.array([1])):
        assert fit_actions(start, wrong) is None
    small = Box(0, 200, (2,), np.uint8)
    assert fit_actions(small, [0, 200]).dtype == np.uint8  # type: ignore[union-attr]
    for wrong in ([0, 256], [-1, 0], [0.0, 1.0], [0], [[0, 1]], [[0], [1, 2]]):
        assert fit_actions(small, wrong) is None
    # An agent of either precision reaches the bounds of the other, and not beyond.
    for dtype, other in ((np.float32, np.float64), (np.float64, np.float32)):
        space = Box(0.1, 0.7, (1,), dtype)
        for bound in (space.low, space.high):
            fitting = fit_actions(space, bound.astype(other))
            assert fitting is not None and space.contains(fitting)
        assert fit_actions(space, np.array([0.71], other)) is None
        assert fit_actions(space, np.array([np.nan], other)) is None
    assert to_model(Box(0, 1, ()), np.zeros(3, np.float32)).shape == (3, 1)
    assert to_model(Box(0, 1, (2, 2)), np.zeros((3, 5, 2, 2))).shape == (3, 5, 4)


@pytest.mark.parametrize(
    "changes",
    [
        {"low": (0.0,), "high": (1.0,), "shape": (2,)},
        {"low": (0.0,), "high": (1.0,), "start": 1},
        {"low": (0.0,), "high": (1.0,), "dtype": "complex64"},
        {"n": 3, "dtype": "float32"},
    ],
)
def test_contradicting_action_vocabularies_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ActionConfig(**changes)


def test_a_model_is_trained_only_on_actions_that_can_be_dreamt(counting_store: Path) -> None:
    store = RolloutStore(counting_store)  # as earlier versions collected it
    store.action_space = Box(-np.inf, np.inf, (2,), np.float32)
    with pytest.raises(RolloutError, match="no bounds.*TransformAction"):
        model_config(TrainConfig("", "", "", preset="debug"), store, store)


def test_fine_tuning_takes_over_the_space_of_the_rollouts(
    tmp_path: Path, world: tuple[AnyActions, Path, Path]
) -> None:
    """A checkpoint that was made before spaces travelled with the weights."""
    real, store, checkpoint = world
    model = load_world_model(checkpoint)
    data = model.config.to_dict()
    for name in ("start", "shape", "dtype"):
        del data["actions"][name]
    model.config = WorldModelConfig.from_dict(data)
    save_world_model(tmp_path / "old", model, {"env_id": "Counting-v0"})
    run = TrainConfig("", "", "", preset="debug", weights_from=str(tmp_path / "old"))
    found = model_config(run, RolloutStore(store), RolloutStore(store))
    assert space_from_dict(found.actions.space()) == real.action_space
