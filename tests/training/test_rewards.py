"""Rewards: categories or a scale, by more than their number; and new ones on the way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.rollouts.collect import collect
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.writer import RolloutWriter
from dreamenv.training.config import StageConfig
from dreamenv.training.rewards import fit_rewards, say_rewards
from dreamenv.training.rollouts_used import require_apart, same_worlds
from dreamenv.training.train import train_world_model
from dreamenv.world_model.checkpoint import load_world_model, read_config
from dreamenv.world_model.config import RewardConfig
from tests.conftest import apart_from, write_counting_store
from tests.training.conftest import MakeRun


def seldom(*values: float) -> np.ndarray:
    """Rewards of a long recording in which mostly nothing happens."""
    return np.concatenate([np.zeros(1000), values]).astype(np.float32)


@pytest.mark.parametrize(
    ("rewards", "exact", "why"),
    [
        (seldom(1, 1, -1), True, "3 values, all of them whole numbers"),
        (seldom(1, 5, 20), True, "4 values, all of them whole numbers"),
        (seldom(0.5), True, "2 values, which repeat"),
        (seldom(0.5, 0.5, 0.25, 0.25), True, "3 values, which repeat"),
        (seldom(*[0.1] * 30, *[0.7] * 30, 0.4, 0.3), True, "5 values, which repeat"),
        (seldom(0.91, 0.87, 0.55, 0.31), False, "of 4 rewards other than the commonest 4 occur on"),
        (np.linspace(-2, -1, 12), False, "11 rewards other than the commonest 11 occur only once"),
        (seldom(*range(40)), False, "40 different values"),
        (np.zeros(5), True, "1 values, all of them whole"),
    ],
)
def test_what_rewards_are_taken_for(rewards: np.ndarray, exact: bool, why: str) -> None:
    config, reason = fit_rewards(rewards)
    assert config.exact == exact and why in reason
    assert (config.values[0], config.values[-1]) == (rewards.min(), rewards.max())
    assert why in say_rewards(config, reason)
    if not exact and 0 in rewards:
        assert 0.0 in config.values  # what most steps bring is no mixture of others


def test_the_user_may_say_what_they_are() -> None:
    some = seldom(0.91, 0.87, 0.55)
    assert fit_rewards(some, "categories")[0].exact
    assert not fit_rewards(seldom(1, 2), "continuous")[0].exact
    with pytest.raises(ConfigError, match="take 500 values; categories may be 256 at most"):
        fit_rewards(np.arange(500.0), "categories")
    sparse = fit_rewards(seldom(*np.linspace(0.2, 0.9, 50)))[0]
    assert len([v for v in sparse.values if 0.2 <= v <= 0.9]) > 20  # most steps bring nothing


def test_new_rewards_widen_what_is_known() -> None:
    known = RewardConfig((0.0, 1.0))
    assert fit_rewards(seldom(5, 1), before=known)[0] == RewardConfig((0.0, 1.0, 5.0))
    assert fit_rewards(seldom(), before=known)[0] == known
    assert fit_rewards(seldom(0.3, 0.4), before=known)[0].exact  # as the weights have it
    with pytest.raises(ConfigError, match="2 rewards and no others, and .* have 39 more: train"):
        fit_rewards(np.arange(41.0), before=known)
    assert len(fit_rewards(np.arange(41.0), "categories", known)[0].values) == 41
    with pytest.raises(ConfigError, match="know rewards as categories: leave out rewards contin"):
        fit_rewards(seldom(1), "continuous", known)
    grid = RewardConfig((0.0, 0.5, 2.0), False)
    assert fit_rewards(seldom(1, 1.5), before=grid)[0] == grid
    assert fit_rewards(seldom(3, -1, 1), before=grid)[0].values == (-1.0, 0.0, 0.5, 2.0, 3.0)


def store_with(path: Path, source: Path, *rewards: float) -> str:
    """Episodes of `source`, then one for each of `rewards`, which pays that at its third step."""
    first = RolloutStore(source)
    with RolloutWriter(path, first.env_id, first.observation_space, first.action_space) as writer:
        for i, reward in enumerate(rewards, start=writer.num_episodes):
            episode = first.read(i % first.num_episodes)
            episode.reward[:] = 0
            episode.reward[2] = reward
            episode.observation[:, 4] = i
            writer.append(dataclasses.replace(episode, seed=i))
    return str(path)


SHORT = StageConfig(steps=2, batch=2, learning_rate=1e-3, warmup=1)


def test_fine_tuning_learns_rewards_that_its_weights_do_not_know(
    make_run: MakeRun, counting_store: Path, tmp_path: Path, quick: None
) -> None:
    few = store_with(tmp_path / "few", counting_store, 1.0, 1.0)
    more = store_with(tmp_path / "more", counting_store, 1.0, 4.0)
    first = train_world_model(make_run("first", data=few, dynamics=SHORT))
    still = StageConfig(steps=1, batch=2, learning_rate=1e-12, weight_decay=0.0)
    second = train_world_model(
        make_run("second", data=more, weights_from=str(first), dynamics=still)
    )
    before, after = load_world_model(first), load_world_model(second)
    assert before.config.rewards.values == (0.0, 1.0)
    assert after.config.rewards.values == (0.0, 1.0, 4.0)
    # What it predicts is what it predicted, until it has learnt otherwise.
    features = torch.randn(50, before.config.dynamics.width)
    old, new = before.head(features), after.head(features)
    assert torch.equal(old.reward, new.reward)
    assert (new.reward_probabilities[:, 2] > 0).all() and new.reward_probabilities[
        :, 2
    ].max() < 0.01
    # Latents keep the measure under which the weights have learnt.
    for name in ("latent_mean", "latent_std"):
        assert torch.equal(getattr(before.tokenizer, name), getattr(after.tokenizer, name))


def test_a_run_goes_on_with_more_rollouts(
    make_run: MakeRun, counting_store: Path, tmp_path: Path, quick: None
) -> None:
    """Bit for bit as before where nothing is new; wider where there is a new reward."""
    store = store_with(tmp_path / "s", counting_store, 1.0, 1.0)
    run = make_run(data=store, dynamics=SHORT)
    before = load_world_model(train_world_model(run))
    store_with(tmp_path / "s", counting_store, 1.0, -3.0)
    longer = dataclasses.replace(SHORT, steps=3)
    after = load_world_model(train_world_model(make_run(data=store, dynamics=longer)))
    assert after.config.rewards.values == (-3.0, 0.0, 1.0)
    assert read_config(run.out)[1]["dynamics_updates"] == 3
    assert read_config(run.out)[1]["episodes"] == 4
    assert torch.equal(before.tokenizer.latent_mean, after.tokenizer.latent_mean)
    state = torch.load(Path(run.out) / "training" / "dynamics.pt", weights_only=True)
    assert state["about"]["reward_values"] == [-3.0, 0.0, 1.0]
    moved = (after.head.reward.weight[1:] - before.head.reward.weight).abs().max()
    assert moved < 0.1  # known rows were carried over, not begun anew
    # Without the new reward it is still the wider model that goes on.
    train_world_model(make_run(data=store, dynamics=dataclasses.replace(SHORT, steps=4)))
    with pytest.raises(ConfigError, match="begun with rewards 'auto', not 'categories'"):
        train_world_model(make_run(data=store, rewards="categories", dynamics=longer))


def test_held_out_episodes_are_not_those_to_learn_from(
    make_run: MakeRun, counting_store: Path, tmp_path: Path
) -> None:
    """Whatever else they share, and under whatever seed they are stored."""
    shared = "3 of the 3 episodes of .* are also in .* reset seed 0.*with another --seed"
    with pytest.raises(RolloutError, match=shared):
        train_world_model(make_run(held_out=str(counting_store)))
    source = RolloutStore(counting_store)
    spaces = source.observation_space, source.action_space
    copied = write_counting_store(tmp_path / "more", episodes=1, steps=30)
    with RolloutWriter(copied, source.env_id, *spaces) as writer:
        writer.append(dataclasses.replace(source.read(1), seed=99))
    with pytest.raises(RolloutError, match="1 of the 2 episodes .*episode 1, reset seed 99"):
        train_world_model(make_run(held_out=str(copied)))
    assert not (Path(make_run().out) / "train_config.json").exists()
    assert same_worlds(source, RolloutStore(apart_from(counting_store))) == []


def test_held_out_episodes_of_the_same_seeds_are_pointed_out(tmp_path: Path) -> None:
    """Other policies in the same places: other episodes, but often of the same worlds."""
    stores = []
    for policy in ("uniform", "sticky:0.5"):
        path = tmp_path / policy[:3]
        collect("counting_env:Counting-v0", 60, policy, 1, path, 3, progress=False)
        stores.append(RolloutStore(path))
    require_apart(*stores)
    assert "episodes begin from reset seeds that are trained on" in same_worlds(*stores)[0]
