"""Rewards as a categorical over values, and continuation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamenv.world_model.config import RewardConfig
from dreamenv.world_model.network.heads import OutcomeHead
from tests.world_model.models import TOLERANCE

WIDTH = 4


def head(values: tuple[float, ...], exact: bool = True) -> OutcomeHead:
    torch.manual_seed(0)
    return OutcomeHead(WIDTH, RewardConfig(values, exact)).double()


@settings(max_examples=60)
@given(
    values=st.lists(st.integers(-40, 40), min_size=2, max_size=8, unique=True).map(sorted),
    share=st.floats(0, 1),
    data=st.data(),
)
def test_two_hot_keeps_the_reward_and_touches_two_neighbours(
    values: list[int], share: float, data: st.DataObject
) -> None:
    module = head(tuple(float(v) for v in values))
    low = data.draw(st.integers(0, len(values) - 2))
    reward = values[low] + share * (values[low + 1] - values[low])
    weights = module.two_hot(torch.tensor([[reward]], dtype=torch.float64))
    assert weights.shape == (1, 1, len(values))
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 1).double(), **TOLERANCE)
    assert float((weights[0, 0] * module.values).sum()) == pytest.approx(reward, abs=1e-9)
    assert set(weights[0, 0].nonzero().flatten().tolist()) <= {low, low + 1}


def test_two_hot_of_known_values_is_one_hot_and_of_others_the_nearest_end() -> None:
    module = head((-1.0, 0.0, 2.0))
    weights = module.two_hot(torch.tensor([-1.0, 0.0, 2.0, 1.0, -9.0, 9.0]))
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0.5, 0.5], [1, 0, 0], [0, 0, 1]]
    torch.testing.assert_close(weights, torch.tensor(expected).double())


def test_a_world_with_one_reward_value_works() -> None:
    module = head((0.0,))
    assert module.two_hot(torch.zeros(2, 3)).tolist() == torch.ones(2, 3, 1).tolist()
    reward, _ = module.losses(
        torch.randn(2, 3, WIDTH).double(), torch.zeros(2, 3), torch.zeros(2, 3)
    )
    assert reward.abs().max() < 1e-9
    assert (module(torch.randn(2, 3, WIDTH).double()).reward == 0).all()


def test_exact_rewards_are_one_of_the_values_and_others_their_mean() -> None:
    features = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(0)).double()
    values = (-1.0, 0.0, 3.0)
    exact, grid = head(values)(features), head(values, exact=False)(features)
    torch.testing.assert_close(exact.reward_probabilities, grid.reward_probabilities)
    table = torch.tensor(values).double()
    assert torch.equal(exact.reward, table[exact.reward_probabilities.argmax(-1)])
    torch.testing.assert_close(grid.reward, grid.reward_probabilities @ table)
    assert len(grid.reward.unique()) == 50
    for outcome in (exact, grid):
        torch.testing.assert_close(outcome.reward_probabilities.sum(-1), torch.ones(50).double())
        assert ((outcome.continuation > 0) & (outcome.continuation < 1)).all()


def test_losses_fall_where_the_head_is_right() -> None:
    module = head((0.0, 1.0))
    with torch.no_grad():
        for layer in (module.reward, module.continuation):
            layer.weight.zero_()
        module.reward.bias.copy_(torch.tensor([5.0, 0.0]))  # says reward 0
        module.continuation.bias.fill_(5.0)  # says that it goes on
    features = torch.zeros(2, WIDTH).double()
    reward, continuation = module.losses(
        features, torch.tensor([0.0, 1.0]), torch.tensor([False, True])
    )
    assert reward[0] < 0.01 < 4 < reward[1]
    assert continuation[0] < 0.01 < 4 < continuation[1]
    assert module(features).continuation.min() > 0.99
    assert module(features).reward.tolist() == [0.0, 0.0]


def test_outcomes_index_like_their_tensors() -> None:
    outcome = head((0.0, 1.0))(torch.randn(2, 3, WIDTH).double())
    part = outcome[1, 2]
    assert torch.equal(part.reward, outcome.reward[1, 2])
    assert torch.equal(part.reward_probabilities, outcome.reward_probabilities[1, 2])
    assert outcome[:, 1:].continuation.shape == (2, 2)
