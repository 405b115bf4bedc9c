"""A run's model: its preset, the run's own changes, and what its rollouts ask for."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dreamenv.core.errors import ConfigError
from dreamenv.rollouts.poses import read_poses
from dreamenv.rollouts.spaces import require_action_space, space_to_dict
from dreamenv.rollouts.store import RolloutStore
from dreamenv.training.config import TrainConfig
from dreamenv.training.landmarks import planar_poses, typical_spacing
from dreamenv.training.rewards import all_rewards, fit_rewards
from dreamenv.world_model.checkpoint import checkpoint_folder, read_config
from dreamenv.world_model.config import ActionConfig, WorldModelConfig, grid_of
from dreamenv.world_model.presets import PRESETS, blocks_for, preset

FITTED = ("format_version", "conditioning", "actions", "rewards", "frame_channels", "image_key")
"""Parts of a `WorldModelConfig` that a run takes from its rollouts and its other options."""


def model_config(
    config: TrainConfig,
    store: RolloutStore,
    held_out: RolloutStore,
    resumed: WorldModelConfig | None = None,
) -> WorldModelConfig:
    """The preset, fitted to a store's actions or poses and rewards, with the run's own changes.

    Args:
        config: of the run.
        store: its rollouts.
        held_out: those that it is measured on, whose poses are to be known too.
        resumed: the model of the run so far, which may have seen fewer rollouts: what rewards and
            poses it knows it keeps.

    Raises:
        ConfigError: the changes name fields that are not there or not theirs to set, or do not fit
            together; or the tokenizer is for other frames.
        RolloutError: poses are wanted, and the store has none; or its actions cannot be dreamt.
    """
    if config.conditioning == "pose":
        actions = _pose_box(config.pose_infos, store, held_out)
    else:
        actions = ActionConfig.of(space_to_dict(require_action_space(store.action_space)))
    before = None
    if resumed is None and config.weights_from:
        resumed, _ = read_config(checkpoint_folder(config.weights_from))
    if resumed is not None:
        before = resumed.rewards
        if config.conditioning == resumed.conditioning == "pose" and within(actions, resumed):
            actions = resumed.actions
    rewards, _ = fit_rewards(all_rewards(store), config.rewards, before)
    channels = store.observation_space.shape[-1]
    fitted = preset(
        config.preset,
        frame_size=_frame_size(config),
        conditioning=config.conditioning,
        actions=actions,
        rewards=rewards,
        frame_channels=channels,
        image_key=store.image_key,
    )
    plain = fitted.to_dict()
    whole = overlay(plain, config.architecture)
    for name in FITTED:
        if whole[name] != plain[name]:
            raise ConfigError(f"architecture cannot set {name}: the rollouts and options decide it")
    if config.weights_from:
        return _with_spacing(_source_config(config, fitted), config, store, resumed)
    if config.tokenizer_from:
        # The weights that are taken decide how large the tokenizer is.
        source, _ = read_config(checkpoint_folder(config.tokenizer_from))
        taken = source.to_dict()["tokenizer"]
        if json.dumps(whole["tokenizer"]) not in map(json.dumps, (plain["tokenizer"], taken)):
            raise ConfigError(
                f"architecture cannot set tokenizer: that of {config.tokenizer_from} is used as "
                "it is; leave out one of the two"
            )
        whole["tokenizer"] = taken
        if source.frame_channels != channels:
            raise ConfigError(
                f"the tokenizer of {config.tokenizer_from} is for frames of "
                f"{source.frame_channels} channels, those of {store.path} have {channels}"
            )
    changes, dynamics = config.architecture.get("dynamics", {}), whole["dynamics"]
    if isinstance(changes, Mapping) and "scan_blocks" not in changes:
        whole["dynamics"] = {**dynamics, "scan_blocks": _scan_blocks(config.preset, whole)}
    return _with_spacing(WorldModelConfig.from_dict(whole), config, store, resumed)


def _with_spacing(
    fitted: WorldModelConfig, config: TrainConfig, store: RolloutStore,
    resumed: WorldModelConfig | None,
) -> WorldModelConfig:  # fmt: skip
    """The configuration with the spacing of landmarks measured, where it was left to training."""
    landmarks = fitted.dynamics.landmarks
    if not landmarks.count or landmarks.spacing:
        return fitted
    spacing = 0.0 if resumed is None else resumed.dynamics.landmarks.spacing
    if not spacing:
        few = range(min(store.num_episodes, EPISODES_FOR_SPACING))
        poses = planar_poses(store, config.landmark_infos, few)
        spacing = typical_spacing(poses, np.asarray(store.lengths)[few] + 1)
    landmarks = dataclasses.replace(landmarks, spacing=spacing)
    dynamics = dataclasses.replace(fitted.dynamics, landmarks=landmarks)
    return dataclasses.replace(fitted, dynamics=dynamics)


def _frame_size(config: TrainConfig) -> tuple[int, int]:
    named = config.architecture.get("frame_size")
    if config.frame_size is None:
        return WorldModelConfig.frame_size
    if named is not None and tuple(named) != config.frame_size:
        raise ConfigError(
            f"architecture sets frame_size {named}, and frame_size is {config.frame_size}: give one"
        )
    return config.frame_size


def _scan_blocks(name: str, whole: Mapping[str, Any]) -> list[list[int]]:
    """The preset's scan blocks for the token grid of a configuration as plain data."""
    patch, size = whole["dynamics"].get("patch"), whole["frame_size"]
    blocks = PRESETS[name][1].scan_blocks
    try:
        rows, columns = (side // patch for side in grid_of(size))
        blocks = blocks_for(blocks, (max(1, rows), max(1, columns)))
    except (TypeError, ValueError, ArithmeticError, LookupError):
        pass  # nonsense, which from_dict names
    return [list(block) for block in blocks]


def _source_config(config: TrainConfig, fitted: WorldModelConfig) -> WorldModelConfig:
    """The configuration of the checkpoint to begin with, checked against that of the rollouts."""
    source, _ = read_config(checkpoint_folder(config.weights_from))
    # Spaces may differ in what the model is not told, such as the number of the first action.
    if source.actions.told == fitted.actions.told:
        source = dataclasses.replace(source, actions=fitted.actions)
    source = dataclasses.replace(source, rewards=fitted.rewards)  # which were widened to these
    there_all, here_all = source.to_dict(), fitted.to_dict()
    for name in FITTED:
        there, here = there_all[name], here_all[name]
        if there != here:
            raise ConfigError(
                f"{config.weights_from} was trained with {name} {there}, but {config.data} and the "
                f"options ask for {here}; begin from a checkpoint of the same environment"
            )
    source = _changed_source(config, source)
    passes = config.shortcut_passes
    if not passes:
        return source
    if source.dynamics.shortcut_passes not in (0, passes):
        raise ConfigError(
            f"{config.weights_from} has shortcuts of up to {source.dynamics.shortcut_passes} "
            f"passes already; leave out shortcut_passes {passes}"
        )
    dynamics = dataclasses.replace(source.dynamics, shortcut_passes=passes)
    return dataclasses.replace(source, dynamics=dynamics)


def _changed_source(config: TrainConfig, source: WorldModelConfig) -> WorldModelConfig:
    """The configuration to begin with, with what a run may change of it changed."""
    plain = source.to_dict()
    changed = overlay(plain, config.architecture)
    kept = overlay(changed, {"sampler": plain["sampler"]})
    before, after = source.dynamics.landmarks, changed["dynamics"]["landmarks"]
    # How many there are, how far apart and how many are looked at, is nothing that weights fix.
    loose = ("count", "nearest", "spacing", "turn") if before.count else tuple(after)
    loose = loose if after["count"] else ()
    kept = overlay(
        kept, {"dynamics": {"landmarks": {name: getattr(before, name) for name in loose}}}
    )
    if json.dumps(kept) != json.dumps(plain):
        raise ConfigError(
            "weights_from brings its architecture: beside it, architecture may set the sampler, "
            "and landmarks of a model that has none, or their number and spacing; "
            f"{config.architecture} goes beyond that"
        )
    return WorldModelConfig.from_dict(changed)


def overlay(whole: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested plain data with `changes` laid over it."""

    def lay(below: Any, above: Any) -> Any:
        if isinstance(below, Mapping) and isinstance(above, Mapping):
            return {**below} | {key: lay(below.get(key), value) for key, value in above.items()}
        return above

    return lay(whole, changes)


def _pose_box(keys: Sequence[str], *stores: RolloutStore) -> ActionConfig:
    """Whole numbers between which all poses lie, held-out ones, where dreams begin, included."""
    poses = [read_poses(s, i, keys) for s in stores for i in range(s.num_episodes)]
    low = np.floor(np.min([p.min(0) for p in poses], 0))
    high = np.maximum(np.ceil(np.max([p.max(0) for p in poses], 0)), low + 1)
    return ActionConfig(low=tuple(map(float, low)), high=tuple(map(float, high)))


EPISODES_FOR_SPACING = 64


def within(poses: ActionConfig, model: WorldModelConfig) -> bool:
    """Tell whether a model's box of poses, in which positions are measured, holds all of these."""
    pairs = zip(poses.bounds, model.actions.bounds, strict=False)
    return len(poses.low) == len(model.actions.low) and all(
        there[0] <= here[0] and here[1] <= there[1] for here, there in pairs
    )
