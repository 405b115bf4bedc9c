"""One training run from configuration to saved agent."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv

from dreamenv.agents.callbacks import Clock, EvaluateAgent, KeepAgent, ProgressBar, SaveAgent
from dreamenv.agents.config import AgentConfig
from dreamenv.agents.envs import close, dreamt_frames, find_spec, is_dream, make_vec_env
from dreamenv.agents.finding import require_trust
from dreamenv.agents.observations import OnlyMemory, has_memory, seen_frame
from dreamenv.agents.recipes import Model, build_model, make_recipe
from dreamenv.agents.resuming import restore_episodes
from dreamenv.agents.run_folder import RunFolder
from dreamenv.agents.saving import load_model, restore_random_state
from dreamenv.core.environment_ids import worker_died
from dreamenv.core.errors import ConfigError, DreamEnvError
from dreamenv.core.files import remove_unfinished
from dreamenv.core.locks import hold_folder


def run(config: AgentConfig) -> Path:
    """Train as `config` says; see `agents.train`."""
    with hold_folder(config.out):
        remove_unfinished(config.out)
        return _run(config)


def _run(config: AgentConfig) -> Path:
    folder = RunFolder(config.out)
    resuming = folder.check(config)
    if resuming:
        require_trust([folder.saved_agent()], config.trust_agent)
    recipe = make_recipe(config.num_envs, config.hyperparameters)
    _check_device(config.device)
    _check_memory(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    with ExitStack() as stack:
        env = make_vec_env(
            *(config.env, config.num_envs, config.seed, config.env_kwargs, config.memory_from),
            repeatable=True,
            frames_from=_frames_from(config),
        )
        stack.callback(close, env)
        if config.only_memory:
            env = OnlyMemory(env)
        if resuming:
            saved = folder.saved_agent()
            model = load_model(config.algo, saved, env, config.device, trust=config.trust_agent)
        else:
            model = build_model(config.algo, recipe, env, config.seed, config.device)
        eval_env = None
        if config.eval_every:
            eval_env = _make_evaluation_env(config, env)
            stack.callback(close, eval_env)
        # Nothing is written before everything could be made: a mistake leaves no folder behind.
        folder.describe(config, recipe)
        folder.forget_after(model.num_timesteps)
        model.set_logger(configure(str(folder.tensorboard), ["tensorboard"]))
        stack.callback(model.logger.close)

        # Saving comes first: an evaluation is never newer than the agent it belongs to.
        callbacks: list[BaseCallback] = [
            Clock(),
            SaveAgent(folder, config.save_every, model.num_timesteps),
        ]
        if config.keep_every:
            callbacks.append(KeepAgent(folder, config.keep_every))
        if eval_env is not None:
            callbacks.append(EvaluateAgent(eval_env, config, folder))
        if config.progress:
            progress_bar = ProgressBar(config.steps)
            stack.callback(progress_bar.close)
            callbacks.append(progress_bar)
        if resuming:
            _go_on(model, folder)
        try:
            model.learn(
                max(0, config.steps - model.num_timesteps),
                callback=callbacks,
                reset_num_timesteps=not resuming,
            )
        except (EOFError, OSError) as error:
            if not worker_died(error):
                raise
            raise DreamEnvError(
                f"the process of an environment died after {model.num_timesteps} steps; its own "
                "error, if it had time for one, is printed above (memory full? try fewer "
                f"--num-envs). Continue with --resume from the last save in {config.out}"
            ) from error
    return folder.agent


def _go_on(model: Model, folder: RunFolder) -> None:
    """Bring back the episodes that were under way, and say whether that was possible."""
    step = model.num_timesteps
    lost = restore_episodes(model, folder.episodes_path(step))
    restore_random_state(model)  # last: making environments may have drawn numbers
    how = "exactly as if it had never stopped"
    if lost:
        how = f"with new episodes, so not bit for bit as if it had never stopped: {lost}"
    print(f"training goes on after step {step}, {how}", file=sys.stderr)


def _make_evaluation_env(config: AgentConfig, env: VecEnv) -> VecEnv:
    """Environments to evaluate in, checked against those trained in.

    Raises:
        ConfigError: an agent of `env` cannot act there, or there is nothing to film.
    """
    env_id, env_kwargs = config.evaluation_env()
    num_envs = min(config.num_envs, config.eval_episodes)
    eval_env = make_vec_env(
        *(env_id, num_envs, config.eval_seed, env_kwargs, config.memory_from),
        frames_from=_frames_from(config),
    )
    if config.only_memory and has_memory(eval_env.observation_space):
        eval_env = OnlyMemory(eval_env)
    problems = [
        f"the {name} of {env_id} is {there}, but {config.env} has {here}"
        for name in ("observation_space", "action_space")
        if (there := getattr(eval_env, name)) != (here := getattr(env, name))
    ]
    if problems and has_memory(env.observation_space) != has_memory(eval_env.observation_space):
        problems.append(
            "both need memory or none: observation=memory among the arguments of a dream, "
            "memory_from for a real environment"
        )
    if config.video and not is_image_space(seen_frame(eval_env.observation_space)):
        problems.append(f"videos show what the agent sees, but {env_id} does not observe images")
    if problems:
        close(eval_env)
        raise ConfigError("; ".join(problems))
    return eval_env


def _frames_from(config: AgentConfig) -> str | None:
    """The checkpoint that says what frames of real environments look like to agents."""
    return config.frames_from or dreamt_frames(
        (config.env, config.env_kwargs), config.evaluation_env()
    )


def _check_memory(config: AgentConfig) -> None:
    """Refuse `memory_from` and `frames_from` where nothing reads them."""
    env_ids = {config.env, config.evaluation_env()[0]}
    dreamt = all(is_dream(find_spec(name)) for name in env_ids)
    if config.frames_from is not None and (dreamt or config.memory_from is not None):
        raise ConfigError(
            "frames_from is for real environments, and memory_from shows frames as well: "
            "leave it out"
        )
    if config.memory_from is not None and dreamt:
        raise ConfigError(
            "memory_from is for real environments; a dream shows its own memory if its arguments "
            "have observation=memory"
        )


def _check_device(name: str) -> None:
    """Refuse a device that is not there; Stable-Baselines3 would train on the CPU without a word.

    Raises:
        ConfigError: unknown to torch, or CUDA without a GPU.
    """
    if name == "auto":
        return
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"torch knows no device {name!r}; try cpu, cuda or auto") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for, but torch sees no GPU; try cpu or auto")
