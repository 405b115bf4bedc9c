"""World models and agents go to the hub and come back whole; what is fetched is only data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gymnasium
import pytest
import torch
from gymnasium import spaces

from dreamenv import WorldModel, load_agent, load_sb3, load_world_model, push_to_hub
from dreamenv.cli import main
from dreamenv.core import hub as ours
from dreamenv.core.errors import CheckpointError, ConfigError
from dreamenv.world_model.checkpoint import checkpoint_folder
from tests.agents.conftest import frames
from tests.hub_stand_in import StandIn


def test_a_world_model_comes_back_whole(
    hub: StandIn, debug_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "maze"
    shutil.copytree(debug_checkpoint, folder)
    (folder / "training").mkdir(exist_ok=True)
    (folder / "training" / "secret.pt").write_bytes(b"private")
    assert main(["push", str(folder), "--to", "ann/maze", "--license", "mit"]) == 0
    name = capsys.readouterr().out.split()[-1]
    assert name.startswith("hf://ann/maze@")
    files = hub.repositories["ann/maze"].commits[name.partition("@")[2]]
    assert {"config.json", "model.safetensors", "spawns.npz", "README.md"} <= files.keys()
    assert not any("secret" in file for file in files)
    card = files["README.md"].decode()
    env_id = json.loads(files["config.json"])["provenance"]["env_id"]
    assert card.startswith("---\nlibrary_name: dreamenv\n") and "license: mit" in card
    assert env_id in card and 'checkpoint="hf://ann/maze"' in card

    there, here = WorldModel.from_pretrained("ann/maze"), load_world_model(debug_checkpoint)
    for key, weight in here.state_dict().items():
        assert torch.equal(weight, there.state_dict()[key]), key
    env = gymnasium.make("DreamEnv-v0", checkpoint=name, horizon=4)
    first, _ = env.reset(seed=0)
    same, _ = gymnasium.make("DreamEnv-v0", checkpoint=str(folder), horizon=4).reset(seed=0)
    assert (first == same).all()
    env.step(env.action_space.sample())
    assert main(["trust", "--checkpoint", name, "--rollouts", str(tmp_path)]) == 2
    assert "those of the hub are only borrowed" in capsys.readouterr().err


def test_weights_larger_than_their_configuration_says_are_not_fetched(
    hub: StandIn, debug_checkpoint: Path
) -> None:
    push_to_hub(debug_checkpoint, "ann/maze")
    hub.said_sizes["model.safetensors"] = 2**40
    with pytest.raises(CheckpointError, match="model.safetensors has 1099511627776 bytes"):
        checkpoint_folder("hf://ann/maze")
    assert not any("resolve" in asked and "model.safetensors" in asked for asked in hub.requests)


def test_what_is_not_whole_is_not_published(hub: StandIn, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a world model .* nor an agent"):
        push_to_hub(tmp_path, "ann/nothing")
    with pytest.raises(ConfigError, match="no license"):
        push_to_hub(tmp_path, "ann/nothing", license="mit\ntags: x")
    assert hub.repositories == {}


def test_agents_come_back_and_act_alike_without_trust(
    hub: StandIn,
    trained: dict[str, Path],
    zipped: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = push_to_hub(trained["recurrent_ppo"], "ann/walker", private=True)
    repository = hub.repositories["ann/walker"]
    files = repository.commits[repository.branches["main"]]
    assert repository.private and files.keys() == {"agent.safetensors", "README.md"}
    assert len(files["agent.safetensors"]) < (
        (trained["recurrent_ppo"] / "agent.safetensors").stat().st_size / 2
    ), "what only training needs stays at home"
    pair = [load_agent(one, spaces.Discrete(3), 0) for one in (name, trained["recurrent_ppo"])]
    for seen in frames(3):
        start = torch.zeros(4, dtype=torch.bool).numpy()
        assert (pair[0].act(seen, start) == pair[1].act(seen, start)).all()
    assert load_sb3("hf://ann/walker").num_timesteps == 512
    with pytest.raises(ConfigError, match="save_agent.*load_sb3"):
        push_to_hub(zipped["ppo"], "ann/zip")
    monkeypatch.setattr(ours, "_folders", {})
    hub.repositories["ann/walker"].commit("main", {"agent.zip": b"PK"}, "A zip")
    repository.commits[repository.branches["main"]].pop("agent.safetensors")
    with pytest.raises(CheckpointError, match="it has no agent.safetensors"):
        load_agent("hf://ann/walker", spaces.Discrete(3), 0, trust=True)
