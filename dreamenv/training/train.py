"""From rollouts to a world model that dreams: train the tokenizer, encode, train the dynamics."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import torch

from dreamenv.core.allocator import keep_freed_memory
from dreamenv.core.errors import DreamEnvError
from dreamenv.core.files import remove_unfinished
from dreamenv.core.locks import hold_folder
from dreamenv.dream.spawns import write_spawns
from dreamenv.rollouts.settings import collected_with
from dreamenv.training.config import TrainConfig
from dreamenv.training.data import LatentWindows
from dreamenv.training.held_out import held_out_clips
from dreamenv.training.plan import Plan, make_plan
from dreamenv.training.processes import joined
from dreamenv.training.run_folder import card, enter_run_folder
from dreamenv.training.stages import (
    compile_layers,
    measure_change,
    measure_motion,
    tokenizer_report,
    train_dynamics,
    train_tokenizer,
)
from dreamenv.world_model.checkpoint import load_world_model, save_world_model


def train_world_model(config: TrainConfig) -> Path:
    """Train, or go on training, a world model.

    The places where dreams begin are stored before the first weights, so the folder can be dreamt
    as soon as it holds a checkpoint, also while or after training is interrupted.

    Returns:
        The checkpoint folder, `config.out`, which `DreamEnv(checkpoint=...)` dreams.

    Raises:
        RolloutError: the stores are absent, of different environments, or too short.
        ConfigError: the run folder was begun with another environment, preset or seed.
        CheckpointError: what stands in the run folder is damaged.
        FolderInUseError: another run is at work in the run folder.
        DreamEnvError: the disk is full or cannot be written, or another process of this training
            has ended.
    """
    out = Path(config.out)
    with joined(config.device) as processes, contextlib.ExitStack() as stack:
        with processes.main_first():  # one holds the folder for all
            if processes.main:
                stack.enter_context(hold_folder(out))
                remove_unfinished(out)
        if config.threads:
            torch.set_num_threads(config.threads)
        plan = make_plan(config, processes)
        if plan.model.device.type == "cpu":
            keep_freed_memory()
        try:
            _train(plan, config)
        except OSError as error:
            raise DreamEnvError(
                f"training stopped: {error}. What was saved in {out} is whole: make room or give "
                "write permission, then run the same command again to continue"
            ) from error
    return out


def _train(plan: Plan, config: TrainConfig) -> None:
    run, model = plan.run, plan.model
    run.processes.wait()  # until all have seen what stood in the folder
    if run.processes.main:
        enter_run_folder(run.folder, plan.store.env_id, run.told)
        for line in (*plan.used, *plan.notes):
            print(line, file=sys.stderr)
        write_spawns(run.folder, plan.spawns)
    if not (config.tokenizer_from or config.weights_from):
        stores = plan.store, plan.held_out
        train_tokenizer(run, config.tokenizer, model, *stores, config.moving_pixels)
    report = tokenizer_report(model, plan.held_out, config.seed)
    if run.processes.main:
        print(report, file=sys.stderr)
    if plan.resumed is not None:  # what latents are measured in goes with the weights
        known_as = load_world_model(run.folder, model.device).tokenizer
        model.tokenizer.latent_mean.copy_(known_as.latent_mean)
        model.tokenizer.latent_std.copy_(known_as.latent_std)
    with run.processes.main_first():  # one encodes for all
        data = LatentWindows(
            plan.store,
            model,
            Path(config.latents) if config.latents else run.folder / "training" / "latents",
            config.window,
            config.stride,
            config.retrace,
            config.ends,
            config.landmark_infos,
            keep=bool(plan.resumed or config.weights_from),
            drift=config.pose_drift,
        )
    if not config.weights_from:  # which were trained under the value that came with them
        measure_change(model, data, config.seed)
    measure_motion(model, data)
    clips = held_out_clips(plan.held_out, model.config.frame_size, config.stride, config.pose_infos)
    model.dynamics.checkpoint_activations = config.checkpoint_activations
    if config.compile:
        compile_layers(model)
    train_dynamics(
        run,
        config.dynamics,
        config.curriculum,
        model,
        data,
        clips,
        lambda step: _save(plan, step, report),
        config.state_reset,
        plan.resumed,
    )


def _save(plan: Plan, step: int, report: str) -> None:
    about: dict[str, Any] = {
        "env_id": plan.store.env_id,
        "env_kwargs": collected_with(plan.store.metadata),
        "episodes": plan.store.num_episodes,
        "environment_steps": plan.store.num_steps,
        "dynamics_updates": step,
        "training": plan.run.told,
    }
    save_world_model(plan.run.folder, plan.model, about, card(about, [*plan.used, report]))
