"""Agents to score: they act as Stable-Baselines3 would, and refuse what they cannot do."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import zipfile
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, PPO

from dreamenv.agents import train_agent
from dreamenv.agents.finding import require_trust
from dreamenv.agents.loading import Agent, load_agent, load_sb3
from dreamenv.cli import main
from dreamenv.core.errors import (
    CheckpointError,
    DreamEnvError,
    EnvironmentUsageError,
    MissingDependencyError,
    UntrustedAgentError,
)
from dreamenv.evaluation.gap.config import GapConfig
from dreamenv.evaluation.gap.measure import measure_gap
from dreamenv.evaluation.gap.transfer import Contender
from tests.agents.conftest import frames, small_config

ACTIONS = spaces.Discrete(3)
trusted = partial(load_agent, trust=True)
ALGORITHMS = {"ppo": PPO, "recurrent_ppo": RecurrentPPO}


def starts(steps: int, episodes: int = 4) -> np.ndarray:
    """(T, N): episode 0 starts anew at step 3, all start at step 0."""
    flags = np.zeros((steps, episodes), bool)
    flags[0] = True
    flags[3:4, 0] = True
    return flags


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("algo", list(ALGORITHMS))
@pytest.mark.parametrize("kind", ["plain data", "zip"])
def test_acts_as_the_model_predicts(
    trained: dict[str, Path], zipped: dict[str, Path], algo: str, deterministic: bool, kind: str
) -> None:
    path = zipped[algo] if kind == "zip" else trained[algo]
    agent = trusted(path, ACTIONS, seed=7, deterministic=deterministic)
    assert agent.name == ALGORITHMS[algo].__name__
    model = ALGORITHMS[algo].load(zipped[algo], device="cpu")
    torch.manual_seed(7)
    state = None
    expected = []
    for observation, start in zip(frames(8), starts(8), strict=True):
        action, state = model.predict(
            observation, state, episode_start=start, deterministic=deterministic
        )
        expected.append(action)
    # Others draw from the global generator in between; this changes nothing.
    acted = []
    for observation, start in zip(frames(8), starts(8), strict=True):
        torch.rand(3)
        acted.append(agent.act(observation, start))
    assert np.array_equal(acted, expected)
    assert acted[0].shape == (4,) and acted[0].dtype == np.int64
    agent.reset()
    again = [agent.act(*pair) for pair in zip(frames(8), starts(8), strict=True)]
    assert np.array_equal(again, expected)


@pytest.mark.parametrize("spec", ["random", "sticky:0.5", "ppo"])
def test_reset_with_a_seed_is_as_newly_loaded_with_it(spec: str, trained: dict[str, Path]) -> None:
    def acts(agent: Agent) -> list[np.ndarray]:
        return [agent.act(*pair) for pair in zip(frames(8), starts(8), strict=True)]

    agent, other = (trusted(trained.get(spec, spec), ACTIONS, seed) for seed in (1, 2))
    assert not np.array_equal(acts(agent), acts(other))
    agent.reset(2)
    other.reset()
    assert np.array_equal(acts(agent), acts(other))


def test_acting_leaves_the_global_generator_alone(trained: dict[str, Path]) -> None:
    agent = trusted(trained["ppo"], ACTIONS, seed=7)
    before = torch.get_rng_state()
    agent.act(frames(1)[0], starts(1)[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_memory_is_dropped_where_an_episode_starts(trained: dict[str, Path]) -> None:
    agent = trusted(trained["recurrent_ppo"], ACTIONS, seed=0)
    fresh = trusted(trained["recurrent_ppo"], ACTIONS, seed=0)
    for observation, start in zip(frames(4), starts(4), strict=True):
        agent.act(observation, start)
    fresh.act(frames(4)[3], np.ones(4, bool))
    for remembered, new in zip(agent._memory, fresh._memory, strict=True):
        # (layers, episodes, hidden): episode 0 started at step 3, the others have a past.
        np.testing.assert_allclose(remembered[:, 0], new[:, 0], atol=1e-6)
        assert not np.allclose(remembered[:, 1], new[:, 1], atol=1e-6)


def test_the_number_of_episodes_is_fixed_until_reset(trained: dict[str, Path]) -> None:
    agent = trusted(trained["recurrent_ppo"], ACTIONS, seed=0)
    agent.act(frames(1, 4)[0], np.ones(4, bool))
    with pytest.raises(EnvironmentUsageError, match="remembers 4 episodes.*given 2.*reset"):
        agent.act(frames(1, 2)[0], np.ones(2, bool))
    agent.reset()
    assert agent.act(frames(1, 2)[0], np.ones(2, bool)).shape == (2,)


def test_a_run_folder_or_a_name_without_suffix_is_enough(trained: dict[str, Path]) -> None:
    assert trusted(str(trained["ppo"]), ACTIONS, seed=0).name == "PPO"
    assert trusted(trained["ppo"] / "agent", ACTIONS, seed=0).name == "PPO"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no agent at .*nothing"):
        trusted(tmp_path / "nothing.zip", ACTIONS, seed=0)


def test_files_that_are_no_agents(tmp_path: Path, zipped: dict[str, Path]) -> None:
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(CheckpointError, match="not a zip, or is cut off"):
        trusted(tmp_path / "text.zip", ACTIONS, seed=0)
    whole = zipped["ppo"].read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="not a zip, or is cut off"):
        trusted(tmp_path / "cut.zip", ACTIONS, seed=0)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    (tmp_path / "flipped.zip").write_bytes(flipped)
    with pytest.raises(CheckpointError, match="is damaged at"):
        trusted(tmp_path / "flipped.zip", ACTIONS, seed=0)
    for members in (
        {"data": "{}"},
        {"data": "]", "policy.pth": ""},
        {"data": "[]", "policy.pth": ""},
    ):
        with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as archive:
            for name, text in members.items():
                archive.writestr(name, text)
        with pytest.raises(CheckpointError, match="not an agent saved by Stable-Baselines3"):
            trusted(tmp_path / "foreign.zip", ACTIONS, seed=0)


def test_another_algorithm(tmp_path: Path) -> None:
    A2C("MlpPolicy", "CartPole-v1").save(tmp_path / "a2c.zip")
    with pytest.raises(CheckpointError, match="another algorithm than PPO or RecurrentPPO"):
        trusted(tmp_path / "a2c.zip", spaces.Discrete(2), seed=0)


def test_another_action_space(trained: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match=r"Discrete\(3\).*takes Discrete\(6\)"):
        trusted(trained["ppo"], spaces.Discrete(6), seed=0)


def test_another_observation_shape(trained: dict[str, Path]) -> None:
    larger = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    with pytest.raises(CheckpointError, match=r"shape \(3, 36, 36\).*given shape \(64, 64, 3\)"):
        trusted(trained["ppo"], ACTIONS, seed=0, observation_space=larger)
    agent = trusted(trained["ppo"], ACTIONS, seed=0)
    with pytest.raises(DreamEnvError, match=r"given shape \(64, 64, 3\)"):
        agent.act(np.zeros((2, 64, 64, 3), np.uint8), np.ones(2, bool))


@pytest.fixture(scope="module")
def memory_agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained agent of frames and four features."""
    path = tmp_path_factory.mktemp("memory") / "agent.zip"
    space = spaces.Dict(frame=spaces.Box(0, 255, (36, 36, 3), np.uint8), memory=features(4))
    PPO("MultiInputPolicy", SpaceEnv(space), n_steps=2, batch_size=2, device="cpu").save(path)
    return path


def features(size: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, (size,), np.float32)


class SpaceEnv(gymnasium.Env):
    """Has spaces."""

    action_space = ACTIONS

    def __init__(self, space: spaces.Space) -> None:
        self.observation_space = space


def test_an_agent_with_memory_acts_on_dictionaries(memory_agent: Path) -> None:
    agent = trusted(memory_agent, ACTIONS, seed=0)
    assert (agent.observation, trusted("random", ACTIONS, 0).observation) == ("memory", "frame")
    memory = np.zeros((4, 4), np.float32)
    first = agent.act({"frame": frames(1)[0], "memory": memory}, np.ones(4, bool))
    assert first.shape == (4,) and first.dtype == np.int64
    model = PPO.load(memory_agent, device="cpu")
    torch.manual_seed(0)
    expected, _ = model.predict({"frame": frames(1)[0], "memory": memory})
    assert np.array_equal(first, expected)


def test_another_observation_mode(memory_agent: Path, trained: dict[str, Path]) -> None:
    frame = spaces.Box(0, 255, (36, 36, 3), np.uint8)
    start = np.ones(4, bool)
    with pytest.raises(CheckpointError, match="memory.*given shape.*observation='memory'.*WithMem"):
        trusted(memory_agent, ACTIONS, seed=0, observation_space=frame)
    with pytest.raises(CheckpointError, match="observation='memory'"):
        trusted(memory_agent, ACTIONS, seed=0).act(frames(1)[0], start)
    both = {"frame": frames(1)[0], "memory": np.zeros((4, 5), np.float32)}
    with pytest.raises(CheckpointError, match="the shapes frame .*memory .*leave out observation"):
        trusted(trained["ppo"], ACTIONS, seed=0).act(both, start)
    with pytest.raises(CheckpointError, match=r"memory \(5,\); take the memory of the world model"):
        trusted(memory_agent, ACTIONS, seed=0).act(both, start)
    larger = spaces.Dict(frame=spaces.Box(0, 255, (64, 64, 3), np.uint8), memory=features(4))
    with pytest.raises(CheckpointError, match="choose an agent trained in"):
        trusted(memory_agent, ACTIONS, seed=0, observation_space=larger)


def test_missing_extra(
    trained: dict[str, Path], zipped: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    for path in (trained["ppo"], zipped["ppo"]):
        with pytest.raises(MissingDependencyError, match=r'sb3_contrib.*"dreamenv\[agents\]"'):
            trusted(path, ACTIONS, seed=0)
    assert trusted("random", ACTIONS, seed=0).name == "random"


class Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "ran")


@pytest.fixture
def planted(trained: dict[str, Path], tmp_path: Path) -> Path:
    """An agent whose author runs code where it is loaded."""
    model = load_sb3(trained["ppo"])
    model.planted = Planted(tmp_path / "ran")  # type: ignore[attr-defined]
    model.save(tmp_path / "planted.zip")
    return tmp_path / "planted.zip"


def test_nothing_in_a_saved_agent_runs_unless_its_author_is_trusted(
    planted: Path, tmp_path: Path
) -> None:
    with pytest.raises(UntrustedAgentError, match="runs whatever code its author put.*--trust"):
        load_agent(planted, ACTIONS, seed=0)
    ran = tmp_path / "ran"
    assert not ran.exists()
    trusted(planted, ACTIONS, seed=0)
    assert ran.exists(), "so the trap works"
    assert load_agent("random", ACTIONS, seed=0).name == "random"
    require_trust(["random", "sticky:0.5"], trust=False)


def test_a_gap_report_runs_no_saved_agent_unless_told(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither one that is reported, of the population nor one for transfer; on the command line."""
    for given in (
        {"agents": (str(planted),)},
        {"agents": ("random",), "population": (str(planted),)},
        {"agents": ("random",), "transfer": (Contender("x", str(planted)),)},
    ):
        with pytest.raises(UntrustedAgentError):
            measure_gap(GapConfig(real="Colour-v0", **given))  # type: ignore[arg-type]
    command = ["gap", "--agents", str(planted), "--real", "Colour-v0", "--out", str(tmp_path / "x")]
    assert main(command) == 2
    assert "--trust-agent" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_a_run_of_version_0_1_is_resumed_only_if_its_agent_is_trusted(
    planted: Path, tmp_path: Path
) -> None:
    run = small_config(out=tmp_path / "run", steps=64)
    train_agent(run).unlink()
    shutil.copy(planted, tmp_path / "run" / "agent.zip")
    with pytest.raises(UntrustedAgentError):
        train_agent(dataclasses.replace(run, steps=128, resume=True, trust_agent=False))
    assert not (tmp_path / "ran").exists()


def test_a_zip_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("policy.pth", b"")
        archive.writestr("data", bytes(100 * 2**20))
    with pytest.raises(CheckpointError, match="unpacks to"):
        trusted(tmp_path / "bomb.zip", ACTIONS, seed=0)


def test_agents_whose_description_would_choke_a_reader_are_refused(tmp_path: Path) -> None:
    for text in ("[" * 100_000, "9" * 10_000, "{" + '"a": {' * 200 + "}" * 201):
        with zipfile.ZipFile(tmp_path / "agent.zip", "w") as archive:
            archive.writestr("policy.pth", b"")
            archive.writestr("data", text)
        with pytest.raises(CheckpointError, match="not an agent saved by Stable-Baselines3"):
            trusted(tmp_path / "agent.zip", ACTIONS, seed=0)
