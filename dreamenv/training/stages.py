"""The two stages of a run: the tokenizer, and on its latents the dynamics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from dreamenv.rollouts.store import RolloutStore
from dreamenv.training.config import StageConfig
from dreamenv.training.curriculum import Curriculum
from dreamenv.training.data import LatentWindows, sample_pairs
from dreamenv.training.held_out import open_loop_metrics
from dreamenv.training.loop import Run, Stage
from dreamenv.training.moving import PAIRS, measure_moving, pixel_weights, say_moving
from dreamenv.training.widening import widen_state
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.bidirectional import BidirectionalDynamics
from dreamenv.world_model.objective import Batch
from dreamenv.world_model.open_loop import psnr
from dreamenv.world_model.preprocessing import to_uint8, to_unit


def train_tokenizer(
    run: Run,
    config: StageConfig,
    model: WorldModel,
    store: RolloutStore,
    held_out: RolloutStore,
    moving: float = 0.0,
) -> None:
    """Stage one takes frames through the bottleneck and back.

    Args:
        run: that this is a stage of.
        config: its optimisation; a batch is so many frames.
        model: whose tokenizer is trained.
        store: the rollouts.
        held_out: what is measured on.
        moving: weight of pixels that move, beside 1 of all.
    """
    size = model.config.frame_size

    def frames(source: RolloutStore, count: int, *key: int, before: bool) -> Tensor:
        """(2, count, H, W, C) with the frames before, else (1, count, H, W, C)."""
        rng = np.random.default_rng([run.seed, 1, *key])
        return torch.from_numpy(sample_pairs(source, count, rng, size, before)).to(model.device)

    def losses(batch: Tensor, _: int, generator: torch.Generator) -> list[dict[str, Tensor]]:
        weights = pixel_weights(batch, moving) if moving else None
        with model.autocast():
            return [{"total": model.tokenizer.loss(to_unit(batch[0]), generator, weights)}]

    def evaluate(step: int, writer: SummaryWriter) -> dict[str, float]:
        pairs = frames(held_out, 256, 0, before=True)
        real = to_unit(pairs[0])
        with torch.no_grad(), model.autocast():
            decoded = model.decode(model.tokenizer.encode(real))
        strip = torch.cat([real[:12], decoded[:12]], 1).transpose(0, 1).flatten(1, 2)
        writer.add_image("tokenizer/real_above_decoded", to_uint8(strip), step, dataformats="HWC")
        told = measure_moving(model, pairs[:, :PAIRS])
        return {"psnr": float(psnr(real - decoded).mean()), **told}

    Stage(
        "tokenizer",
        run,
        config,
        nn.ModuleDict({"tokenizer": model.tokenizer}),
        nn.Module(),
        lambda i, share: frames(
            store,
            config.batch // run.shares,
            *part_key(run, i + 1, share),
            before=bool(moving),
        ),
        losses,
        config.batch,
        evaluate,
    ).run()


def tokenizer_report(model: WorldModel, held_out: RolloutStore, seed: int) -> str:
    """A line on what a model's tokenizer keeps of held-out frames, and of what moves in them."""
    rng = np.random.default_rng([seed, 1, 0])
    pairs = torch.from_numpy(sample_pairs(held_out, PAIRS, rng, model.config.frame_size))
    pairs = pairs.to(model.device)
    real = to_unit(pairs[0])
    with torch.no_grad(), model.autocast():
        decoded = model.decode(model.tokenizer.encode(real))
    whole = float(psnr(real - decoded).mean())
    return say_moving(measure_moving(model, pairs), whole, model.config.frame_size)


def train_dynamics(
    run: Run,
    config: StageConfig,
    curriculum: Curriculum,
    model: WorldModel,
    data: LatentWindows,
    clips: dict[str, Tensor],
    save: Callable[[int], None],
    state_reset: float = 0.0,
    resumed: WorldModelConfig | None = None,
) -> None:
    """Stage two predicts latents, rewards and continuation.

    Args:
        run: that this is a stage of.
        config: its optimisation; a batch is so many windows of full length.
        curriculum: windows and objective of every update.
        model: whose dynamics and heads are trained.
        data: what windows are drawn from.
        clips: what is imagined to measure, see `dreamenv.training.held_out`.
        save: called with the number of updates to write the checkpoint.
        state_reset: chance that a row forgets everything where a segment begins.
        resumed: the model of the run so far, if any.
    """

    def make_batch(step: int, share: int) -> Batch:
        window = curriculum.window_at(step)
        if isinstance(model.dynamics, BidirectionalDynamics):
            window = model.dynamics.window
        rows = config.batch // run.shares * curriculum.window // window
        rng = np.random.default_rng([run.seed, 2, *part_key(run, step, share)])
        return data.batch(rows, rng, window)

    def losses(batch: Batch, step: int, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        return model.segment_losses(
            batch.to(model.device),
            curriculum.objective_at(step),
            generator,
            curriculum.segments_at(step),
            state_reset,
        )

    rewards = model.config.rewards.values
    stage = Stage(
        "dynamics",
        run,
        config,
        nn.ModuleDict({"dynamics": model.dynamics, "head": model.head}),
        _hidden(model),
        make_batch,
        losses,
        config.batch * curriculum.window,
        lambda step, writer: open_loop_metrics(model, clips, step, writer),
        save,
        {"reward_values": list(rewards)},
        lambda state: widen_state(state, resumed, rewards, stage.optimizer),
    )
    stage.run()


def _hidden(model: WorldModel) -> nn.Module:
    """The part whose matrices Muon updates."""
    landmarks = model.dynamics.landmarks
    if landmarks is None:
        return model.dynamics.layers
    return nn.ModuleList([model.dynamics.layers, landmarks.readers])


def part_key(run: Run, step: int, share: int) -> tuple[int, ...]:
    """What share of a batch is drawn by; a batch that is computed whole has no shares."""
    return (step, share) if run.shares > 1 else (step,)


def measure_change(model: WorldModel, data: LatentWindows, seed: int) -> None:
    """Tell the dynamics how much latents change from frame to frame, before they learn anything."""
    sample = data.batch(256, np.random.default_rng([seed, 3]), min(data.window, 48))
    change = (sample.latents[:, 1:] - sample.latents[:, :-1])[sample.valid[:, 1:]]
    model.dynamics.change.copy_(change.square().mean().sqrt())


def measure_motion(model: WorldModel, data: LatentWindows) -> None:
    """Tell a pose tracker that is new how far motions go."""
    if model.dynamics.landmarks is None or data.landmarks is None:
        return
    scale = model.dynamics.landmarks.tracker.scale
    if bool((scale == 1).all()):
        scale.copy_(data.landmarks.scale)


def compile_layers(model: WorldModel) -> None:
    """Compile the dynamics' layers, each for every shape, for training and for looking."""
    torch._dynamo.config.recompile_limit = 8 * len(model.dynamics.layers)  # torch stops at 8
    for layer in model.dynamics.layers:
        layer.compile()
