"""Random training windows for small models of either conditioning."""

from __future__ import annotations

import torch

from dreamenv.world_model.config import ActionConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import Batch
from tests.world_model.models import ACTIONS, tiny_config, tiny_model

POSES = ActionConfig(low=(0.0, 0.0, -1.0, -1.0), high=(4.0, 6.0, 1.0, 1.0))
BOX = ActionConfig(low=(-1.0, 0.0), high=(1.0, 3.0))
REWARDS = (0.0, 1.0, 2.5)

ARCHITECTURES = {
    "block and window": {},
    "recall": {"ssm_recall": True},
    "place forgetting": {"ssm_recall": True, "ssm_place_forgetting": True},
    "frame recall": {"scan": "frame", "attention": "none", "ssm_recall": True},
    "block": {"attention": "none"},
    "frame and window": {"scan": "frame"},
    "frame and full": {"scan": "frame", "attention": "full"},
    "frame": {"scan": "frame", "attention": "none"},
    "window": {"scan": "none"},
    "full": {"scan": "none", "attention": "full"},
    "patches": {"patch": 2, "scan": "frame"},
}
"""Every causal way for a token to learn of earlier frames, as changes of `DynamicsConfig`."""


def conditioned_model(conditioning: str, seed: int = 0, **dynamics: object) -> WorldModel:
    """A tiny randomised model under "action" (discrete), "box" (continuous) or "pose"."""
    actions = {"action": ActionConfig(n=ACTIONS), "box": BOX, "pose": POSES}[conditioning]
    kind = "pose" if conditioning == "pose" else "action"
    return tiny_model(tiny_config(dynamics, conditioning=kind, actions=actions), seed)


def random_batch(model: WorldModel, rows: int, frames: int, seed: int = 0) -> Batch:
    """Windows of noise that begin as windows do; one reward in five is unknown."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, frames, model.dynamics.latent_count, model.dynamics.latent_channels)
    latents = torch.randn(shape, generator=generator, dtype=torch.float64)
    known = model.config.actions
    if known.discrete:
        actions = torch.randint(0, known.n, (rows, frames), generator=generator)
        actions[:, 0] = -1
    else:
        low, high = (torch.tensor(x, dtype=torch.float64) for x in (known.low, known.high))
        share = torch.rand((rows, frames, len(low)), generator=generator, dtype=torch.float64)
        actions = low + share * (high - low)
        if model.config.conditioning == "action":
            actions[:, 0] = torch.nan
    chosen = torch.randint(0, len(REWARDS), (rows, frames), generator=generator)
    rewards = torch.tensor(REWARDS, dtype=torch.float64)[chosen]
    rewards[torch.rand((rows, frames), generator=generator) < 0.2] = torch.nan
    terminated = torch.rand((rows, frames), generator=generator) < 0.2
    return Batch(latents, actions, rewards, terminated)


def copy_of(batch: Batch) -> Batch:
    """The same windows in other memory."""
    parts = (batch.latents, batch.actions, batch.rewards, batch.terminated)
    return Batch(*(part.clone() for part in parts))
