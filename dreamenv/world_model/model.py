"""The world model's four verbs: initial_state, observe, imagine, loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from dreamenv.core.errors import ConfigError
from dreamenv.core.process import LOADING
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.isolation import isolated
from dreamenv.world_model.network.bidirectional import BidirectionalDynamics
from dreamenv.world_model.network.conditioning import make_conditioning
from dreamenv.world_model.network.dynamics import Dynamics, Prediction, Stream
from dreamenv.world_model.network.heads import Outcome, OutcomeHead
from dreamenv.world_model.network.layers import DynamicsLayer
from dreamenv.world_model.network.tokenizer import Tokenizer
from dreamenv.world_model.objective import Batch, ObjectiveConfig, dynamics_loss
from dreamenv.world_model.preprocessing import to_unit
from dreamenv.world_model.pretrained import Pretrained
from dreamenv.world_model.runtime.cpu.training.operations import compiled_operations
from dreamenv.world_model.runtime.frame import FrameStepper
from dreamenv.world_model.runtime.protocol import Stepper, View, Written
from dreamenv.world_model.runtime.reference import ReferenceStepper
from dreamenv.world_model.runtime.select import can_step, make_stepper
from dreamenv.world_model.sampler import Jumps, sample_frame
from dreamenv.world_model.state import State


class WorldModel(Pretrained, nn.Module):
    """Predicts the next frame, its reward and its continuation, from any number of frames.

    Frames are (b, t, H, W, C), uint8 or floats in [0, 1]; actions are (b, t) integers or
    (b, t, dims) floats, each the action that *led to* its frame, −1 or NaN where none did. Under
    `conditioning="pose"` the poses that frames are seen from stand where actions do. A slot is one
    independent dream; slots only share arithmetic.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = Tokenizer(config.tokenizer, config.frame_channels)
        kind = Dynamics if config.dynamics.attention != "bidirectional" else BidirectionalDynamics
        self.dynamics = kind(
            config.dynamics,
            config.grid,
            config.tokenizer.latent_channels,
            make_conditioning(config),
        )
        for layer in self.dynamics.layers:
            cast(DynamicsLayer, layer).faster = compiled_operations
        self.head = OutcomeHead(config.dynamics.width, config.rewards)
        self.compute_dtype = torch.float32
        """bfloat16 runs matrix products in half the time; SSM state and noise stay in float32."""
        self._stepper: Stepper | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the stepper: it is made anew, and holds addresses of this process."""
        return {**self.__dict__, "_stepper": None}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.dynamics.position.device

    @isolated
    def initial_state(self, slots: int) -> State:
        """The memory of `slots` dreams before their first frame."""
        state = self.dynamics.initial_state(slots)
        if self.compute_dtype != torch.float32:  # as the layers will leave them, so bytes stay
            for layer in (*state.layers, state.landmarks):
                for name in layer.keys() & {"conv", "keys", "values", "views"}:
                    layer[name] = layer[name].to(self.compute_dtype)
        return state

    @isolated
    def observe(
        self, state: State, frames: Tensor, actions: Tensor, reuse: bool = False
    ) -> tuple[State, Outcome]:
        """Take real frames into memory, in parallel over time.

        Args:
            state: memory of b slots.
            frames: (b, t, H, W, C). actions: (b, t, …), which led to them.
            reuse: give up `state`, as in `imagine`; faster where t is 1.

        Returns:
            The memory after the last frame, and the outcome of arriving at each frame, (b, t).

        Raises:
            ConfigError: a shape, dtype or action does not fit the model, or a frame holds NaN.
        """
        self._check(state, frames, actions)
        with self.autocast():
            latents = self._encode(frames)
        if reuse and frames.shape[1] == 1 and can_step(self.dynamics):
            stepper, state = self.stepper(), _writable(state)
            view = View(1.0, self.dynamics.finest_jump)
            frame, action = latents[:, 0], actions[:, 0]
            shared = stepper.begin(state, action, frame)
            written = stepper.write(state, shared, frame, view, action)
            return written.state, self._told(stepper, written)[:, None]
        return self.observe_latents(state, latents, actions)

    @isolated
    def observe_latents(
        self, state: State, latents: Tensor, actions: Tensor
    ) -> tuple[State, Outcome]:
        """`observe` for frames already encoded, (b, t, tokens, channels)."""
        with self.autocast():
            clean = Stream(latents, latents.new_ones(latents.shape[:2]))
            state, prediction, _ = self.dynamics(state, clean, actions)
            # A memory is kept for long; the last of many frames would keep them all.
            return state.compact(), self._outcome(prediction)

    @isolated
    def imagine(
        self,
        state: State,
        action: Tensor,
        noise: Tensor,
        steps: int | None = None,
        reuse: bool = False,
    ) -> tuple[Tensor, Outcome, State]:
        """Imagine the frame that `action` leads to.

        Args:
            state: memory of b slots.
            action: (b,) integers or (b, dims) floats.
            noise: standard normal, (b, 2, tokens, channels): where denoising starts, and the
                noise under which the frame is remembered (`SamplerConfig.context_noise`).
            steps: denoising passes, by default the checkpoint's.
            reuse: give up `state`: its tensors may be overwritten and be those of the returned
                memory. Several times faster; same results to rounding.

        Returns:
            Frames (b, H, W, C) about in [0, 1], the outcome of arriving there (b,), and the
            memory with the frame in it.
        """
        given = state, action, noise, steps or self.config.sampler.steps
        if not (reuse and can_step(self.dynamics)):
            return self._imagine(self._reference(), *given)
        stepper, given = self.stepper(), (_writable(state), *given[1:])
        if isinstance(stepper, FrameStepper) and self.device.type == "cuda":
            return stepper.graphs(self._imagine_in_place, *given, self.head.parameters())
        return self._imagine(stepper, *given)

    def _imagine_in_place(
        self, state: State, action: Tensor, noise: Tensor, steps: int | None
    ) -> tuple[Tensor, Outcome, State]:
        passes = steps or self.config.sampler.steps
        return self._imagine(self.stepper(), state, action, noise, passes)

    def _imagine(
        self, stepper: Stepper, state: State, action: Tensor, noise: Tensor, passes: int
    ) -> tuple[Tensor, Outcome, State]:
        sampler, dynamics = self.config.sampler, self.dynamics
        jumps = Jumps(dynamics.jump_of(passes, sampler.shortcut), dynamics.finest_jump)
        latents, written = sample_frame(
            stepper, state, action, noise, passes, sampler.context_noise, jumps
        )
        return self._cut(stepper.decode(latents)), self._told(stepper, written), written.state

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (…, tokens, channels) → frames (…, H, W, C), about in [0, 1]."""
        return self._cut(self.tokenizer.decode(latents, self.config.grid))

    def _cut(self, frames: Tensor) -> Tensor:
        """Frames without what sticks out of them, where tokens do."""
        height, width = self.config.frame_size
        return frames[..., :height, :width, :]

    def _told(self, stepper: Stepper, written: Written) -> Outcome:
        outcome = stepper.outcome(self.head, written.features)
        outcome.features = written.regions.to(self.dynamics.position.dtype)
        return outcome

    def _reference(self) -> ReferenceStepper:
        half = self.compute_dtype != torch.float32
        dtype = self.compute_dtype if half else self.dynamics.position.dtype
        return ReferenceStepper(self.dynamics, self.tokenizer, dtype)

    @isolated
    def stepper(self) -> Stepper:
        """What imagines in place; made anew if weights or their precision have changed since."""
        half = self.compute_dtype != torch.float32
        dtype = self.compute_dtype if half else self.dynamics.position.dtype
        stepper = self._stepper
        if stepper is None or not stepper.is_current(dtype):
            with LOADING:  # once, for all threads that dream with this model
                stepper = self._stepper
                if stepper is None or not stepper.is_current(dtype):
                    stepper = make_stepper(self.dynamics, self.tokenizer, dtype)
                    self.use(stepper)
        return stepper

    def use(self, stepper: Stepper) -> None:
        """Imagine in place with this one, as long as it is current."""
        self._stepper = stepper

    def _outcome(self, prediction: Prediction) -> Outcome:
        outcome = self.head(prediction.features)
        outcome.features = prediction.regions.to(self.dynamics.position.dtype)
        return outcome

    @property
    def feature_size(self) -> int:
        """Length of `Outcome.features`."""
        return 4 * self.config.dynamics.width

    def loss(
        self, batch: Batch, objective: ObjectiveConfig, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Training losses of the dynamics and heads; `"total"` is the one to minimise."""
        return next(self.segment_losses(batch, objective, generator))

    def segment_losses(
        self,
        batch: Batch,
        objective: ObjectiveConfig,
        generator: torch.Generator,
        segments: int = 1,
        reset: float = 0.0,
    ) -> Iterator[dict[str, Tensor]]:
        """Losses of the consecutive segments of long windows, the memory handed on between them.

        Truncated back-propagation through time: no gradient crosses from a segment to the one
        before, so the caller frees each segment's graph, by `backward`, before asking for the
        next, and windows may be longer than memory would allow.

        Args:
            batch: windows whose length is a multiple of `segments`.
            objective: of the training.
            generator: of noise, levels and resets.
            segments: how many.
            reset: chance, at the start of each later segment, that a row forgets everything.
        """
        state, valid = None, batch.valid.sum()
        for part in batch.split(segments):
            if state is not None:
                state = state.detach()
                forget = torch.rand(state.slots, generator=generator) < reset
                if bool(forget.any()):
                    forget = forget.to(self.device)
                    state = state.merge(forget, self.initial_state(state.slots))
                    part.actions = part.actions.clone()  # the caller's windows stay as they are
                    part.actions[forget, :1] = self.dynamics.action.first(part.actions[forget, :1])
            with self.autocast():
                losses, state = dynamics_loss(
                    self.dynamics, self.head, part, objective, generator, state
                )
            # Segments that are padding in some rows count by the frames that they hold.
            share = part.valid.sum() * segments / valid
            # Only the total is for going backwards; the rest must not keep its graph alive.
            told = {name: loss.detach() * share for name, loss in losses.items()}
            yield told | {"total": losses["total"] * share}

    def noise_shape(self, slots: int) -> tuple[int, int, int, int]:
        """Shape of the noise that `imagine` takes."""
        return slots, 2, self.dynamics.latent_count, self.dynamics.latent_channels

    def _encode(self, frames: Tensor) -> Tensor:
        dtype = self.dynamics.position.dtype
        return self.tokenizer.encode(
            to_unit(frames, dtype) if frames.dtype == torch.uint8 else frames.to(dtype)
        )

    def autocast(self) -> torch.autocast:
        """The precision of `compute_dtype` for matrix products, as a context manager."""
        half = self.compute_dtype != torch.float32
        return torch.autocast(self.device.type, self.compute_dtype, enabled=half)

    def _check(self, state: State, frames: Tensor, actions: Tensor) -> None:
        known, shape = self.config.actions, (*self.config.frame_size, self.config.frame_channels)
        if frames.ndim != 5 or frames.shape[2:] != shape or not frames.shape[1]:
            wanted = ", ".join(map(str, shape))
            raise ConfigError(f"frames must be (b, t ≥ 1, {wanted}), got {tuple(frames.shape)}")
        if len(frames) != state.slots:
            raise ConfigError(f"the memory has {state.slots} slots, the frames {len(frames)}")
        if frames.dtype != torch.uint8 and not frames.is_floating_point():
            raise ConfigError(f"frames must be uint8, or floats in [0, 1], not {frames.dtype}")
        if frames.is_floating_point() and not frames.isfinite().all():
            raise ConfigError("a frame holds NaN or infinity; frames are floats in [0, 1]")
        wanted_shape = (*frames.shape[:2], *(() if known.discrete else (len(known.low),)))
        if actions.shape != wanted_shape or known.discrete == actions.is_floating_point():
            raise ConfigError(
                f"these frames need {'integer' if known.discrete else 'float'} actions of shape "
                f"{wanted_shape}, got {actions.dtype} {tuple(actions.shape)}"
            )
        if self.config.conditioning == "pose" and not actions.isfinite().all():
            raise ConfigError("a pose holds NaN or infinity; every frame has one, the first too")
        if any(known.categories):
            _require_categories(actions, known.categories)
        if known.discrete and not ((actions >= -1) & (actions < known.n)).all():
            raise ConfigError(
                f"actions must be in 0 … {known.n - 1}, or −1 where none led to the frame; "
                f"got {int(actions.min())} … {int(actions.max())}"
            )


def _require_categories(actions: Tensor, categories: tuple[int, ...]) -> None:
    """Refuse numbers (b, t, dims) that are no category, where a category belongs.

    Raises:
        ConfigError: says which number of an action it is.
    """
    counts = torch.tensor(categories, device=actions.device)
    known = (actions == actions.round()) & (actions >= 0) & (actions < counts)
    wrong = ~(known | (counts == 0) | actions.isnan())
    if wrong.any():
        index = int(wrong.flatten(0, -2).any(0).nonzero()[0])
        raise ConfigError(
            f"number {index} of an action is one of {categories[index]} categories, counted from "
            f"0, not {float(actions[wrong][0]):g}"
        )


def _writable(state: State) -> State:
    """The same memory; a copy of one made in inference mode, which is closed to writing."""
    return state.clone() if any(x.is_inference() for _, x in state.named_tensors()) else state
