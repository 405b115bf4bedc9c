"""`SharedAttributes`: attributes of single dreams, asked of a batch whose slots share one model."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from dreamenv.core.deprecation import RenamedAttribute, warn_of_old_name
from dreamenv.core.errors import ConfigError, EnvironmentUsageError
from dreamenv.dream.any_dream import AnyDream
from dreamenv.dream.arguments import RENAMED, whole_number
from dreamenv.dream.belief import Belief
from dreamenv.dream.keys import Keys, action_meanings, keys_to_action
from dreamenv.dream.loading import LoadedWorldModel
from dreamenv.dream.random_streams import Generators
from dreamenv.dream.slots import Slots

DIRECTLY = ("reset", "step", "close", "set_state", "fork")
"""Methods that act on all slots at once, with arguments or results of all of them."""
FIXED = (
    "num_envs",
    "denoising_steps",
    "autoreset_mode",
    "render_mode",
    "observation",
    "min_trust",
    "spawns",
    "near_rewards",
)
"""Arguments that cannot be changed once an environment is made."""


class SharedAttributes(AnyDream, VectorEnv):
    """What Gymnasium's vector environments offer beside `reset` and `step`."""

    loaded: LoadedWorldModel
    """The world model; environments of one checkpoint share it."""
    dreamer = RenamedAttribute("loaded")
    denoising_steps: int | None
    """Denoising passes per frame; None for what the checkpoint says."""
    steps = RenamedAttribute("denoising_steps")
    _slots: Slots
    _seeds: dict[int, tuple[np.random.Generator, int]]
    """Generators that were made from a seed, and the seed."""

    @property
    def horizon(self) -> int:
        """Steps after which an episode is truncated; may be set, for the present episode too.

        Raises:
            ConfigError: it is set to what is no whole number, or less than 1.
        """
        return self._horizon

    @horizon.setter
    def horizon(self, steps: int) -> None:
        self._horizon = whole_number("horizon", steps)

    @property
    def generators(self) -> Generators:
        """The random generator of each slot; None before its first use."""
        return self._slots.generators

    @property  # type: ignore[override]
    def np_random(self) -> tuple[np.random.Generator, ...]:
        """The generator of each slot."""
        for slot, generator in enumerate(self.generators):
            if generator is None:
                self.generators[slot] = np.random.default_rng()
                self._note_seed(slot)
        return tuple(generator for generator in self.generators if generator is not None)

    @np_random.setter
    def np_random(self, value: Any) -> None:
        if len(value) != self.num_envs:
            raise EnvironmentUsageError(f"{self.num_envs} slots need as many generators")
        self.generators[:] = value

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """What each slot's generator was seeded with; −1 where it came with a state or a fork."""
        generators = self.np_random  # made now, if nothing was drawn yet
        noted = [self._seeds.get(slot, (None, -1)) for slot in range(self.num_envs)]
        return tuple(
            seed if seeded is generator else -1
            for generator, (seeded, seed) in zip(generators, noted, strict=True)
        )

    def expected_rewards(self) -> NDArray[np.float64]:
        """What the last step is expected to pay in each slot, whatever it did pay, (num_envs,).

        The mean under the model's probabilities; NaN before the first step, and after a reset or
        `set_state` still that of the step before.
        """
        return self._slots.expected_rewards()

    def belief(self) -> Belief | None:
        """Where each slot believes it is, and which landmarks it looks at.

        None where the model has no landmark memory.
        """
        return self._slots.belief()

    def get_keys_to_action(self) -> Keys:
        """The keys that play one of these dreams, for `gymnasium.utils.play`.

        Raises:
            EnvironmentUsageError: actions are continuous, or too many for plain keys.
        """
        return keys_to_action(self.loaded.env_id, self.single_action_space)

    def get_action_meanings(self) -> list[str]:
        """A name for each discrete action, by which wrappers find the one that does nothing.

        Raises:
            EnvironmentUsageError: actions are continuous.
        """
        return action_meanings(self.loaded.env_id, self.single_action_space)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of every slot, or get an attribute; the results, one for each slot.

        What slots share is asked for once, and the answer stands for all.

        Raises:
            EnvironmentUsageError: the method acts on all slots together; call it directly.
        """
        if name in DIRECTLY:
            raise EnvironmentUsageError(f"{name!r} acts on all slots together; call env.{name}()")
        if name in ("observation_space", "action_space"):
            name = f"single_{name}"
        found = getattr(self, name)
        result = found(*args, **kwargs) if callable(found) else found
        if name == "get_state":
            return tuple(result.select([slot]) for slot in range(self.num_envs))
        if name in ("source", "render", "np_random", "np_random_seed"):  # of each slot already
            return (None,) * self.num_envs if result is None else tuple(result)
        return (result,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of every slot."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every slot: to one value, or to those of a list or tuple.

        Raises:
            ConfigError: slots share this attribute and the values differ, or are not as many as
                slots; or it is fixed.
        """
        if name in RENAMED:
            warn_of_old_name("attribute", name, RENAMED[name])
            name = RENAMED[name]
        if name in FIXED:
            raise ConfigError(
                f"{name!r} is fixed when an environment is made; make another, "
                f"or go on in fork(1, {name}=...)"
            )
        each = list(values) if isinstance(values, list | tuple) else [values] * self.num_envs
        if len(each) != self.num_envs or any(value != each[0] for value in each):
            raise ConfigError(
                f"{name!r} is shared by all {self.num_envs} slots, so give one value, or as many "
                f"equal ones: {values!r}"
            )
        setattr(self, name, each[0])

    def _note_seed(self, slot: int) -> None:
        """Remember what a new generator was seeded with."""
        generator = self.generators[slot]
        assert generator is not None
        entropy = generator.bit_generator.seed_seq.entropy  # type: ignore[attr-defined]
        self._seeds[slot] = generator, entropy
