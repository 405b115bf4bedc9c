"""Trained agents collect rollouts: recurrent ones and those that observe memory, too."""

from __future__ import annotations

import shutil
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from counting_env import CountingEnv
from stable_baselines3 import PPO

import dreamenv
from dreamenv.agents.collecting import AgentPolicy, SavedAgents, agent_identity
from dreamenv.agents.loading import load_agent
from dreamenv.cli.collect import parse_mixture
from dreamenv.core.errors import (
    CheckpointError,
    ConfigError,
    RolloutError,
    UntrustedAgentError,
)
from dreamenv.dream.memory import WithMemory
from dreamenv.rollouts.collect import collect
from dreamenv.rollouts.policies import make_policy
from dreamenv.rollouts.recording import record_episode
from dreamenv.rollouts.store import RolloutStore
from tests.agents.colour_env import ColourEnv

ENV = "tests.agents.registered_colours:RandomColour-v0"


def gather(
    path: Path, agent: Path | str, frames: int = 40, workers: int = 1, trust: bool = True,
    memory: str = "",
) -> bool:  # fmt: skip
    return collect(
        ENV, frames, {f"agent:{agent}": 2.0, "uniform": 1.0}, workers, path, 3,
        progress=False, agents=SavedAgents(trust, memory),
    )  # fmt: skip


def expected_actions(agent: Path, episode, seed: int) -> np.ndarray:
    """What the agent, newly loaded, does in an episode of those frames."""
    player = load_agent(agent, ColourEnv.action_space, seed, trust=True)
    first = np.arange(len(episode)) == 0
    frames = zip(episode.observation[:-1], first, strict=True)
    return np.array([player.act(frame[None], np.array([start]))[0] for frame, start in frames])


@pytest.mark.parametrize("algo", ["ppo", "recurrent_ppo"])
def test_an_agent_acts_as_it_does_anywhere(trained: dict[str, Path], algo: str) -> None:
    policy = AgentPolicy(str(trained[algo]), trust=True)
    for seed in (7, 8, 7):  # the same again after another episode: nothing is carried over
        episode = record_episode(ColourEnv(random=True), policy, seed, seed)
        assert np.array_equal(episode.action, expected_actions(trained[algo], episode, seed))


def test_agents_of_smaller_frames_are_shown_resized_ones(trained: dict[str, Path]) -> None:
    policy = AgentPolicy(str(trained["ppo"]), trust=True)
    episode = record_episode(ColourEnv(size=72), policy, 1, 1)
    assert episode.observation.shape[1:] == (72, 72, 3)
    episode.observation = episode.observation[:, ::2, ::2]
    assert np.array_equal(episode.action, expected_actions(trained["ppo"], episode, 1))


def test_collecting_with_an_agent_is_the_same_with_any_number_of_workers(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    agent = trained["recurrent_ppo"]
    assert gather(tmp_path / "one", agent, 60)
    assert gather(tmp_path / "two", agent, 20, 2)
    assert gather(tmp_path / "two", agent, 60, 2)
    one, two = RolloutStore(tmp_path / "one"), RolloutStore(tmp_path / "two")
    assert set(one.policies) == {"uniform", f"agent:{agent}"}
    assert one.num_episodes == two.num_episodes
    for i in range(one.num_episodes):
        assert np.array_equal(one.read(i).action, two.read(i).action)
    assert (tmp_path / "one" / "episodes.jsonl").read_bytes() == (
        tmp_path / "two" / "episodes.jsonl"
    ).read_bytes()


def test_the_store_knows_its_agent_and_is_not_continued_with_another(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    agent = tmp_path / "agent.safetensors"
    shutil.copy(trained["ppo"] / "agent.safetensors", agent)
    assert gather(tmp_path / "s", agent, 20)
    stored = RolloutStore(tmp_path / "s").metadata["collect"]["agents"]
    assert stored == {f"agent:{agent}": agent_identity(str(agent))}
    shutil.copy(trained["recurrent_ppo"] / "agent.safetensors", agent)
    with pytest.raises(RolloutError, match="was collected with agents = .*sha256"):
        gather(tmp_path / "s", agent, 40)
    with pytest.raises(ConfigError, match="was replaced while it collected"):
        AgentPolicy(str(agent), identity=stored[f"agent:{agent}"]).prepare(ColourEnv())


def test_zips_run_code_and_so_must_be_trusted(zipped: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UntrustedAgentError, match="--trust-agent"):
        gather(tmp_path / "s", zipped["ppo"], trust=False)
    with pytest.raises(UntrustedAgentError):
        AgentPolicy(str(zipped["ppo"])).prepare(ColourEnv())
    assert not (tmp_path / "s").exists()


def test_the_front_door_loads_agents_and_rollouts_know_of_none(tmp_path: Path) -> None:
    """Which they load only if somebody hands in who does."""
    arguments = (ENV, 20, "agent:sticky:0.5", 1, tmp_path / "s", 3)
    with pytest.raises(RolloutError, match="is an agent, and nothing was handed in that loads"):
        collect(*arguments, progress=False)
    with pytest.raises(RolloutError, match="is an agent, and nothing was handed in that loads"):
        make_policy("agent:sticky:0.5")
    assert dreamenv.collect(*arguments, progress=False)
    stored = RolloutStore(tmp_path / "s").metadata["collect"]["agents"]
    assert stored == {"agent:sticky:0.5": {"scripted": "sticky:0.5"}}


def test_scripted_agents_need_no_trust() -> None:
    policy = AgentPolicy("sticky:0.5")
    assert len(record_episode(ColourEnv(), policy, 1, 1)) == 16
    assert agent_identity("sticky:0.5") == {"scripted": "sticky:0.5"}


def test_what_does_not_fit_is_said_before_anything_is_recorded(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="no agent at"):
        gather(tmp_path / "s", tmp_path / "nothing")
    with pytest.raises(RolloutError, match="no policy observes a world model's memory"):
        gather(tmp_path / "s", trained["ppo"], memory="bundled:memory_maze_9x9")
    with pytest.raises(RolloutError, match="--agent-memory is for agents"):
        collect(ENV, 20, "uniform", 1, tmp_path / "s", agents=SavedAgents(memory="x"))
    with pytest.raises(CheckpointError, match=r"Discrete\(3\).*takes Discrete\(5\)"):
        AgentPolicy(str(trained["ppo"]), trust=True).prepare(CountingEnv())
    assert not (tmp_path / "s").exists()


@pytest.fixture
def memory_agent(tmp_path: Path, debug_checkpoint: Path) -> Path:
    """An untrained agent that observes frames and the memory of a debug world model."""

    class Spaces(gymnasium.Env):
        action_space = CountingEnv().action_space
        observation_space = WithMemory(CountingEnv(), debug_checkpoint, "cpu").observation_space

    path = tmp_path / "memory.zip"
    PPO("MultiInputPolicy", Spaces(), n_steps=2, batch_size=2, device="cpu").save(path)
    return path


def test_an_agent_that_observes_memory(memory_agent: Path, debug_checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="observes what a world model remembers.*--agent-memory"):
        AgentPolicy(str(memory_agent), trust=True).prepare(CountingEnv())
    policy = AgentPolicy(str(memory_agent), str(debug_checkpoint), trust=True)
    env = WithMemory(CountingEnv(length=6), debug_checkpoint, "cpu", "float32")
    for seed in (5, 6):
        episode = record_episode(CountingEnv(length=6), policy, seed, seed)
        player = load_agent(memory_agent, env.action_space, seed, trust=True)
        observation, _ = env.reset(seed=seed)
        for step, action in enumerate(episode.action):
            batch = {name: value[None] for name, value in observation.items()}
            assert player.act(batch, np.array([step == 0]))[0] == action
            observation, *_ = env.step(action)
    identity = agent_identity(str(memory_agent), str(debug_checkpoint))
    assert set(identity) == {"sha256", "memory_sha256"}


def test_paths_with_equals_signs(trained: dict[str, Path], tmp_path: Path) -> None:
    whole = tmp_path / "lr=0.1"
    shutil.copy(trained["ppo"] / "agent.safetensors", tmp_path / "lr=0.1.safetensors")
    assert parse_mixture([f"agent:{whole}", "sticky=2"]) == {f"agent:{whole}": 1.0, "sticky": 2.0}
    assert parse_mixture([f"agent:{whole}=0.3"]) == {f"agent:{whole}": 0.3}
    shutil.copy(trained["ppo"] / "agent.safetensors", tmp_path / "lr.safetensors")
    hub = "agent:hf://ann/walker"
    assert parse_mixture([f"{hub}=0.3", f"{hub}@v1"]) == {hub: 0.3, f"{hub}@v1": 1.0}
    with pytest.raises(RolloutError, match="is the name of an agent, and .* is too"):
        parse_mixture([f"agent:{whole}"])
