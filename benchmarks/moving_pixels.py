"""What a tokenizer keeps of small things that move, with and without weight for them.

    python -m benchmarks.moving_pixels

Plays an environment at random (by default Pong, which needs ale-py), resizes its frames to 64×64,
trains tokenizers of a preset on the same batches with several weights of moving pixels
(`TrainConfig.moving_pixels`), and measures held-out episodes as a training's log does.

    python -m benchmarks.moving_pixels

Results: docs/results/moving_pixels.json.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch

from benchmarks.script import conditions, options, store
from dreamenv.core.frames import fit_frames
from dreamenv.rollouts.pictures import as_recorded
from dreamenv.training.moving import measure_moving, pixel_weights
from dreamenv.world_model.config import ActionConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.open_loop import psnr
from dreamenv.world_model.preprocessing import to_unit
from dreamenv.world_model.presets import preset


def play(env_id: str, steps: int, seed: int, size: tuple[int, int]) -> np.ndarray:
    """Frames (steps, H, W, C) of random play, and of new episodes where one ends."""
    env = as_recorded(gymnasium.make(env_id))
    env.action_space.seed(seed)
    frame, _ = env.reset(seed=seed)
    frames = []
    for _ in range(steps):
        frames.append(fit_frames(np.asarray(frame), size))
        frame, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            frame, _ = env.reset()
    env.close()
    return np.stack(frames)


def pairs_of(frames: np.ndarray, chosen: np.ndarray) -> torch.Tensor:
    """The frames of some indices from 1 on, and those before, (2, n, H, W, C)."""
    return torch.from_numpy(np.stack([frames[chosen], frames[chosen - 1]]))


def train(
    arguments: Any, weight: float, seed: int, frames: np.ndarray, held_out: np.ndarray
) -> Any:
    """Rows of what a tokenizer keeps of held-out frames while it trains."""
    torch.manual_seed(seed)
    size = frames.shape[1:3]
    model = WorldModel(preset(arguments.preset, frame_size=size, actions=ActionConfig(n=2)))
    optimizer = torch.optim.AdamW(model.tokenizer.parameters(), arguments.learning_rate)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    watched = pairs_of(held_out, np.random.default_rng(0).integers(1, len(held_out), 64))
    rows = []
    for update in range(1, arguments.updates + 1):
        batch = pairs_of(frames, rng.integers(1, len(frames), arguments.batch))
        weights = pixel_weights(batch, weight) if weight else None
        optimizer.zero_grad()
        model.tokenizer.loss(to_unit(batch[0]), generator, weights).backward()
        optimizer.step()
        if update % arguments.every == 0:
            real = to_unit(watched[0])
            with torch.no_grad():
                decoded = model.decode(model.tokenizer.encode(real))
            told = {"psnr": float(psnr(real - decoded).mean()), **measure_moving(model, watched)}
            rows.append({"update": update, **told})
            print(f"weight {weight:g}, seed {seed}: {rows[-1]}", flush=True)
    return rows


def main() -> None:
    """Measure and store."""
    parser = options(__doc__, "moving_pixels.json")
    parser.add_argument("--env", default="ale_py:ALE/Pong-v5")
    parser.add_argument("--preset", default="debug")
    parser.add_argument("--size", type=int, nargs=2, default=(64, 64))
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--every", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--weights", type=float, nargs="+", default=(0.0, 20.0))
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        **conditions("moving_pixels"),
        "env": arguments.env,
        "preset": arguments.preset,
        "size": list(arguments.size),
    }
    frames = play(arguments.env, arguments.frames, 1, tuple(arguments.size))
    held_out = play(arguments.env, arguments.frames // 4, 2, tuple(arguments.size))
    result["runs"] = [
        {"weight": weight, "seed": seed, "rows": train(arguments, weight, seed, frames, held_out)}
        for seed in arguments.seeds
        for weight in arguments.weights
    ]
    store(arguments.out, result)


if __name__ == "__main__":
    main()
