"""DreamEnv: learned Gymnasium environments that are dreamt by a video world model.

Importing this package registers the environment ids and nothing else: what it offers is loaded at
its first use, so neither torch nor a simulator is imported until an environment is made.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dreamenv.core import deprecation as _deprecation
from dreamenv.core import process as _process  # noqa: F401 - it notes in which process this is
from dreamenv.dream.registration import register_dream_envs
from dreamenv.real.plugin import families

if TYPE_CHECKING:
    from dreamenv.agents import AgentConfig as AgentConfig
    from dreamenv.agents import train_agent as train_agent
    from dreamenv.agents.agent_files import save_agent as save_agent
    from dreamenv.agents.collecting import SavedAgents as SavedAgents
    from dreamenv.agents.collecting import collect as collect
    from dreamenv.agents.hub import push_to_hub as push_to_hub
    from dreamenv.agents.loading import load_agent as load_agent
    from dreamenv.agents.loading import load_sb3 as load_sb3
    from dreamenv.core.errors import CheckpointError as CheckpointError
    from dreamenv.core.errors import ConfigError as ConfigError
    from dreamenv.core.errors import DreamEnvError as DreamEnvError
    from dreamenv.core.errors import EnvironmentUsageError as EnvironmentUsageError
    from dreamenv.core.errors import MissingDependencyError as MissingDependencyError
    from dreamenv.core.errors import RolloutError as RolloutError
    from dreamenv.dream.env import DreamEnv as DreamEnv
    from dreamenv.dream.frames import WithFrames as WithFrames
    from dreamenv.dream.memory import WithMemory as WithMemory
    from dreamenv.dream.sb3 import DreamVecEnv as DreamVecEnv
    from dreamenv.dream.sb3 import make_dream_vec_env as make_dream_vec_env
    from dreamenv.dream.state import DreamState as DreamState
    from dreamenv.dream.vector_env import DreamVectorEnv as DreamVectorEnv
    from dreamenv.evaluation.gap.config import GapConfig as GapConfig
    from dreamenv.evaluation.gap.measure import measure_gap as measure_gap
    from dreamenv.evaluation.gap.report import GapReport as GapReport
    from dreamenv.rollouts.importers.run import import_rollouts as import_rollouts
    from dreamenv.rollouts.pictures import FrameObservation as FrameObservation
    from dreamenv.rollouts.store import RolloutStore as RolloutStore
    from dreamenv.rollouts.writer import RolloutWriter as RolloutWriter
    from dreamenv.training.config import TrainConfig as TrainConfig
    from dreamenv.training.train import train_world_model as train_world_model
    from dreamenv.world_model.checkpoint import load_world_model as load_world_model
    from dreamenv.world_model.config import WorldModelConfig as WorldModelConfig
    from dreamenv.world_model.model import WorldModel as WorldModel

__version__ = "0.2.0.dev0"

_PLACES = {
    "AgentConfig": "agents",
    "CheckpointError": "core.errors",
    "ConfigError": "core.errors",
    "DreamEnv": "dream.env",
    "DreamEnvError": "core.errors",
    "DreamState": "dream.state",
    "DreamVecEnv": "dream.sb3",
    "DreamVectorEnv": "dream.vector_env",
    "EnvironmentUsageError": "core.errors",
    "FrameObservation": "rollouts.pictures",
    "GapConfig": "evaluation.gap.config",
    "GapReport": "evaluation.gap.report",
    "MissingDependencyError": "core.errors",
    "RolloutError": "core.errors",
    "RolloutStore": "rollouts.store",
    "RolloutWriter": "rollouts.writer",
    "SavedAgents": "agents.collecting",
    "TrainConfig": "training.config",
    "WithFrames": "dream.frames",
    "WithMemory": "dream.memory",
    "WorldModel": "world_model.model",
    "WorldModelConfig": "world_model.config",
    "collect": "agents.collecting",
    "import_rollouts": "rollouts.importers.run",
    "load_agent": "agents.loading",
    "load_sb3": "agents.loading",
    "load_world_model": "world_model.checkpoint",
    "make_dream_vec_env": "dream.sb3",
    "measure_gap": "evaluation.gap.measure",
    "push_to_hub": "agents.hub",
    "save_agent": "agents.agent_files",
    "train_agent": "agents",
    "train_world_model": "training.train",
}
"""Public name → the module it is loaded from at its first use."""

__all__ = ["__version__", *_PLACES]

_MOVED = {
    "dreamenv.errors": "dreamenv.core.errors",
    "dreamenv.evaluation.gap_config": "dreamenv.evaluation.gap.config",
    "dreamenv.evaluation.report": "dreamenv.evaluation.gap.report",
    "dreamenv.real.spawned": "dreamenv.real.replayed",
}
"""Modules that version 0.1 documented → where their names are now; they go with version 0.3."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_deprecation.MovedModules(_MOVED).install()
for _family in families():
    _family.register()
register_dream_envs()
