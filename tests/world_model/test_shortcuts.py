"""Shortcut forcing: what is asked for, what it is taught, and that dreams use it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dreamenv.core.errors import ConfigError
from dreamenv.world_model.config import SamplerConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.dynamics import Stream
from dreamenv.world_model.noisy_views import noisy_view
from dreamenv.world_model.objective import ObjectiveConfig, _with_shortcuts
from tests.world_model.models import TOLERANCE, random_actions, random_frames, tiny_config
from tests.world_model.models import tiny_model as randomised_model
from tests.world_model.test_objective import batch

PASSES = 8
CONFIG = tiny_config({"shortcut_passes": PASSES})


def imagine(model: WorldModel, steps: int, reuse: bool = False) -> Tensor:
    frames, actions = random_frames(model.config, 2, 3, 0), random_actions(2, 4, 0).clamp(min=0)
    state, _ = model.observe(model.initial_state(2), frames, actions[:, :3])
    noise = torch.randn(model.noise_shape(2), generator=torch.Generator().manual_seed(0)).double()
    return model.imagine(state, actions[:, 3], noise, steps, reuse)[0]


def test_an_untaught_jump_changes_nothing() -> None:
    with_jumps, without = randomised_model(CONFIG), randomised_model(tiny_config())
    with_jumps.load_state_dict(with_jumps.state_dict() | without.state_dict())
    assert with_jumps.dynamics.jump is not None
    with_jumps.dynamics.jump.weight.zero_()
    for steps in (1, 2, 8):
        torch.testing.assert_close(imagine(with_jumps, steps), imagine(without, steps), **TOLERANCE)


def test_the_jump_that_is_asked_for() -> None:
    dynamics = randomised_model(CONFIG).dynamics
    assert dynamics.finest_jump == 3
    assert [dynamics.jump_of(k) for k in (1, 2, 4, 8)] == [0, 1, 2, 3]
    assert [dynamics.jump_of(k) for k in (3, 6, 16, 32)] == [3] * 4, "never learnt: the finest"
    assert dynamics.jump_of(1, shortcut=False) == 3
    plain = randomised_model(tiny_config()).dynamics
    assert plain.finest_jump == plain.jump_of(1) == plain.jump_of(8) == 0


@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_in_place_asks_for_the_same_jumps(steps: int, shortcut: bool) -> None:
    sampler = SamplerConfig(context_noise=0.1, shortcut=shortcut)
    model = randomised_model(replace(CONFIG, sampler=sampler))
    torch.testing.assert_close(imagine(model, steps), imagine(model, steps, True), **TOLERANCE)


def test_the_sampler_may_leave_shortcuts_out() -> None:
    model = randomised_model(CONFIG)
    mean = randomised_model(replace(CONFIG, sampler=SamplerConfig(shortcut=False)))
    assert not torch.allclose(imagine(model, 1), imagine(mean, 1)), "one pass is a long jump"
    torch.testing.assert_close(imagine(model, PASSES), imagine(mean, PASSES), **TOLERANCE)


def test_a_jump_is_taught_where_two_halves_of_it_lead() -> None:
    model, generator = randomised_model(CONFIG), torch.Generator().manual_seed(1)
    data, dynamics = batch(model, rows=8, frames=5), model.dynamics
    state = dynamics.initial_state(8)
    write = noisy_view(data.latents, torch.ones(8, 5).double(), generator)
    read = noisy_view(data.latents, torch.rand(8, 5, generator=generator).double(), generator)
    objective = ObjectiveConfig(shortcut=0.7)
    asked, target = _with_shortcuts(dynamics, state, data, write, read, objective, generator)
    plain = slice(0, 2)  # ⌈0.7 · 8⌉ = 6 rows are taught
    torch.testing.assert_close(asked.noisy[plain], read.noisy[plain])
    torch.testing.assert_close(target[plain], data.latents[plain])
    assert asked.jump is not None and (asked.jump[plain] == 3).all()
    seen = set()
    for row in range(2, 8):
        jump = int(asked.jump[row, 0])
        seen.add(jump)
        size = 2.0**-jump
        assert jump < 3 and (asked.jump[row] == jump).all()
        on_grid = asked.level[row] / size
        torch.testing.assert_close(on_grid, on_grid.round(), **TOLERANCE)
        assert (asked.level[row] <= 1 - size).all()

        def predict(noisy: Tensor, level: Tensor, row: int = row, jump: int = jump) -> Tensor:
            view = Stream(noisy[None], level[None], torch.full((1, 5), jump + 1))
            one = Stream(write.noisy[row : row + 1], write.level[row : row + 1])
            actions = data.actions[row : row + 1]
            _, _, seen = dynamics(dynamics.initial_state(1), one, actions, view)
            assert seen is not None
            return seen.latents[0]

        # Two passes of the sampler with half the jump …
        z, level = asked.noisy[row], asked.level[row]
        for _ in range(2):
            pull = (size / 2 / (1 - level))[:, None, None]
            z, level = z + pull * (predict(z, level) - z), level + size / 2
        # … end where one pass towards the target would.
        pull = (size / (1 - asked.level[row]))[:, None, None]
        once = asked.noisy[row] + pull * (target[row] - asked.noisy[row])
        torch.testing.assert_close(once, z, **TOLERANCE)
    assert len(seen) > 1


def test_the_loss_teaches_every_jump_but_no_row_if_told_so() -> None:
    model = randomised_model(CONFIG)
    data = batch(model, rows=16)
    assert model.dynamics.jump is not None
    weight = model.dynamics.jump.weight.requires_grad_(True)

    def gradient(share: float) -> Tensor:
        objective = ObjectiveConfig(shortcut=share)
        model.loss(data, objective, torch.Generator().manual_seed(0))["total"].backward()
        taken, weight.grad = weight.grad, None
        assert taken is not None
        return taken.abs().sum(1)

    assert (gradient(0.75) > 0).all()
    only_finest = gradient(0.0)
    assert (only_finest[:3] == 0).all() and only_finest[3] > 0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="power of two, not 6"):
        tiny_config({"shortcut_passes": 6})
    with pytest.raises(ConfigError, match="bidirectional attention has no shortcuts"):
        tiny_config({"scan": "none", "attention": "bidirectional", "shortcut_passes": 8})
    with pytest.raises(ConfigError, match="shortcut is a share"):
        ObjectiveConfig(shortcut=1.5)
