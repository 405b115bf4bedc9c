"""The architectures that long-context world models are compared with, from one backbone.

All share tokenizer, conditioning, preconditioning, adaptive norms and heads; they differ in how a
token learns of earlier frames. What a baseline lacks in scans or attention it gets back as a wider
MLP, so that all have about the same number of parameters.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from dreamenv.core.errors import ConfigError
from dreamenv.world_model.config import WorldModelConfig

BASELINES: dict[str, dict[str, Any]] = {
    "ours": {},
    "causal_full": {"scan": "none", "attention": "full"},
    "causal_window": {"scan": "none", "attention": "window"},
    "mamba2": {"scan": "frame", "attention": "none"},
    "mamba2_attention": {"scan": "frame"},
    "dfot": {"scan": "none", "attention": "bidirectional"},
}
"""Name → changes of `DynamicsConfig`. `ours`: block-wise scan and attention over the last few
frames [Po et al. 2025]. `causal_full` and `causal_window`: causal transformers over all frames or
over a window of them. `mamba2`: one scan over all tokens, no attention; `mamba2_attention` with
attention over the last few frames, which is ours without the block-wise scan. `dfot`: a
diffusion-forcing transformer over a window, attending both ways [Song et al. 2025]."""


def baseline(name: str, base: WorldModelConfig, window: int) -> WorldModelConfig:
    """`base` as one of `BASELINES`, with as many parameters as `base` to within a layer's rounding.

    Args:
        name: which one.
        base: the configuration of `ours`.
        window: frames before its own that a token of `causal_window` or `dfot` sees.

    Raises:
        ConfigError: no such baseline, or one that cannot be made as small as `base`.
    """
    if name not in BASELINES:
        raise ConfigError(f"unknown baseline {name!r}; there are {', '.join(BASELINES)}")
    changes = dict(BASELINES[name])
    if name in ("causal_window", "dfot"):
        changes["attention_window"] = window
    changed = _change(base, **changes)
    return _change(changed, mlp_ratio=_matching_ratio(changed, dynamics_parameters(base)))


def dynamics_parameters(config: WorldModelConfig) -> int:
    """Number of parameters of the dynamics, without tokenizer and heads."""
    from dreamenv.world_model.model import WorldModel

    with torch.device("meta"):
        model = WorldModel(config)
    return sum(p.numel() for p in model.dynamics.parameters())


def _matching_ratio(config: WorldModelConfig, parameters: int) -> float:
    dynamics = config.dynamics
    per_unit = len(dynamics.scan_blocks) * (2 * dynamics.width + 1)
    hidden = round(dynamics.mlp_ratio * dynamics.width)
    hidden += round((parameters - dynamics_parameters(config)) / per_unit)
    if hidden < 1:
        raise ConfigError(
            f"without an MLP it still has more than {parameters} parameters: {dynamics}"
        )
    return hidden / dynamics.width


def _change(config: WorldModelConfig, **dynamics: Any) -> WorldModelConfig:
    return dataclasses.replace(config, dynamics=dataclasses.replace(config.dynamics, **dynamics))
