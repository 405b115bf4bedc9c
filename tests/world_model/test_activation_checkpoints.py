"""Computing layers again for the gradient changes nothing but how much is kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import SCHEMES, ObjectiveConfig
from tests.world_model.batches import ARCHITECTURES, conditioned_model, random_batch

BIDIRECTIONAL = {"scan": "none", "attention": "bidirectional"}


def gradients(model: WorldModel, scheme: str, segments: int, again: bool) -> dict[str, Tensor]:
    """Losses and gradients of one update, with layers computed `again` or not."""
    model.dynamics.checkpoint_activations = again
    model.requires_grad_(True).zero_grad()
    generator = torch.Generator().manual_seed(1)
    batch = random_batch(model, rows=2, frames=6)
    found = {}
    losses = model.segment_losses(batch, ObjectiveConfig(scheme), generator, segments)
    for i, segment in enumerate(losses):
        segment["total"].backward()
        found |= {f"{i}.{name}": loss.detach() for name, loss in segment.items()}
    return found | {
        name: x.grad.clone() for name, x in model.named_parameters() if x.grad is not None
    }


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("segments", [1, 2])
@pytest.mark.parametrize(
    "architecture", [*ARCHITECTURES.values(), BIDIRECTIONAL], ids=[*ARCHITECTURES, "bidirectional"]
)
def test_losses_and_gradients_are_the_same(
    architecture: dict[str, object], segments: int, scheme: str
) -> None:
    model = conditioned_model("action", **architecture)
    kept, again = (gradients(model, scheme, segments, again) for again in (False, True))
    assert kept.keys() == again.keys() and len(kept) > 10
    for name, wanted in kept.items():
        assert torch.equal(again[name], wanted), name


def test_less_is_kept_for_the_gradient() -> None:
    model = conditioned_model("action", scan_blocks=((2, 2), (1, 2), (1, 1), (2, 1)))
    kept = {}
    for again in (False, True):
        storages: dict[int, int] = {}

        def keep(tensor: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.dynamics.checkpoint_activations = again
            model.requires_grad_(True)
            batch = random_batch(model, rows=2, frames=12)
            model.loss(batch, ObjectiveConfig(), torch.Generator().manual_seed(1))
        kept[again] = sum(storages.values())
    assert kept[True] < kept[False] / 3
