"""A look at held-out rollouts while the dynamics train: clips that are watched, then imagined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from dreamenv.rollouts.poses import read_poses
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import stack
from dreamenv.rollouts.windows import Windows, length_of_most
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.open_loop import imagine_under, psnr
from dreamenv.world_model.preprocessing import fit_frames, to_uint8, to_unit

CLIPS, CONTEXT, HORIZON = 16, 32, 16


def clip_frames(store: RolloutStore, stride: int = 1) -> int:
    """Frames of held-out clips: as many as half of the episodes have, and no more than needed."""
    return length_of_most(store, CONTEXT + HORIZON, least=2, stride=stride)


def held_out_clips(
    store: RolloutStore, size: tuple[int, int], stride: int = 1, pose: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Fixed clips of context and horizon from episodes the model never trains on.

    Args:
        store: the held-out rollouts.
        size: height and width that frames are brought to.
        stride: every so many frames of an episode make a clip.
        pose: the infos that make up a pose, if poses stand where actions do.

    Returns:
        frames (clips, t, H, W, C) uint8 and actions (clips, t) or (clips, t, dims).
    """
    rng = np.random.default_rng(0)
    windows = Windows(store, clip_frames(store, stride), stride=stride)
    places = [windows.locate(int(i)) for i in rng.integers(windows.num_windows, size=CLIPS)]
    clips = stack([windows.read(*place) for place in places])
    actions = clips.action
    if pose:
        poses = [read_poses(store, episode, pose)[start::stride] for episode, start in places]
        actions = np.stack([each[: windows.length] for each in poses])
    frames = fit_frames(clips.frames, size)
    return {"frames": torch.from_numpy(frames), "actions": torch.from_numpy(actions)}


def open_loop_metrics(
    model: WorldModel, clips: dict[str, Tensor], step: int, writer: SummaryWriter
) -> dict[str, float]:
    """PSNR of imagined frames at some steps, beside repeating the last real frame."""
    frames, actions = clips["frames"].to(model.device), clips["actions"].to(model.device)
    context = max(1, frames.shape[1] * CONTEXT // (CONTEXT + HORIZON))
    generator = torch.Generator().manual_seed(0)
    with torch.compiler.set_stance("force_eager"):  # not worth compiling for these shapes
        imagined = imagine_under(model, frames, actions, context, generator).frames
    real = to_unit(frames)
    scores = psnr(real[:, context:] - imagined).mean(0)
    repeated = psnr(real[:, context:] - real[:, context - 1 : context]).mean(0)
    rows = torch.stack([real[:4, context:], imagined[:4]], 1).flatten(0, 1)
    strip = rows.transpose(1, 2).flatten(2, 3).flatten(0, 1)
    writer.add_image("dynamics/real_above_dreamt", to_uint8(strip), step, dataformats="HWC")
    picks = [i for i in (1, 2, 4, 8, 16) if i <= len(scores)]
    metrics = {f"psnr_step_{i}": float(scores[i - 1]) for i in picks}
    return metrics | {f"repeat_psnr_step_{i}": float(repeated[i - 1]) for i in picks}
