"""Hyper-parameters that learn first-person mazes, and the models they build.

Policies are made of Stable-Baselines3's own classes only, so that a saved agent loads wherever
Stable-Baselines3 is installed.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields, replace
from typing import Any

from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from dreamenv.core.errors import ConfigError
from dreamenv.core.ranges import require_ranges

Model = PPO | RecurrentPPO

ROLLOUT_FRAMES = 2048
"""Frames between two updates: in a 9x9 maze, about one reward of a policy that knows nothing."""
SMALLEST_IMAGE = 36
"""Height and width that the convolutions of `CnnPolicy` (Mnih et al. 2015) need."""


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters under their Stable-Baselines3 names (Schulman et al. 2017)."""

    n_steps: int
    """Steps of each environment between updates; for RecurrentPPO also the length of BPTT."""
    batch_size: int
    n_epochs: int = 4
    learning_rate: float = 2.5e-4
    learning_rate_end: float = 2.5e-5
    """The rate falls linearly from `learning_rate` to this over the run."""
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    features_dim: int = 256
    """Width of the layer after the convolutions."""
    net_width: int = 64
    """Observations that are not just a frame: width of the two layers before actions and value."""
    lstm_hidden_size: int = 256
    """RecurrentPPO only. Actor and critic have an LSTM each: values need memory as well."""

    def __post_init__(self) -> None:
        least = {"batch_size": 2, "learning_rate_end": 0.0, "ent_coef": 0.0, "vf_coef": 0.0}
        sizes = ("n_steps", "n_epochs", "features_dim", "net_width", "lstm_hidden_size")
        require_ranges(
            self,
            least | dict.fromkeys(sizes, 1),
            positive=("learning_rate", "clip_range", "max_grad_norm"),
            shares=("gamma", "gae_lambda"),
            prefix="the recipe's ",
        )


def make_recipe(num_envs: int, hyperparameters: dict[str, Any]) -> Recipe:
    """The recipe for `num_envs` parallel environments, with some entries replaced.

    Raises:
        ConfigError: an entry that the recipe does not have, or a value that is impossible.
    """
    known = [entry.name for entry in fields(Recipe)]
    for name in hyperparameters:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1) or known
            raise ConfigError(f"no hyper-parameter {name!r}; did you mean {', '.join(nearest)}?")
    n_steps = max(ROLLOUT_FRAMES // num_envs, 32) // 8 * 8
    recipe = Recipe(**{"n_steps": n_steps, "batch_size": 2, **hyperparameters})
    if recipe.n_steps * num_envs < 2:
        raise ConfigError("the recipe's n_steps must be at least 2 where there is 1 environment")
    if "batch_size" in hyperparameters:
        return recipe
    return replace(recipe, batch_size=max(recipe.n_steps * num_envs // 8, 2))


def build_model(algo: str, recipe: Recipe, env: VecEnv, seed: int, device: str) -> Model:
    """A fresh PPO or RecurrentPPO on `env`.

    Images (H, W, C) of bytes get convolutions and are scaled to 0..1; other observations, such as
    a world model's memory, go to an MLP as they are.

    Raises:
        ConfigError: images too small for the convolutions.
    """
    recurrent = algo == "recurrent_ppo"
    kind, policy_kwargs = _policy_kind(env.observation_space, recipe)
    if recurrent:
        policy_kwargs["lstm_hidden_size"] = recipe.lstm_hidden_size
    algorithm = RecurrentPPO if recurrent else PPO
    return algorithm(
        f"{kind}LstmPolicy" if recurrent else f"{kind}Policy",
        env,
        learning_rate=LinearSchedule(recipe.learning_rate, recipe.learning_rate_end, 1.0),
        n_steps=recipe.n_steps,
        batch_size=recipe.batch_size,
        n_epochs=recipe.n_epochs,
        gamma=recipe.gamma,
        gae_lambda=recipe.gae_lambda,
        clip_range=recipe.clip_range,
        ent_coef=recipe.ent_coef,
        vf_coef=recipe.vf_coef,
        max_grad_norm=recipe.max_grad_norm,
        policy_kwargs=policy_kwargs,
        seed=seed,
        device=device,
    )


def _policy_kind(space: spaces.Space, recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """Which of Stable-Baselines3's policies reads the space, and its arguments."""
    parts = list(space.spaces.values()) if isinstance(space, spaces.Dict) else [space]
    for part in filter(is_image_space, parts):
        assert part.shape is not None
        height, width = sorted(part.shape)[-2:]
        if min(height, width) < SMALLEST_IMAGE:
            raise ConfigError(
                f"images are {height}x{width}, but the convolutions need at least "
                f"{SMALLEST_IMAGE}x{SMALLEST_IMAGE}; resize them "
                "(gymnasium.wrappers.ResizeObservation)"
            )
    if is_image_space(space):
        return "Cnn", {"features_extractor_kwargs": {"features_dim": recipe.features_dim}}
    layers: dict[str, Any] = {"net_arch": [recipe.net_width] * 2}
    if isinstance(space, spaces.Dict):
        layers["features_extractor_kwargs"] = {"cnn_output_dim": recipe.features_dim}
        return "MultiInput", layers
    return "Mlp", layers
