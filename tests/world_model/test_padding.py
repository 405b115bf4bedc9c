"""What windows are padded with is not scored, and no frame sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dreamenv.world_model import objective as objectives
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import Batch, ObjectiveConfig
from tests.world_model.batches import ARCHITECTURES, conditioned_model, random_batch
from tests.world_model.models import TOLERANCE

FRAMES = 6
CLEAN = ObjectiveConfig(scheme="clean_state")
OBJECTIVES = {
    "clean": CLEAN,
    "self": replace(CLEAN, self_forcing=1.0),
    "forcing": ObjectiveConfig(scheme="diffusion_forcing", clean_prefix=0.5),
    "prefix": ObjectiveConfig(scheme="diffusion_forcing", clean_prefix=1.0),
}
BOTH_WAYS = {"scan": "none", "attention": "bidirectional", "attention_window": FRAMES - 1}
SHORTCUTS = {"shortcut_passes": 4}


@pytest.fixture
def same_noise(monkeypatch: pytest.MonkeyPatch) -> Callable[[], torch.Generator]:
    """Call for noise that a frame gets however many frames there are after it."""
    calls, marked = iter(range(0)), torch.Generator()

    def drawn(draw: Any) -> Any:
        def wrapped(
            *arguments: Any, generator: torch.Generator | None = None, **how: Any
        ) -> Tensor:
            if generator is not marked:
                return draw(*arguments, generator=generator, **how)
            *before, shape = arguments
            source = torch.Generator().manual_seed(next(calls))
            if len(shape) > 1 and shape[1] > 1:
                whole = draw(*before, (shape[0], 12, *shape[2:]), generator=source, **how)
                return whole[:, : shape[1]]
            return draw(*before, shape, generator=source, **how)

        return wrapped

    for name in ("rand", "randn", "randint"):
        monkeypatch.setattr(torch, name, drawn(getattr(torch, name)))

    def again() -> torch.Generator:
        nonlocal calls
        calls = iter(range(1000))
        return marked

    return again


def padded(batch: Batch, count: int, seed: int = 0) -> Batch:
    """The first `count` frames, and noise in the place of the others."""
    other = random_batch_like(batch, seed)
    here = torch.arange(batch.rewards.shape[1]) < count
    mixed = [
        torch.where(here.reshape(1, -1, *[1] * (one.ndim - 2)), one, two)
        for one, two in zip(vars(batch).values(), vars(other).values(), strict=True)
        if one is not None
    ]
    return replace(Batch(*mixed), valid=here.expand(batch.rewards.shape))


def random_batch_like(batch: Batch, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(100 + seed)
    latents = torch.randn(batch.latents.shape, generator=generator).double()
    ones = torch.ones_like(batch.rewards)
    return Batch(latents, batch.actions.flip(0), ones * 2.5, ones.bool())


def gradients(model: WorldModel, loss: Tensor) -> list[Tensor]:
    parameters = [*model.dynamics.parameters(), *model.head.parameters()]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros(()) if g is None else g for g in found]


@pytest.mark.parametrize(
    ("conditioning", "dynamics", "objective"),
    [("action", d, o) for d in ({}, SHORTCUTS, BOTH_WAYS) for o in OBJECTIVES]
    + [("action", d, "self") for d in ARCHITECTURES.values() if d]
    + [(c, d, "prefix") for c in ("box", "pose") for d in ({}, BOTH_WAYS)],
    ids=str,
)
def test_a_padded_windows_loss_is_that_of_the_window(
    conditioning: str,
    dynamics: dict[str, Any],
    objective: str,
    same_noise: Callable[[], torch.Generator],
) -> None:
    """Value and gradient, whatever it is padded with, for windows of any number of frames."""
    model = conditioned_model(conditioning, **dynamics).requires_grad_(True)
    whole, config = random_batch(model, 3, FRAMES), OBJECTIVES[objective]
    for count in (2, FRAMES - 1):
        # The baseline that sees both ways takes no shorter windows: an empty past stands for them.
        short = whole.each(lambda x: x[:, :count])  # noqa: B023
        if dynamics is BOTH_WAYS:
            narrow = {**dynamics, "attention_window": count - 1}
            alone = conditioned_model(conditioning, **narrow).requires_grad_(True)
            alone.load_state_dict(model.state_dict())
        else:
            alone = model
        expected = alone.loss(short, config, same_noise())
        wanted = gradients(alone, expected["total"])
        for seed in (0, 1):
            found = model.loss(padded(whole, count, seed), config, same_noise())
            for name, loss in expected.items():
                torch.testing.assert_close(found[name], loss, **TOLERANCE, msg=name)
            for one, other in zip(gradients(model, found["total"]), wanted, strict=True):
                torch.testing.assert_close(one, other, **TOLERANCE)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_segments_count_by_the_frames_that_they_hold(objective: str) -> None:
    """One row of three lasts: all frames still weigh alike, and no padding reaches a memory."""
    model = conditioned_model("action")
    whole, config = random_batch(model, 3, 9), OBJECTIVES[objective]
    counts = torch.tensor([9, 4, 2])
    valid = torch.arange(9) < counts[:, None]
    found = []
    for seed in (0, 1):
        other = random_batch_like(whole, seed)
        mixed = Batch(
            torch.where(valid[..., None, None], whole.latents, other.latents),
            torch.where(valid, whole.actions, other.actions),
            torch.where(valid, whole.rewards, other.rewards),
            torch.where(valid, whole.terminated, other.terminated),
            valid,
        )
        generator = torch.Generator().manual_seed(0)
        found.append(list(model.segment_losses(mixed, config, generator, 3, 0.3)))
    for one, other in zip(*found, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    # With heads and targets that make every frame's loss one, segments weigh as they are filled.
    single = [float(valid[:, i : i + 3].sum()) / 5 for i in (0, 3, 6)]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_denoising_loss", "_mean"):
            patch.setattr(objectives, name, lambda *_: torch.ones(()))
        generator = torch.Generator().manual_seed(0)
        shares = list(model.segment_losses(mixed, config, generator, 3))
    assert [float(share["denoising"]) for share in shares] == pytest.approx(single)
