"""Compiled kernels imagine what the reference path imagines; where there are none, all goes on."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from dreamenv.core.settings import KERNELS
from dreamenv.world_model.config import (
    ActionConfig,
    RewardConfig,
    SamplerConfig,
    TokenizerConfig,
    WorldModelConfig,
)
from dreamenv.world_model.landmark_config import LandmarkConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.heads import OutcomeHead
from dreamenv.world_model.runtime.cpu.build import load_kernels
from dreamenv.world_model.runtime.cpu.stepper import KernelStepper
from dreamenv.world_model.runtime.cpu.tile_stepper import TileStepper
from dreamenv.world_model.runtime.select import make_stepper
from dreamenv.world_model.state import State
from tests.world_model.models import (
    FACTORED,
    random_actions,
    random_frames,
    random_vectors,
    tiny_config,
    tiny_model,
)

EVERY_BLOCK = {"ssm_state_dim": 4, "scan_blocks": ((4, 4), (2, 2), (1, 1), (1, 2))}
CONFIGS: dict[str, WorldModelConfig] = {
    "every block size": tiny_config(EVERY_BLOCK, frame_size=(64, 64)),
    "box of actions, three passes, context noise": tiny_config(
        {"ssm_state_dim": 4},
        actions=ActionConfig(low=(-1.0, 0.0), high=(1.0, 20.0)),
        sampler=SamplerConfig(steps=3, context_noise=0.25),
    ),
    "landmarks": tiny_config(
        EVERY_BLOCK
        | {
            "landmarks": LandmarkConfig(
                count=3, nearest=2, spacing=0.1, layers=(0, 2, 3), tracker_width=6
            )
        },
        frame_size=(64, 64),
    ),
    "factored actions, parts of tokens": tiny_config(
        {"ssm_state_dim": 4}, actions=FACTORED, frame_size=(29, 20)
    ),
}

WHOLE_TILES: dict[str, Any] = {"width": 32, "ssm_head_dim": 16}
HALF_CONFIGS: dict[str, WorldModelConfig] = {
    "products elsewhere": CONFIGS["every block size"],
    "tiles, attention and decoder too": tiny_config(
        EVERY_BLOCK | WHOLE_TILES | {"attention_head_dim": 32},
        frame_size=(64, 64),
        tokenizer=TokenizerConfig(widths=(32, 64, 32), blocks=(2, 0, 1), latent_channels=32),
    ),
    "tiles, few tokens, three passes, context noise": tiny_config(
        WHOLE_TILES | {"ssm_state_dim": 4},
        actions=ActionConfig(low=(-1.0, 0.0), high=(1.0, 20.0)),
        sampler=SamplerConfig(steps=3, context_noise=0.25),
        tokenizer=TokenizerConfig(widths=(4, 4, 8), blocks=(1, 0, 1), latent_channels=16),
    ),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries of these tests are kept for all of them, and nowhere else."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv(KERNELS, raising=False)
    load_kernels.cache_clear()


def with_kernels(config: WorldModelConfig) -> WorldModel:
    model = tiny_model(config).float()
    if not steps_by_kernels(model):
        pytest.skip("there is no C compiler here")
    return model


def steps_by_kernels(model: WorldModel) -> bool:
    stepper = make_stepper(model.dynamics, model.tokenizer, torch.float32)
    return isinstance(stepper, KernelStepper)


def actions_of(model: WorldModel, slots: int, seed: int) -> Tensor:
    if model.config.actions.discrete:
        return random_actions(slots, 1, seed)
    return random_vectors(model.config, slots, 1, seed, torch.float32)


def slots_of_different_age(model: WorldModel) -> State:
    """Four frames were seen in slot 0, one in slot 1, none in slot 2."""
    state = model.initial_state(3)
    for t in range(4):
        frames = random_frames(model.config, 3, 1, t)
        seen, _ = model.observe(state, frames, actions_of(model, 3, t))
        state = state.merge(torch.tensor([True, t == 0, False]), seen)
    return state


def noise(model: WorldModel, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(model.noise_shape(3), generator=generator)


def imagined(model: WorldModel, state: State, reuse: bool) -> dict[str, Tensor]:
    """Everything that four imagined frames leave behind, in float64."""
    dtype = model.dynamics.position.dtype
    found: dict[str, Tensor | None] = {}
    for t in range(4):
        given = actions_of(model, 3, 10 + t)[:, 0], noise(model, t).to(dtype)
        frames, outcome, state = model.imagine(state, *given, reuse=reuse)
        found |= {f"{t}.frames": frames, f"{t}.features": outcome.features}
        found |= {
            f"{t}.rewards": outcome.reward_probabilities,
            f"{t}.goes on": outcome.continuation,
        }
        found |= {f"{t}.{name}": x.double() for name, x in state.named_tensors()}
    return {name: x.double() for name, x in found.items() if x is not None}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_kernels_err_no_more_than_the_reference_does(
    config: WorldModelConfig, threads: int
) -> None:
    """Both in float32, against the reference in float64."""
    model = with_kernels(config)
    start = slots_of_different_age(model)
    widened = State(
        [{name: x.double() for name, x in layer.items()} for layer in start.layers],
        start.latents.double(), start.level.double(), start.frames,
        landmarks={name: x.double() for name, x in start.landmarks.items()},
    )  # fmt: skip
    exact = imagined(tiny_model(config), widened, reuse=False)
    reference = imagined(model, start, reuse=False)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        got = imagined(model, start.clone(), reuse=True)
    finally:
        torch.set_num_threads(before)
    for name, wanted in exact.items():
        allowed = 3 * (reference[name] - wanted).abs().max() + 1e-5
        assert (got[name] - wanted).abs().max() < allowed, name


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("config", HALF_CONFIGS.values(), ids=HALF_CONFIGS)
def test_kernels_in_bfloat16_err_no_more_than_the_reference_does(
    config: WorldModelConfig, threads: int
) -> None:
    model = with_kernels(config)
    start = slots_of_different_age(model)
    given = actions_of(model, 3, 9)[:, 0], noise(model, 0)
    exact, _, exactly = model.imagine(start, *given)
    model.compute_dtype = torch.bfloat16
    reference, _, remembered = model.imagine(start, *given)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        got, outcome, after = model.imagine(start.clone(), *given, reuse=True)
    finally:
        torch.set_num_threads(before)
    assert isinstance(model._stepper, KernelStepper)
    if config is not CONFIGS["every block size"] and not isinstance(model._stepper, TileStepper):
        pytest.skip("this machine multiplies no tiles")
    assert outcome.features is not None and outcome.features.shape == (3, model.feature_size)
    for (name, x), (_, wanted), (_, other) in zip(
        after.named_tensors(), exactly.named_tensors(), remembered.named_tensors(), strict=True
    ):
        allowed = 1.5 * (other.float() - wanted.float()).abs().mean() + 1e-5
        assert (x.float() - wanted.float()).abs().mean() < allowed, name
    assert {name: x.dtype for name, x in after.layers[0].items()} == {
        "ssm": torch.float32, "conv": torch.bfloat16,
        "keys": torch.bfloat16, "values": torch.bfloat16,
    }  # fmt: skip
    assert (got - exact).abs().mean() < 1.5 * (reference - exact).abs().mean()


@pytest.mark.parametrize("config", HALF_CONFIGS.values(), ids=HALF_CONFIGS)
def test_dreams_go_on_right_after_several_real_frames(config: WorldModelConfig) -> None:
    """Whose state is part of larger tensors."""
    model = with_kernels(config)
    model.compute_dtype = torch.bfloat16
    seen = (
        random_frames(config, 3, 4, 1),
        torch.stack([actions_of(model, 3, t)[:, 0] for t in range(4)], 1),
    )
    start, _ = model.observe(model.initial_state(3), *seen)
    given = actions_of(model, 3, 9)[:, 0], noise(model, 0)
    wanted, _, _ = model.imagine(start, *given)
    got, _, _ = model.imagine(start, *given, reuse=True)
    assert (got - wanted).abs().mean() < 0.03 * wanted.abs().mean()


@pytest.mark.parametrize("name", ["switched off", "no compiler", "a compiler that fails"])
def test_without_kernels_dreams_go_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "switched off":
        monkeypatch.setenv(KERNELS, "0")
    elif name == "no compiler":
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.setenv("PATH", "")
    else:
        monkeypatch.setenv("CC", "/bin/false")
    model = tiny_model(CONFIGS["every block size"]).float()
    assert not isinstance(
        make_stepper(model.dynamics, model.tokenizer, torch.float32), KernelStepper
    )
    state = slots_of_different_age(model)
    given = torch.tensor([0, 1, 2]), noise(model, 0)
    wanted, _, _ = model.imagine(state, *given)
    got, _, _ = model.imagine(state, *given, reuse=True)
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_model_that_dreamt_can_be_copied(copied: Callable[[WorldModel], WorldModel]) -> None:
    model = with_kernels(CONFIGS["every block size"])
    start = slots_of_different_age(model)
    given = torch.tensor([0, 1, 2]), noise(model, 0)
    wanted, _, _ = model.imagine(start.clone(), *given, reuse=True)
    got, _, _ = copied(model).imagine(start, *given, reuse=True)
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("exact", [True, False])
def test_outcomes_are_those_of_the_head_as_it_is_now(exact: bool) -> None:
    torch.manual_seed(0)
    model = with_kernels(CONFIGS["every block size"])
    width = model.config.dynamics.width
    head = OutcomeHead(width, RewardConfig((-1.0, 0.0, 2.5), exact))
    features = 20 * torch.randn(7, 2 * width)[:, width:]  # rows apart, and sharp probabilities
    for _ in range(2):
        found = model.stepper().outcome(head, features)
        expected = head(features)
        for name in ("reward", "reward_probabilities", "continuation"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name))
        with torch.no_grad():
            head.reward.weight += 0.1 * torch.randn_like(head.reward.weight)


def test_threads_that_share_a_model_imagine_what_each_would_alone() -> None:
    model = with_kernels(CONFIGS["every block size"])
    actions, noises = random_actions(3, 1, 0)[:, 0], [noise(model, seed) for seed in range(30)]

    def dream(shift: int) -> Tensor:
        state, frames = model.initial_state(3), []
        for t in range(len(noises)):
            given = noises[(t + shift) % len(noises)]
            frame, _, state = model.imagine(state, actions, given, reuse=True)
            frames.append(frame)
        return torch.stack(frames)

    alone, interval = [dream(0), dream(10)], sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as threads:
            together = list(threads.map(dream, [0, 10]))
    finally:
        sys.setswitchinterval(interval)
    for here, there in zip(together, alone, strict=True):
        assert torch.equal(here, there)


def test_autocast_around_kernels_changes_nothing() -> None:
    model = with_kernels(CONFIGS["every block size"])
    want = imagined(model, slots_of_different_age(model), reuse=True)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype):
            found = imagined(model, slots_of_different_age(model), reuse=True)
        for name, tensor in want.items():
            assert torch.equal(found[name], tensor), name
