"""`Blueprint`: what kind of agent a file holds, as plain data; from it the agent is built anew.

Only networks of Stable-Baselines3's own classes have one, described by numbers and by names from
the lists below: nothing in a blueprint names code to run.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from gymnasium import spaces

from dreamenv.core.errors import CheckpointError, ConfigError, MissingDependencyError, RolloutError
from dreamenv.core.plain import from_plain
from dreamenv.core.quiet import without_gym_notice
from dreamenv.rollouts.spaces import MOST_NUMBERS, space_from_dict, space_to_dict

if TYPE_CHECKING:
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecEnv

POLICIES = {
    "PPO": ("MlpPolicy", "CnnPolicy", "MultiInputPolicy"),
    "RecurrentPPO": ("MlpLstmPolicy", "CnnLstmPolicy", "MultiInputLstmPolicy"),
}
"""Algorithm → the networks that can be described."""
ACTIVATIONS = ("Tanh", "ReLU", "LeakyReLU", "ELU", "GELU", "SiLU")
"""Names in torch.nn."""
SETTINGS = (
    *("n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "normalize_advantage"),
    *("ent_coef", "vf_coef", "max_grad_norm", "target_kl", "use_sde", "sde_sample_freq"),
)
"""Arguments of both algorithms that are plain numbers."""
SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf")
"""Arguments that may change along training."""
MOST_WIDTH, MOST_LAYERS, MOST_PARTS = 2**16, 64, 16


@dataclass(frozen=True)
class Blueprint:
    """An agent's algorithm, network, spaces and settings of training.

    Raises:
        ConfigError: an algorithm or network that is not among those that can be described, or a
            size beyond reason.
    """

    algorithm: str
    """PPO or RecurrentPPO."""
    policy: str
    """Name of the network class among `POLICIES`."""
    policy_kwargs: dict[str, Any]
    """Its arguments: numbers, and lists and dictionaries of them; `activation_fn` by its name."""
    observation_space: dict[str, Any]
    action_space: dict[str, Any]
    settings: dict[str, Any]
    """`SETTINGS`, and `SCHEDULES` as a number or [start, end, share of training]."""
    num_envs: int
    """Environments it was trained in."""
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.policy not in POLICIES.get(self.algorithm, ()):
            raise ConfigError(f"{self.algorithm} with a {self.policy} is no agent that is known")
        _require_sizes(self.policy_kwargs)
        if not 1 <= self.num_envs <= MOST_WIDTH:
            raise ConfigError(f"an agent of {self.num_envs} environments is none that was saved")
        unknown = self.settings.keys() - {*SETTINGS, *SCHEDULES}
        if unknown:
            raise ConfigError(f"no setting {min(unknown)!r} is known")
        for name in SETTINGS:
            value = self.settings.get(name)
            if not (value is None or isinstance(value, bool | int | float)):
                raise ConfigError(f"the setting {name} is no number")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `from_dict`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Blueprint:
        """The inverse of `to_dict`.

        Raises:
            ConfigError: it describes no agent.
        """
        return from_plain(cls, data)

    @classmethod
    def of(cls, model: PPO | RecurrentPPO) -> Blueprint:
        """That of an agent.

        Raises:
            ConfigError: it has parts that cannot be described by data, such as a network of the
                caller's own.
        """
        algorithm = type(model).__name__
        names = POLICIES.get(algorithm, ())
        known = {type(model).policy_aliases[name]: name for name in names}
        try:
            kwargs = _arguments_to_plain(model.policy_kwargs)
            if model.policy_class not in known:
                raise ConfigError(f"its network {model.policy_class.__name__}")
            observations = _space_to_plain(model.observation_space)
            actions = _space_to_plain(model.action_space)
        except ConfigError as error:
            raise ConfigError(
                f"an agent of {algorithm} cannot be saved as plain data because of {error}; save "
                "it with its own save(), as a zip that must be trusted to be loaded"
            ) from error
        settings = {name: getattr(model, name, None) for name in SETTINGS}
        remaining = model._current_progress_remaining
        settings |= {
            name: _schedule_to_plain(getattr(model, name), remaining) for name in SCHEDULES
        }
        return cls(
            *(algorithm, known[model.policy_class], kwargs, observations, actions, settings),
            num_envs=model.n_envs,
            seed=model.seed,
        )

    def observations(self) -> spaces.Space:
        """The space of what the agent sees, channels first as Stable-Baselines3 stores images."""
        return _space_from_plain(self.observation_space)

    def actions(self) -> spaces.Space:
        """The space of what it does."""
        return _space_from_plain(self.action_space)

    def weights(self) -> dict[str, torch.Tensor]:
        """Names and shapes of its weights; no memory is taken for them.

        Raises:
            ConfigError: it describes no network.
        """
        kind = algorithms()[self.algorithm].policy_aliases[self.policy]
        try:
            nowhere = torch.device("meta")
            # Networks without convolutions would otherwise ask for the processor.
            kind = type(kind.__name__, (kind,), {"device": property(lambda _: nowhere)})
            with _quiet_chance(), torch._C._EnableTorchFunction(), nowhere:
                policy = kind(
                    *(self.observations(), self.actions(), lambda _: 1.0),
                    use_sde=bool(self.settings.get("use_sde")),
                    **_arguments_from_plain(self.policy_kwargs),
                )
            return own_weights(policy)
        except (AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(f"it describes no network ({error!r})") from error

    def build(self, device: str = "cpu", env: VecEnv | None = None) -> PPO | RecurrentPPO:
        """The agent with first weights.

        Args:
            device: of its network.
            env: to go on training in; without one it can act, and nothing is drawn from the
                program's random generators.

        Raises:
            CheckpointError: `env` has other spaces.
        """
        kind = algorithms()[self.algorithm]
        settings = dict(self.settings)
        for name in SCHEDULES:
            settings[name] = _schedule_from_plain(settings.get(name))
        if env is None:  # no room for rollouts is needed
            settings |= {"n_steps": 1}
        arguments: dict[str, Any] = {
            **settings,
            "policy_kwargs": _arguments_from_plain(self.policy_kwargs),
            "seed": None if env is None else self.seed,
            "device": device,
            "_init_setup_model": False,
        }
        model = kind(self.policy, env, **arguments)  # type: ignore[arg-type]
        observations, actions = self.observations(), self.actions()
        if env is None:
            model.observation_space, model.action_space, model.n_envs = observations, actions, 1
            with _quiet_chance():
                model._setup_model()
            model.n_steps, model.seed = int(self.settings.get("n_steps") or 1), self.seed
            return model
        for name, stored in (("observation_space", observations), ("action_space", actions)):
            if getattr(model, name) != stored:
                raise CheckpointError(
                    f"its {name} is {stored}, that of the environment {getattr(model, name)}"
                )
        model._setup_model()
        return model


def own_weights(policy: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights of a network, those that stand in it under several names under the first."""
    found: dict[int, tuple[str, torch.Tensor]] = {}
    for name, weight in policy.state_dict(keep_vars=True).items():
        found.setdefault(id(weight), (name, weight))
    return dict(found.values())


def algorithms() -> dict[str, Any]:
    """The classes of both algorithms by name.

    Raises:
        MissingDependencyError: Stable-Baselines3 or sb3-contrib is not installed.
    """
    try:
        with without_gym_notice():
            from sb3_contrib import RecurrentPPO
            from stable_baselines3 import PPO
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        raise MissingDependencyError(
            f'agents need {package}, which is not installed; run: pip install "dreamenv[agents]"'
        ) from error
    return {"PPO": PPO, "RecurrentPPO": RecurrentPPO}


def _quiet_chance() -> Any:
    """Leaves torch's generators as they were; first weights are drawn, and replaced."""
    return torch.random.fork_rng(devices=[])


def _require_sizes(value: Any, depth: int = 0) -> None:
    """Refuse what no policy's arguments are: deep, long, huge, or no numbers at all."""
    if isinstance(value, dict | list):
        inside = list(value.values()) if isinstance(value, dict) else value
        if depth > 4 or len(inside) > MOST_LAYERS:
            raise ConfigError("its network has too many parts")
        for entry in inside:
            _require_sizes(entry, depth + 1)
    elif isinstance(value, str):
        if value not in ACTIVATIONS:
            raise ConfigError(f"no activation {value[:80]!r} is known")
    elif not (value is None or (isinstance(value, bool | int | float) and abs(value) < MOST_WIDTH)):
        raise ConfigError("its network has a size beyond reason")


def _arguments_to_plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """A policy's arguments as JSON holds them."""
    plain = dict(arguments)
    activation = plain.get("activation_fn")
    if activation is not None:
        plain["activation_fn"] = getattr(activation, "__name__", "")
        if activation is not getattr(torch.nn, plain["activation_fn"], None):
            raise ConfigError(f"its activation {activation}")
    for name, value in plain.items():
        try:
            plain[name] = _lists(value)
            _require_sizes(plain[name])
        except ConfigError as error:
            raise ConfigError(f"its {name} ({value!r})") from error
    return plain


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _lists(entry) for name, entry in value.items()}
    return [_lists(entry) for entry in value] if isinstance(value, list | tuple) else value


def _arguments_from_plain(plain: dict[str, Any]) -> dict[str, Any]:
    arguments = dict(plain)
    if "activation_fn" in arguments:
        arguments["activation_fn"] = getattr(torch.nn, arguments["activation_fn"])
    return arguments


def _space_to_plain(space: spaces.Space) -> dict[str, Any]:
    try:
        if isinstance(space, spaces.Dict):  # a network reads its parts in their order
            parts = [[name, space_to_dict(part)] for name, part in space.spaces.items()]
            return {"type": "Dict", "spaces": parts}
        return space_to_dict(space)
    except RolloutError as error:
        raise ConfigError(f"its space {space}") from error


def _space_from_plain(plain: dict[str, Any]) -> spaces.Space:
    try:
        if plain.get("type") != "Dict":
            return space_from_dict(plain)
        parts = OrderedDict((str(name), part) for name, part in plain["spaces"])
        if len(parts) > MOST_PARTS or sum(_numbers(part) for part in parts.values()) > MOST_NUMBERS:
            raise ConfigError("its observations are too large")
        return spaces.Dict(OrderedDict((n, space_from_dict(part)) for n, part in parts.items()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"its spaces are damaged ({error})") from error


def _numbers(space: dict[str, Any]) -> int:
    return prod(size for size in space.get("shape", []) if type(size) is int)


def _schedule_to_plain(schedule: Any, remaining: float) -> Any:
    """A number, or [start, end, share]; of any other function its present value."""
    from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

    if isinstance(schedule, FloatSchedule):
        schedule = schedule.value_schedule
    if isinstance(schedule, LinearSchedule):
        return [schedule.start, schedule.end, schedule.end_fraction]
    if isinstance(schedule, ConstantSchedule):
        return schedule.val
    return float(schedule(remaining)) if callable(schedule) else schedule


def _schedule_from_plain(plain: Any) -> Any:
    from stable_baselines3.common.utils import LinearSchedule

    numbers = plain if isinstance(plain, list) else [plain]
    if not all(isinstance(number, int | float) or plain is None for number in numbers):
        raise ConfigError("a schedule is a number, or three of them")
    if not isinstance(plain, list):
        return plain
    if len(plain) != 3:
        raise ConfigError("a schedule is a number, or three of them")
    return LinearSchedule(*plain)
