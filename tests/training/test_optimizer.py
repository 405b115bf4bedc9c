"""Which optimiser moves which weight, and the average of the weights."""

from __future__ import annotations

import torch
from torch import nn

from dreamenv.training.optimizer import Average, Optimizer
from tests.world_model.models import tiny_dynamics


def test_every_weight_has_exactly_one_optimiser_and_moves() -> None:
    dynamics = tiny_dynamics((2, 2), width=16, condition_width=16).float().requires_grad_(True)
    optimizer = Optimizer([dynamics], dynamics.layers, weight_decay=0.0)
    owned = [p for o in optimizer.optimizers for g in o.param_groups for p in g["params"]]
    assert sorted(map(id, owned)) == sorted(map(id, dynamics.parameters()))
    muon = {id(p) for g in optimizer.optimizers[1].param_groups for p in g["params"]}
    assert id(dynamics.project.weight) not in muon and id(dynamics.position) not in muon
    assert id(dynamics.layers[0].scan.project.weight) in muon
    assert id(dynamics.layers[0].scan.conv_weight) not in muon
    before = [p.detach().clone() for p in dynamics.parameters()]
    generator = torch.Generator().manual_seed(0)
    loss = sum((p * torch.randn(p.shape, generator=generator)).sum() for p in dynamics.parameters())
    loss.backward()
    norm = optimizer.step(rate=0.01)
    assert norm > 1  # as it was before clipping
    assert all(not torch.equal(p, b) for p, b in zip(dynamics.parameters(), before, strict=True))
    assert all(p.grad is None for p in dynamics.parameters())


def test_a_rate_of_zero_moves_nothing() -> None:
    module = nn.Linear(16, 16)
    optimizer = Optimizer([module], module, weight_decay=0.1)
    before = module.weight.detach().clone()
    module(torch.ones(1, 16)).sum().backward()
    optimizer.step(rate=0.0)
    assert torch.equal(module.weight, before)


def test_the_average_is_short_at_first_then_long() -> None:
    module = nn.Linear(1, 1, bias=False)
    average = Average(module, decay=0.5)
    expected = float(module.weight.detach())
    for update in range(1, 30):
        with torch.no_grad():
            module.weight.fill_(update)
        average.update(module)
        decay = min(0.5, update / (update + 10))
        expected = decay * expected + (1 - decay) * update
        assert abs(float(average.weights["weight"]) - expected) < 1e-4


def test_swapping_twice_changes_nothing() -> None:
    module = nn.Linear(3, 3)
    average = Average(module, decay=0.9)
    with torch.no_grad():
        module.weight.add_(1)
    average.update(module)
    present, mean = module.weight.detach().clone(), average.weights["weight"].clone()
    average.swap(module)
    assert torch.equal(module.weight, mean) and torch.equal(average.weights["weight"], present)
    average.swap(module)
    assert torch.equal(module.weight, present) and torch.equal(average.weights["weight"], mean)
