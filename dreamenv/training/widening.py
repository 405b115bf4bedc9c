"""A run that is continued on more rollouts, which may have rewards that its model does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dreamenv.training.optimizer import Optimizer
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.network.heads import widened_head, widened_rows


def widen_state(
    state: dict[str, Any],
    resumed: WorldModelConfig | None,
    after: Sequence[float],
    optimizer: Optimizer,
) -> None:
    """Give a saved training state a reward head of more values, in place.

    Args:
        state: as `Stage` saved it; it names the values it knows in `about`.
        resumed: the model saved beside it: states of earlier versions do not name them.
        after: the values that there are now.
        optimizer: that is to go on with it.
    """
    before = state.get("about", {}).get("reward_values")
    if before is None:
        before = after if resumed is None else resumed.rewards.values
    if list(before) == list(after):
        return
    state["modules"] = widened_head(state["modules"], before, after)
    weights = state["average"]["weights"]
    weights.update(widened_head(weights, before, after))
    for saved, live in zip(state["optimizer"], optimizer.optimizers, strict=True):
        parameters = [p for group in live.param_groups for p in group["params"]]
        for index, moments in saved["state"].items():
            for name, moment in moments.items():
                if moment.ndim and moment.shape != parameters[index].shape:  # of the head's rows
                    moments[name] = widened_rows(moment, before, after)
