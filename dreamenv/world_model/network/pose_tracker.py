"""How actions move the pose: measured between two frames, or expected before the second is seen."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dreamenv.world_model.network.conditioning import ActionEmbedding


class PoseTracker(nn.Module):
    """Two small networks on latents, the motion before and the action.

    Args:
        actions: embeds them, (b, t, …) → (b, t, `action_width`).
        action_width: of the embedding.
        latents: n · c, numbers of a frame.
        width: of hidden layers.
    """

    scale: Tensor

    def __init__(
        self, actions: ActionEmbedding, action_width: int, latents: int, width: int
    ) -> None:
        super().__init__()
        self.action = actions
        self.expected = _network(latents + 3 + action_width, width)
        self.measured = _network(2 * latents + 3 + action_width, width)
        # Standard deviation of motions, measured on the training data.
        self.register_buffer("scale", torch.ones(3))

    def forward(
        self, previous: Tensor, motion: Tensor, actions: Tensor, frame: Tensor | None = None
    ) -> Tensor:
        """The motion (b, 3) from the previous frame to the one that an action leads to.

        Args:
            previous: latents (b, n, c) of the frame before.
            motion: (b, 3) that had led there.
            actions: (b, 1, …).
            frame: latents (b, n, c) of the frame itself, if it has been seen.
        """
        told = self.action(actions)[:, 0]
        parts = [previous.flatten(1), *([] if frame is None else [frame.flatten(1)])]
        network = self.expected if frame is None else self.measured
        # Positions are sums of many motions: these networks are small enough for float32.
        with torch.autocast(previous.device.type, enabled=False):
            inputs = torch.cat([*(x.to(motion.dtype) for x in parts), motion / self.scale,
                                told.to(motion.dtype)], -1)  # fmt: skip
            return network(inputs) * self.scale


def _network(inputs: int, width: int) -> nn.Sequential:
    last = nn.Linear(width, 3)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), last
    )
