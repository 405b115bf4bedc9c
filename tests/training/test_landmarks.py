"""What training shows of landmarks is what a dream would have had of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.writer import RolloutWriter
from dreamenv.training.config import StageConfig, TrainConfig
from dreamenv.training.landmarks import Landmarks, planar_poses, typical_spacing
from dreamenv.training.train import train_world_model
from dreamenv.world_model.checkpoint import load_world_model
from dreamenv.world_model.landmark_config import LandmarkConfig
from dreamenv.world_model.network.landmarks import nearest, place_for
from dreamenv.world_model.network.planar import compose, relative
from tests.training.conftest import MakeRun

ADDED = {"dynamics": {"landmarks": {"count": 4, "nearest": 2, "layers": [0], "tracker_width": 8}}}
CONFIG = LandmarkConfig(count=6, nearest=3, spacing=0.7, turn=1.5)
RECENT = 4


def walk(frames: int, seed: int) -> np.ndarray:
    """Poses (frames, 3) of somebody who walks about in a room, and comes back often."""
    rng = np.random.default_rng(seed)
    heading = rng.normal(0, 0.4, frames).cumsum()
    steps = 0.3 * np.stack([np.cos(heading), np.sin(heading)], 1)
    place = 2 * np.sin(steps.cumsum(0) / 2)
    return np.concatenate([place, heading[:, None]], 1).astype(np.float32)


def test_windows_see_what_a_memory_would_have_held() -> None:
    lengths = np.array([70, 7, 90])
    poses = np.concatenate([walk(n, i) for i, n in enumerate(lengths)])
    latents = np.arange(lengths.sum(), dtype=np.float32).reshape(-1, 1, 1)
    landmarks = Landmarks(poses, lengths, CONFIG, RECENT, drift=0.0)
    starts = np.cumsum(lengths) - lengths
    overflowed = False
    for length, start in zip(lengths, starts, strict=True):
        held, age = torch.zeros(1, CONFIG.count, 3), torch.zeros(1, CONFIG.count)
        taken = torch.zeros(CONFIG.count, dtype=torch.int64)
        for t in range(length):
            pose = torch.from_numpy(poses[start + t])[None]
            index, there = nearest(pose, held, age, CONFIG, RECENT)
            # A window of three frames whose last one is this.
            first = np.array([start + max(0, t - 2)])
            steps = np.arange(3)[None].clip(0, min(t, 2))
            sight, true = landmarks.see(
                first, steps, np.ones((1, 3), bool), latents, np.random.default_rng(t)
            )
            assert torch.equal(sight.held[0, -1], there[0])
            wanted = start + taken[index[0]]
            shown = sight.views[0, -1, :, 0, 0]
            assert torch.equal(shown[there[0]], wanted[there[0]].float())
            where = relative(held[0, index[0]], pose)
            torch.testing.assert_close(
                sight.where[0, -1][there[0]], where[there[0]], rtol=0, atol=1e-5
            )
            if t:
                back = compose(torch.from_numpy(poses[start + t - 1]), true[0, -1])
                assert float((back - pose[0])[:2].abs().amax()) < 1e-4
                off = (sight.motion[0, -1] - true[0, -1]) / landmarks.scale
                assert float(off.abs().amax()) < 1 or t < 2
            place, new = place_for(pose, held, age, CONFIG)
            overflowed |= bool(new) and bool((age > 0).all())
            age = torch.where(age > 0, age + 1, 0.0)
            if bool(new):
                held[0, place], age[0, place], taken[place] = pose[0], 1.0, t
    assert overflowed, "the memory is meant to be too small for the walk"


def test_poses_wander_off_as_integrated_ones_do() -> None:
    poses = walk(300, 0)
    lengths = np.array([300])
    steps = np.arange(40)[None].repeat(64, 0)
    given = np.full(64, 250), steps, np.ones(steps.shape, bool), np.zeros((300, 1, 1), np.float32)
    off = []
    for drift in (0.0, 0.2):
        landmarks = Landmarks(poses, lengths, CONFIG, RECENT, drift)
        sight, _ = landmarks.see(*given, np.random.default_rng(0))
        off.append(sight.where[sight.held])
        assert bool(sight.held.any())
    assert len({tuple(x.tolist()) for x in off[0]}) < len({tuple(x.tolist()) for x in off[1]})


def test_a_model_with_landmarks_trains_dreams_and_goes_on(
    make_run: MakeRun, pose_store: Path, quick: None
) -> None:
    short = StageConfig(steps=2, batch=2, learning_rate=1e-3, warmup=0)
    run = make_run("landmarks", data=str(pose_store), architecture=ADDED, dynamics=short)
    model = load_world_model(train_world_model(run))
    spacing = model.config.dynamics.landmarks.spacing
    store = RolloutStore(pose_store)
    poses = planar_poses(store, ["agent_pos", "agent_dir"])
    assert spacing == typical_spacing(poses, np.asarray(store.lengths) + 1) > 0
    assert model.dynamics.landmarks is not None
    assert bool((model.dynamics.landmarks.tracker.scale != 1).all())
    longer = dataclasses.replace(run, dynamics=dataclasses.replace(short, steps=3))
    assert load_world_model(train_world_model(longer)).config == model.config


def test_landmarks_and_a_sampler_can_be_given_to_the_weights_of_another_run(
    make_run: MakeRun, pose_store: Path, finished_run: TrainConfig, quick: None
) -> None:
    short = StageConfig(steps=1, batch=2, learning_rate=1e-3)
    changes = ADDED | {"sampler": {"steps": 4}}
    first = finished_run.out
    run = make_run(
        "second", data=str(pose_store), weights_from=first, architecture=changes, dynamics=short
    )
    model = load_world_model(train_world_model(run))
    assert model.config.sampler.steps == 4 and model.config.dynamics.landmarks.count == 4
    wider = make_run(
        "wider", data=str(pose_store), weights_from=run.out, dynamics=short,
        architecture={"dynamics": {"landmarks": {"count": 9, "spacing": 0.5}}},
    )  # fmt: skip
    landmarks = load_world_model(train_world_model(wider)).config.dynamics.landmarks
    assert (landmarks.count, landmarks.spacing, landmarks.nearest) == (9, 0.5, 2)
    none = make_run(
        "none", data=str(pose_store), weights_from=run.out, dynamics=short,
        architecture={"dynamics": {"landmarks": {"count": 0}}},
    )  # fmt: skip
    with pytest.raises(ConfigError, match="weights_from brings its architecture"):
        train_world_model(none)
    for more in ({"dynamics": {"ssm_conv": 3}}, {"tokenizer": {"latent_noise": 0.5}}):
        other = make_run(
            "third", data=str(pose_store), weights_from=first, architecture=more, dynamics=short
        )
        with pytest.raises(ConfigError, match="architecture may set the sampler, and landmarks"):
            train_world_model(other)


def test_landmarks_without_usable_poses_are_refused_before_training(
    make_run: MakeRun, pose_store: Path, counting_store: Path, tmp_path: Path
) -> None:
    def refused(error: type[Exception], match: str, **changes: object) -> None:
        run = make_run("refused", **{"architecture": ADDED} | changes)
        with pytest.raises(error, match=match):
            train_world_model(run)
        assert not Path(run.out).exists()

    refused(RolloutError, "holds no info 'agent_pos'", data=str(counting_store))
    refused(RolloutError, "landmarks need planar poses.* are 2 numbers",
            data=str(pose_store), pose="agent_pos")  # fmt: skip
    source = RolloutStore(pose_store)
    for name, value in (("nan", np.nan), ("still", 1.0)):
        broken = tmp_path / name
        with RolloutWriter(
            broken, source.env_id, source.observation_space, source.action_space
        ) as writer:
            for i in range(source.num_episodes):
                episode = source.read(i)
                info = {k: v.copy() for k, v in source.read_info(i).items()}
                info["agent_pos"][5 if name == "nan" else slice(None)] = value
                writer.append(dataclasses.replace(episode, info=info))
    refused(RolloutError, "holds NaN or infinity at frame 5", data=str(tmp_path / "nan"))
    refused(RolloutError, "no position of the rollouts ever changes", data=str(tmp_path / "still"))
    refused(ConfigError, "pose_drift 0.3 has no effect: the model has no landmarks",
            data=str(pose_store), architecture={}, pose_drift=0.3)  # fmt: skip
