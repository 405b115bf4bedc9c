"""Every baseline is one model with the same contract: pieces, slots, saved memory, dreams, size."""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamenv.core.errors import CheckpointError, ConfigError
from dreamenv.dream.spawns import SPAWNS
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.world_model.checkpoint import load_world_model, save_world_model
from dreamenv.world_model.config import DynamicsConfig, WorldModelConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.dynamics import Stream
from dreamenv.world_model.presets import preset
from dreamenv.world_model.state import State
from experiments.baselines import BASELINES, baseline
from tests.world_model.models import (
    TOLERANCE,
    random_actions,
    random_frames,
    random_stream,
    randomise,
    tiny_config,
    tiny_model,
)

CAUSAL = [name for name in BASELINES if name != "dfot"]
WINDOW, SLOTS, FRAMES = 3, 3, 7
every = pytest.mark.parametrize("name", list(BASELINES))
every_causal = pytest.mark.parametrize("name", CAUSAL)


@lru_cache
def model_of(name: str) -> WorldModel:
    return tiny_model(baseline(name, tiny_config(), WINDOW))


def part(stream: Stream, here: slice) -> Stream:
    return Stream(stream.noisy[:, here], stream.level[:, here])


def future(model: WorldModel, state: State, steps: int = 2) -> Tensor:
    """Frames that follow from a memory under fixed noise and actions; (slots, steps, H, W, C)."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(model.noise_shape(steps), generator=generator, dtype=torch.float64)
    frames = []
    for eps in noise:
        action = torch.ones(state.slots, dtype=torch.int64)
        frame, _, state = model.imagine(state, action, eps.expand(state.slots, -1, -1, -1))
        frames.append(frame)
    return torch.stack(frames, 1)


@every
@pytest.mark.parametrize("pieces", [[3, 4], [1] * FRAMES])
def test_observing_in_pieces_equals_observing_at_once(name: str, pieces: list[int]) -> None:
    model = model_of(name)
    frames = random_frames(model.config, SLOTS, FRAMES, 0)
    actions = random_actions(SLOTS, FRAMES, 0)
    whole, expected = model.observe(model.initial_state(SLOTS), frames, actions)
    state, outcomes = model.initial_state(SLOTS), []
    for piece in torch.arange(FRAMES).split(pieces):
        state, outcome = model.observe(state, frames[:, piece], actions[:, piece])
        outcomes.append(outcome)
    for part_of in ("reward_probabilities", "continuation"):
        joined = torch.cat([getattr(outcome, part_of) for outcome in outcomes], 1)
        torch.testing.assert_close(joined, getattr(expected, part_of), **TOLERANCE)
    torch.testing.assert_close(future(model, state), future(model, whole), **TOLERANCE)
    assert state.nbytes == whole.nbytes and state.frames.tolist() == [FRAMES] * SLOTS


@every_causal
def test_the_reading_stream_is_predicting_each_frame_after_writing_those_before(name: str) -> None:
    dynamics = model_of(name).dynamics
    write, read = (random_stream(dynamics, SLOTS, FRAMES, seed) for seed in (0, 1))
    actions = random_actions(SLOTS, FRAMES, 0)
    _, written, seen = dynamics(dynamics.initial_state(SLOTS), write, actions, read)
    state = dynamics.initial_state(SLOTS)
    for t in range(FRAMES):
        here = slice(t, t + 1)
        size = state.nbytes
        _, looked, _ = dynamics(state, part(read, here), actions[:, here], keep=False)
        assert state.nbytes == size
        state, wrote, _ = dynamics(state, part(write, here), actions[:, here])
        for whole, one in ((seen, looked), (written, wrote)):
            torch.testing.assert_close(whole.latents[:, here], one.latents, **TOLERANCE)
            torch.testing.assert_close(whole.features[:, here], one.features, **TOLERANCE)


@every_causal
@pytest.mark.parametrize("changed", ["write", "read", "action"])
def test_a_change_alters_nothing_before_it(name: str, changed: str) -> None:
    dynamics, at = model_of(name).dynamics, 4
    write, read = (random_stream(dynamics, SLOTS, FRAMES, seed) for seed in (0, 1))
    actions = random_actions(SLOTS, FRAMES, 0)

    def features() -> tuple[Tensor, Tensor]:
        _, written, seen = dynamics(dynamics.initial_state(SLOTS), write, actions, read)
        return written.features, seen.features

    before = features()
    if changed == "action":
        actions[:, at] = (actions[:, at] + 2) % 5
    else:
        (write if changed == "write" else read).noisy[:, at] += 1
    for stream, old, new in zip(("write", "read"), before, features(), strict=True):
        assert torch.equal(old[:, :at], new[:, :at])
        moved = ((old - new).abs().amax((0, 2)) > 1e-9).tolist()
        # What is only read changes one frame of its own; a view does not see its frame written.
        assert moved[at] == (changed in (stream, "action"))
        assert moved[at + 1] == (changed != "read")


@every
def test_slots_do_not_touch_each_other(name: str) -> None:
    model = model_of(name)
    frames = random_frames(model.config, SLOTS, FRAMES, 0)
    actions = random_actions(SLOTS, FRAMES, 0)
    state, _ = model.observe(model.initial_state(SLOTS), frames, actions)
    frames[1], actions[1] = 255 - frames[1], (actions[1] + 1) % 5
    other, _ = model.observe(model.initial_state(SLOTS), frames, actions)
    one, two = future(model, state), future(model, other)
    assert torch.equal(one[[0, 2]], two[[0, 2]]) and not torch.allclose(one[1], two[1])
    alone, _ = model.observe(model.initial_state(1), frames[1:2], actions[1:2])
    torch.testing.assert_close(two[1:2], future(model, alone), **TOLERANCE)


@every
def test_slots_that_began_at_different_times_dream_as_each_alone(name: str) -> None:
    """Slots are reset at frames 0, 3 and 5 of one batch, by merging an empty memory into it."""
    model, begins = model_of(name), [0, 3, 5]
    frames = random_frames(model.config, SLOTS, FRAMES, 0)
    actions = random_actions(SLOTS, FRAMES, 0)
    state = model.initial_state(SLOTS)
    for t in range(FRAMES):
        now = torch.tensor([begin == t for begin in begins])
        state = state.merge(now, model.initial_state(SLOTS))
        state, outcome = model.observe(state, frames[:, t : t + 1], actions[:, t : t + 1])
    assert state.frames.tolist() == [FRAMES - begin for begin in begins]
    dreamt = future(model, state)
    for i, begin in enumerate(begins):
        alone, last = model.observe(
            model.initial_state(1), frames[i : i + 1, begin:], actions[i : i + 1, begin:]
        )
        torch.testing.assert_close(
            outcome.continuation[i, -1], last.continuation[0, -1], **TOLERANCE
        )
        torch.testing.assert_close(dreamt[i : i + 1], future(model, alone), **TOLERANCE)
        merged = model.initial_state(1).merge(torch.tensor([True]), state.select([i]))
        torch.testing.assert_close(future(model, merged), dreamt[i : i + 1], **TOLERANCE)
    youngest = state.merge(torch.tensor([True, True, False]), model.initial_state(SLOTS))
    assert youngest.nbytes <= state.nbytes
    if name == "causal_full":  # what only the reset slots remembered is let go of
        lengths = {x.shape[1] for layer in youngest.layers for x in layer.values()}
        assert lengths == {FRAMES - begins[2]}
    torch.testing.assert_close(future(model, youngest)[2], dreamt[2], **TOLERANCE)


@every
def test_a_saved_memory_goes_on_as_it_would_have(name: str) -> None:
    model = model_of(name)
    frames, actions = random_frames(model.config, 2, 5, 0), random_actions(2, 5, 0)
    state, _ = model.observe(model.initial_state(2), frames, actions)
    loaded = model.initial_state(1).from_bytes(state.to_bytes())
    assert torch.equal(future(model, loaded), future(model, state))
    for other in BASELINES:
        # Of these two the one that grows takes the other's for a memory that is younger.
        if other != name and (name, other) != ("causal_window", "causal_full"):
            with pytest.raises(CheckpointError, match="another architecture"):
                model_of(other).initial_state(2).from_bytes(state.to_bytes())


@every_causal
def test_only_full_attention_grows(name: str) -> None:
    model = model_of(name)
    frames, actions = random_frames(model.config, 1, 9, 0), random_actions(1, 9, 0)
    sizes, state = [], model.initial_state(1)
    for t in range(9):
        state, _ = model.observe(state, frames[:, t : t + 1], actions[:, t : t + 1])
        sizes.append(state.nbytes)
    growth = set(np.diff(sizes).tolist())
    if name == "causal_full":
        dynamics = model.config.dynamics  # keys and values of 4 tokens, in each of two layers
        assert growth == {2 * 2 * 4 * dynamics.width * 8}
    else:
        assert growth == {0}


def test_the_bidirectional_baseline_sees_the_last_frames_of_its_window_alone() -> None:
    model = model_of("dfot")
    frames, actions = random_frames(model.config, 1, FRAMES, 0), random_actions(1, FRAMES, 0)
    other, other_actions = frames.clone(), actions.clone()
    other[:, : FRAMES - WINDOW] = random_frames(model.config, 1, FRAMES - WINDOW, 1)
    other_actions[:, : FRAMES - WINDOW] = random_actions(1, FRAMES - WINDOW, 1)

    def dream(frames: Tensor, actions: Tensor) -> Tensor:
        state, _ = model.observe(model.initial_state(1), frames, actions)
        return future(model, state)

    before = dream(frames, actions)
    assert torch.equal(before, dream(other, other_actions))
    other[:, FRAMES - WINDOW] = 255 - other[:, FRAMES - WINDOW]
    assert not torch.allclose(before[:, 0], dream(other, other_actions)[:, 0])


@every
@pytest.mark.parametrize("size", ["debug", "small", "patch 2"])
def test_baselines_have_as_many_parameters_as_ours(name: str, size: str) -> None:
    """The whole model; the dynamics alone differ by a rounding of the MLP's width."""
    if size == "patch 2":
        blocks = ((2, 2), (1, 1), (1, 2), (2, 2))
        base = WorldModelConfig(dynamics=DynamicsConfig(patch=2, scan_blocks=blocks))
    else:
        base = preset(size)
    with torch.device("meta"):
        models = WorldModel(base), WorldModel(baseline(name, base, 16))
    for module in ("dynamics", "tokenizer", "head"):
        ours, theirs = (
            sum(p.numel() for p in getattr(model, module).parameters()) for model in models
        )
        assert abs(theirs - ours) <= (0.05 * ours if module == "dynamics" else 0)


def test_baselines_differ_from_ours_only_in_how_they_remember() -> None:
    base = tiny_config()
    assert baseline("ours", base, WINDOW) == base
    with pytest.raises(ConfigError, match="unknown baseline 'perceiver'; there are ours, "):
        baseline("perceiver", base, WINDOW)
    windows = {name: baseline(name, base, 9).dynamics.attention_window for name in BASELINES}
    assert windows["causal_window"] == windows["dfot"] == 9
    assert windows["ours"] == windows["mamba2_attention"] == base.dynamics.attention_window


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, debug_checkpoint: Path) -> Path:
    """A folder of untrained checkpoints, one per baseline, of the `debug` preset."""
    folder = tmp_path_factory.mktemp("baselines")
    source = load_world_model(debug_checkpoint)
    for name in BASELINES:
        torch.manual_seed(0)
        model = WorldModel(baseline(name, source.config, WINDOW))
        randomise(model.dynamics, size=0.05)
        model.tokenizer.load_state_dict(source.tokenizer.state_dict())
        model.head.load_state_dict(source.head.state_dict())
        model.dynamics.change.fill_(0.5)
        save_world_model(folder / name, model, {"env_id": "Counting-v0"})
        shutil.copy(debug_checkpoint / SPAWNS, folder / name)
    return folder


@every
def test_every_baseline_dreams_as_an_environment(name: str, checkpoints: Path) -> None:
    """Slots of different ages step, end, begin anew, and are the same again from the same seed."""
    horizon, steps, staggered = 4, 9, np.array([False, True, False])
    actions = np.random.default_rng(0).integers(0, 5, (steps, 3))
    env = DreamVectorEnv(3, checkpoints / name, horizon=horizon, denoising_steps=1, dtype="float32")

    def play() -> list[tuple[np.ndarray, ...]]:
        seen = [env.reset(seed=[7, 8, 9])[:1]]
        for t, action in enumerate(actions):
            if t == 2:
                seen.append(env.reset(options={"reset_mask": staggered})[:1])
            seen.append(env.step(action)[:4])
            sizes.append(env.state_nbytes)
        return seen

    sizes: list[int] = []
    first = play()
    for once, again in zip(first, play(), strict=True):
        assert all(map(np.array_equal, once, again))
    truncated = [step[3].tolist() for step in first if len(step) == 4]
    on_time, late = [False] * 3 + [True], [False] * 5 + [True] + [False] * 3
    assert truncated == [[(on_time * 3)[t], late[t], (on_time * 3)[t]] for t in range(steps)]
    assert (len(set(sizes)) > 1) == (name == "causal_full")
    # Slot 0 in a batch of its own, where no other slot makes the cache longer.
    alone = DreamVectorEnv(
        1, checkpoints / name, horizon=horizon, denoising_steps=1, dtype="float32"
    )
    frames = [alone.reset(seed=7)[0]] + [alone.step(action[:1])[0] for action in actions]
    crowd = [step[0] for i, step in enumerate(first) if i != 3]
    for one, among in zip(frames, crowd, strict=True):
        assert np.abs(one[0].astype(int) - among[0].astype(int)).max() <= 1
    assert not np.array_equal(frames[1], frames[2])
