"""One imagined frame at a time, in place: the model's arithmetic laid out for speed.

`Dynamics.forward` defines what is computed, for any number of frames and two streams. Here is the
same for a single frame, which is all a dream needs: weights are joined and cast once, conditions
are looked up, keys are rotated once per frame, element-wise work stays in the wide dtype, which
CPUs compute faster than bfloat16, and the memory is overwritten instead of copied.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from dreamenv.world_model.diffusion import belief
from dreamenv.world_model.network.conditioning import ActionEmbedding
from dreamenv.world_model.network.dynamics import Dynamics
from dreamenv.world_model.network.heads import Outcome, OutcomeHead
from dreamenv.world_model.network.landmarks import Sighting
from dreamenv.world_model.network.layers import DynamicsLayer
from dreamenv.world_model.network.tokenizer import Tokenizer
from dreamenv.world_model.runtime.cuda.graphs import StepGraphs
from dreamenv.world_model.runtime.frame_landmarks import LandmarkStepper
from dreamenv.world_model.runtime.frame_layers import LayerStepper, Product, versions
from dreamenv.world_model.runtime.protocol import (
    Shared,
    View,
    Written,
    look_at_landmarks,
    remember_landmark,
)
from dreamenv.world_model.state import LayerState, State


class FrameStepper:
    """Single-frame passes of a `Dynamics`, and the decoder, with their weights as they are now.

    Args:
        dynamics: one that `can_step`.
        tokenizer: its latents are decoded.
        dtype: of matrix products; everything else is in the dtype of the SSM state.
    """

    def __init__(self, dynamics: Dynamics, tokenizer: Tokenizer, dtype: torch.dtype) -> None:
        self.dynamics, self.tokenizer, self.dtype = dynamics, tokenizer, dtype
        self.wide = dynamics.position.dtype
        layers = cast(list[DynamicsLayer], dynamics.layers)
        self.layers = [LayerStepper(layer, dtype, self.wide) for layer in layers]
        self.project = Product(dynamics.project, dtype)
        self.output = Product(dynamics.output, dtype)
        self.graphs = StepGraphs()
        """Recorded steps, on CUDA; they know where the weights made here are."""
        self.landmarks: LandmarkStepper | None = None
        if dynamics.landmarks is not None:
            self.landmarks = LandmarkStepper(dynamics.landmarks, dtype, self.wide)
        self._tables: dict[View, Tensor] = {}
        self._looks: dict[View, Tensor] = {}
        modules = (dynamics, tokenizer)
        self._sources = [x for m in modules for x in (*m.parameters(), *m.buffers())]
        self._versions = versions(self._sources)

    def is_current(self, dtype: torch.dtype) -> bool:
        """Whether products are to be in `dtype` and the weights are still those it was made of."""
        return dtype == self.dtype and versions(self._sources) == self._versions

    def begin(self, state: State, actions: Tensor, frame: Tensor | None = None) -> Shared:
        """See `Stepper`."""
        return Shared(self.gather(state), *self.sighting(state, actions, frame))

    def sighting(
        self, state: State, actions: Tensor, frame: Tensor | None
    ) -> tuple[Sighting | None, LayerState]:
        """What the frame has of landmarks, and their memory at its pose."""
        with self._autocast():
            sighting, memory = look_at_landmarks(self.dynamics, state, actions, frame)
        if sighting is not None and self.landmarks is not None:
            sighting = self.landmarks.sighting(sighting)
        return sighting, memory

    def gather(self, state: State) -> list[Any]:
        """What passes share of the layers: past keys and values of each, then a mask."""
        caches = [layer.gather(past) for layer, past in zip(self.layers, state.layers, strict=True)]
        window = self.layers[0].window
        ages = torch.arange(window, 0, -1, device=state.frames.device)
        unseen = ages > state.frames[:, None]
        tokens = self.dynamics.position.shape[0]
        mask = torch.zeros(len(unseen), window + 1, dtype=self.wide, device=unseen.device)
        mask[:, :-1].masked_fill_(unseen, -torch.inf)
        return [*caches, mask.repeat_interleave(tokens, 1)[:, None, None]]

    def tokens(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor,
        keep: bool,
    ) -> Tensor:  # fmt: skip
        """The last layer's tokens (b, n, d), normalised, of one frame.

        Args:
            state: the memory; with `keep` its layers are overwritten with the memory after.
            shared: from `begin` for this state.
            noisy: latents of the frame as seen, (b, latents, channels).
            view: their signal level, and the jump.
            actions: (b, …), the action that led to the frame.
            keep: whether the frame enters the memory.
        """
        x = self.enter(noisy, state, shared)
        table, rows = self.modulations(view, actions)
        modulations, looks = table[rows], self.looks(view, actions)
        for i, (layer, memory) in enumerate(zip(self.layers, state.layers, strict=True)):
            if self.looks_before(i):
                self.look(x, i, looks, shared)
            layer(x, modulations[:, i], memory, shared.parts[i], shared.parts[-1], keep)
        return F.rms_norm(x, x.shape[-1:])

    def denoise(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor,
        pull: float,
    ) -> Tensor:  # fmt: skip
        """Latents drawn by `pull`, 0 to 1, from a noisy view towards those predicted from it."""
        tokens = self.tokens(state, shared, noisy, view, actions, keep=False)
        return torch.lerp(noisy, self.predict(tokens, state, noisy, view.level), pull)

    def write(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor
    ) -> Written:
        """Write a frame into the memory, in place; the rest of the state is made anew."""
        features, regions = self.keep(state, shared, noisy, view, actions)
        levels = torch.full_like(state.level, view.level)
        places = remember_landmark(self.dynamics, shared, noisy)
        after = State(state.layers, noisy, levels, state.frames + 1, state.grows, places)
        return Written(features, regions, after)

    def keep(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Overwrite the memory; returns features (b, d) and regions (b, 4 · d) of the frame."""
        tokens = self.tokens(state, shared, noisy, view, actions, keep=True)
        return tokens.mean(1), self.dynamics._regions(tokens.unsqueeze(1)).squeeze(1)

    def outcome(self, head: OutcomeHead, features: Tensor) -> Outcome:
        """What the model's head says of a frame's features (b, d)."""
        with self._autocast():
            return head(features)

    def enter(self, noisy: Tensor, state: State, shared: Shared) -> Tensor:
        """Tokens (b, n, d) of a noisy view, the frame before and how the pose has moved."""
        joined = torch.cat([noisy, state.latents], -1).unsqueeze(1)
        tokens = self.dynamics._to_tokens(joined).squeeze(1)
        x = self.project(tokens) + self.dynamics.position
        return x if shared.sighting is None else x.add_(shared.sighting.moved[:, 0])

    def looks_before(self, layer: int) -> bool:
        """Whether tokens look at landmarks before this layer."""
        return self.landmarks is not None and layer in self.landmarks.layers

    def look(self, x: Tensor, layer: int, looks: Tensor | None, shared: Shared) -> None:
        """Add to tokens what they find among landmarks, in place."""
        assert self.landmarks is not None and looks is not None and shared.sighting is not None
        self.landmarks.look(x, layer, looks, shared.sighting)

    def predict(self, tokens: Tensor, state: State, noisy: Tensor, level: float) -> Tensor:
        """Clean latents (b, latents, channels) from the tokens of a noisy view."""
        output = self.dynamics._to_latents(self.output(tokens).to(self.wide).unsqueeze(1))
        levels = torch.full_like(state.level, level).unsqueeze(1)
        mean, scale = belief(
            noisy.unsqueeze(1), levels, state.latents.unsqueeze(1), state.level.unsqueeze(1),
            self.dynamics.change,
        )  # fmt: skip
        return (mean + scale * output).squeeze(1)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (b, latents, channels) → frames (b, H, W, C), about in [0, 1]."""
        with self._autocast():
            return self.tokenizer.decode(latents, self.dynamics.grid)

    def _autocast(self) -> torch.autocast:
        device = self.dynamics.position.device.type
        return torch.autocast(device, self.dtype, enabled=self.dtype != self.wide)

    def modulations(self, view: View, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of scales (one added), shifts and gates of every layer, and each slot's row.

        The rows are (rows, layers, 3 · parts, d); there is one for every discrete action.
        """
        embed = cast(ActionEmbedding, self.dynamics.action)
        if not embed.config.discrete:
            rows = torch.arange(len(actions), device=actions.device)
            # Its layers are in the dtype of products, the actions are not.
            with self._autocast():
                embedded = embed(actions)
            return self._modulate(view, embedded.to(self.wide)), rows
        if view not in self._tables:
            self._tables[view] = self._modulate(view, embed.table.weight)
        return self._tables[view], torch.where(actions < 0, embed.config.n, actions)

    def looks(self, view: View, actions: Tensor) -> Tensor | None:
        """Scales, shifts and gates (b, looks, 3, d) of looks at landmarks, if there are any."""
        if self.landmarks is None:
            return None
        embed = cast(ActionEmbedding, self.dynamics.action)
        if not embed.config.discrete:
            with self._autocast():
                return self.landmarks.modulation(self._condition(view, embed(actions)))
        if view not in self._looks:
            with self._autocast():
                condition = self._condition(view, embed.table.weight)
                self._looks[view] = self.landmarks.modulation(condition)
        return self._looks[view][torch.where(actions < 0, embed.config.n, actions)]

    def _condition(self, view: View, action: Tensor) -> Tensor:
        level = torch.full(action.shape[:1], view.level, dtype=self.wide, device=action.device)
        jump = torch.full(action.shape[:1], view.jump, device=action.device)
        return F.silu(self.dynamics.embed_view(level, jump) + action)

    def _modulate(self, view: View, action: Tensor) -> Tensor:
        dynamics = self.dynamics
        with self._autocast():
            condition = self._condition(view, action)
            layers = cast(list[DynamicsLayer], dynamics.layers)
            joined = torch.stack([layer.modulation(condition) for layer in layers], 1)
        modulation = joined.to(self.wide).unflatten(-1, (-1, dynamics.position.shape[-1]))
        modulation[:, :, 0::3] += 1
        return modulation
