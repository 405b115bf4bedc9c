"""A baseline: a diffusion-forcing transformer whose frames see each other both ways.

In the manner of DFoT [Song et al. 2025]: every frame of a short window has a noise level of its
own, and to predict a frame the last k clean ones stand before it in the window. There is no memory
besides those k frames, which are kept as latents: what a frame looks like inside the network
depends on its later neighbours, so no keys can be cached.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dreamenv.world_model.network.dynamics import Dynamics, Prediction, Stream
from dreamenv.world_model.network.landmarks import Sight, Sighting
from dreamenv.world_model.state import State


class BidirectionalDynamics(Dynamics):
    """Same embedding, layers' parts and heads as `Dynamics`; the memory is a window of frames."""

    @property
    def window(self) -> int:
        """Frames that see each other: k before, and the one predicted."""
        return self.config.attention_window + 1

    def initial_state(self, slots: int) -> State:
        """Memory before the first frame: k empty frames."""
        state = super().initial_state(slots)
        k = self.window - 1
        state.layers = [
            {
                "noisy": state.latents.new_zeros(slots, k, *state.latents.shape[1:]),
                "level": state.latents.new_zeros(slots, k),
                "actions": self.action.none(slots, k, state.latents.device).clone(),
            }
        ]
        return state

    def forward(
        self,
        state: State,
        write: Stream,
        actions: Tensor,
        read: Stream | None = None,
        keep: bool = True,
        sight: Sight | Sighting | None = None,
    ) -> tuple[State, Prediction, Prediction | None]:
        """Predict every frame as the last one of its window; see `Dynamics.forward`."""
        (memory,) = state.layers
        frames = write.noisy.shape[1]
        noisy = torch.cat([memory["noisy"].to(write.noisy), write.noisy], 1)
        level = torch.cat([memory["level"].to(write.level), write.level], 1)
        joined_actions = torch.cat([memory["actions"].to(actions), actions], 1)
        new_state = state
        if keep:
            k = self.window - 1
            layers = [
                {"noisy": noisy[:, -k:], "level": level[:, -k:], "actions": joined_actions[:, -k:]}
            ]
            new_state = State(layers, write.noisy[:, -1], write.level[:, -1], state.frames + frames)

        def predict(last: Stream) -> Prediction:
            windows = Stream(self._windows(noisy).clone(), self._windows(level).clone())
            windows.noisy[:, -1] = last.noisy.flatten(0, 1)
            windows.level[:, -1] = last.level.flatten(0, 1)
            count = torch.arange(1, frames + 1, device=level.device)
            seen = (state.frames[:, None] + count).flatten().clamp(max=self.window)
            whole = self.denoise(windows, self._windows(joined_actions), seen)
            return Prediction(*(part[:, -1].unflatten(0, (-1, frames)) for part in whole))

        return new_state, predict(write), None if read is None else predict(read)

    def denoise(self, stream: Stream, actions: Tensor, seen: Tensor | None = None) -> Prediction:
        """Predict all frames (b, w) of windows of which the last `seen` (b,) are real."""
        slots, frames = stream.level.shape
        if seen is None:
            seen = torch.full((slots,), frames, device=stream.level.device)
        nothing = torch.zeros_like(stream.noisy[:, :1])
        previous = Stream(
            torch.cat([nothing, stream.noisy[:, :-1]], 1),
            torch.cat([torch.zeros_like(stream.level[:, :1]), stream.level[:, :-1]], 1),
        )
        x, c = self._enter(stream, None, previous, actions)
        for layer in self.layers:
            x, _ = self.through(layer, x, c, {}, (stream.level, None), seen)
        return self._predict(x[0], stream, previous)

    def denoise_padded(self, stream: Stream, actions: Tensor, frames: Tensor) -> Prediction:
        """`denoise` for windows of which only the first `frames` (b,) are real."""
        slots, length = stream.level.shape
        if bool((frames == length).all()):
            return self.denoise(stream, actions)
        # What stands before an episode is empty; so that is where the padding goes meanwhile.
        places, rows = torch.arange(length, device=frames.device), torch.arange(slots)[:, None]
        back = (places + frames[:, None]) % length
        there = (places - frames[:, None]) % length
        empty = places < length - frames[:, None]
        noisy = stream.noisy[rows, back].masked_fill(empty[..., None, None], 0)
        level = stream.level[rows, back].masked_fill(empty, 0)
        moved = Stream(noisy, level)
        seen = self.denoise(moved, actions[rows, back], frames.clamp(min=1))
        return Prediction(*(part[rows, there] for part in seen))

    def _windows(self, x: Tensor) -> Tensor:
        """(b, k + t, …) → (b · t, k + 1, …)."""
        windows = x.unfold(1, self.window, 1)  # (b, t, …, k + 1)
        return windows.movedim(-1, 2).flatten(0, 1)
