"""What a frame's features say besides pixels: the reward on arriving, and whether it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamenv.world_model.config import RewardConfig


@dataclass
class Outcome:
    """Of arriving at each frame; every tensor starts with (b, t) or, for one frame, (b,)."""

    reward: Tensor
    """The likeliest value if rewards take known values, else the expected one."""
    reward_probabilities: Tensor
    """(…, values): probability of each of `RewardConfig.values`."""
    continuation: Tensor
    """Probability that the episode does not terminate here."""
    features: Tensor | None = None
    """(…, 4 · width): what the model makes of frame and memory, by quarters of the frame."""

    def __getitem__(self, index: tuple[slice | int | None, ...]) -> Outcome:
        """Index the leading dimensions of every part; None adds one."""
        return Outcome(
            self.reward[index],
            self.reward_probabilities[index],
            self.continuation[index],
            None if self.features is None else self.features[index],
        )


UNLIKELY = -5.0
"""Added to the logit of a reward value that is new to a head."""


def widened_rows(
    rows: Tensor, before: Sequence[float], after: Sequence[float], new: float = 0.0
) -> Tensor:
    """Rows (before, …) of a reward head, or of what an optimiser knows of it, for more values.

    A new value takes the row of the nearest one, plus `new`: with `UNLIKELY` for biases it is
    expected where that one is, but seldom, so that predictions stay what they were.
    """
    nearest = [min(range(len(before)), key=lambda i: abs(before[i] - v)) for v in after]  # noqa: B023
    known = torch.tensor([v in before for v in after], device=rows.device)
    picked = rows[torch.tensor(nearest, device=rows.device)]
    return picked + new * (~known).to(rows.dtype).reshape(-1, *[1] * (rows.ndim - 1))


def widened_head(
    tensors: dict[str, Tensor], before: Sequence[float], after: Sequence[float]
) -> dict[str, Tensor]:
    """A model's tensors, by name, with the rows of `head.reward` for the values `after`."""
    weight, bias = "head.reward.weight", "head.reward.bias"
    return tensors | {
        weight: widened_rows(tensors[weight], before, after),
        bias: widened_rows(tensors[bias], before, after, UNLIKELY),
    }


class OutcomeHead(nn.Module):
    """Reward as a categorical over known values or a two-hot grid; continuation as a logit."""

    values: Tensor

    def __init__(self, width: int, rewards: RewardConfig) -> None:
        super().__init__()
        self.exact = rewards.exact
        values = torch.tensor(rewards.values, dtype=torch.float32, device="cpu")
        self.register_buffer("values", values, persistent=False)
        self.body = nn.Sequential(nn.Linear(width, width), nn.SiLU())
        self.reward = nn.Linear(width, len(rewards.values))
        self.continuation = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Outcome:
        """Outcome of frames from their features (…, width)."""
        logits, continuation = self._logits(features)
        probabilities = logits.softmax(-1)
        if self.exact:
            reward = self.values[probabilities.argmax(-1)]
        else:
            reward = (probabilities * self.values).sum(-1)
        return Outcome(reward, probabilities, continuation.sigmoid())

    def losses(
        self, features: Tensor, rewards: Tensor, terminated: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of reward and of continuation for each frame, unreduced."""
        logits, continuation = self._logits(features)
        reward = -(self.two_hot(rewards) * logits.log_softmax(-1)).sum(-1)
        target = 1 - terminated.to(continuation.dtype)
        return reward, F.binary_cross_entropy_with_logits(continuation, target, reduction="none")

    def two_hot(self, rewards: Tensor) -> Tensor:
        """Rewards (…) → weights (…, values): one for a known value, two neighbours between."""
        values = self.values
        if len(values) == 1:
            return torch.ones_like(rewards).unsqueeze(-1)
        rewards = rewards.to(values.dtype).clamp(values[0], values[-1])
        upper = torch.searchsorted(values, rewards.contiguous()).clamp(1, len(values) - 1)
        low, high = values[upper - 1], values[upper]
        share = ((rewards - low) / (high - low)).unsqueeze(-1)
        below = F.one_hot(upper - 1, len(values)) * (1 - share)
        return below + F.one_hot(upper, len(values)) * share

    def _logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(features)
        wide = torch.promote_types(features.dtype, torch.float32)
        return self.reward(hidden).to(wide), self.continuation(hidden).squeeze(-1).to(wide)
