"""The landmark memory: views kept with the pose they were seen from, and looked at by pose.

The memory of b slots is a dictionary of tensors that start with (b, …) and never change size:

    pose    (b, 3)         where the last frame was seen from, integrated since the memory began
    motion  (b, 3)         what led there from the frame before
    views   (b, M, n, c)   latents of the landmarks
    poses   (b, M, 3)      where they were seen from
    age     (b, M)         frames since then; 0 where a place is empty

It stands beside the scan and the attention over the last frames. A frame sees the `nearest` of the
landmarks that are older than that attention's window, each by its pose relative to the frame's.
Sources: WorldMem (Xiao et al. 2025) keeps frames with their poses; here places are of a constant
number and the pose is the dream's own.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamenv.core.errors import ConfigError
from dreamenv.world_model.landmark_config import LandmarkConfig
from dreamenv.world_model.network.attention import RMSNorm, rotate
from dreamenv.world_model.network.planar import compose, distance, relative
from dreamenv.world_model.network.pose_tracker import PoseTracker
from dreamenv.world_model.network.view_rotation import ViewRotation

Memory = dict[str, Tensor]
OLDEST = 2.0**20
"""Ages are counted up to this."""


class Sight(NamedTuple):
    """What t frames of b slots have of landmarks and motion."""

    views: Tensor
    """Latents of the nearest landmarks, (b, t, k, n, c)."""
    where: Tensor
    """Their poses relative to the frame's, (b, t, k, 3)."""
    held: Tensor
    """Whether there is one, (b, t, k) bool."""
    motion: Tensor
    """What led to the frame from the one before, (b, t, 3)."""
    known: Tensor
    """Whether there was one before, (b, t) bool; the motion is 0 where not."""


class Sighting(NamedTuple):
    """A `Sight` as layers take it: keys and values (b, t, heads, 1 + k · n, head dim) of each
    layer that looks at landmarks, what is added to all tokens of a frame (b, t, 1, d), the mask
    (b, t, 1, 1, 1 + k · n), −∞ where there is nothing, and how queries are turned (tokens,
    head dim / 2). The first key is of nothing."""

    keys: list[Tensor]
    values: list[Tensor]
    moved: Tensor
    mask: Tensor
    turned: Tensor


class LandmarkMemory(nn.Module):
    """Remembers landmarks, says which a frame sees, and makes keys and values of them.

    Args:
        config: of the memory, with `count` above 0.
        width: of tokens. condition: of what modulates them. head_dim: of attention.
        recent: frames that attention sees anyway; younger landmarks are not looked at.
        grid: rows and columns of a frame's latents, n in all. channels: c, of each.
        token_grid: rows and columns of a frame's tokens.
        tracker: says how actions move the pose.
    """

    def __init__(
        self, config: LandmarkConfig, width: int, condition: int, head_dim: int, recent: int,
        grid: tuple[int, int], channels: int, token_grid: tuple[int, int], tracker: PoseTracker,
    ) -> None:  # fmt: skip
        super().__init__()
        if not config.spacing:
            raise ConfigError("a model's landmarks.spacing is above 0; only training measures it")
        self.config, self.recent = config, recent
        self.shape = math.prod(grid), channels
        self.tracker = tracker
        self.head_dim = head_dim
        self.view = nn.Linear(channels, width)
        self.position = nn.Parameter(0.5 * torch.randn(self.shape[0], width))
        self.place = nn.Linear(2 * WAVES * 2 + 2 * TURNS + 2, width, bias=False)
        self.moved = nn.Linear(4, width)
        nn.init.zeros_(self.moved.weight)
        nn.init.zeros_(self.moved.bias)
        self.rotation = ViewRotation(head_dim, token_grid, grid, config.unit)
        self.readers = nn.ModuleList(
            LandmarkReader(width, condition, head_dim) for _ in config.layers
        )

    def initial_state(self, slots: int, like: Tensor) -> Memory:
        """No landmarks; poses are counted from where the first frame is seen."""
        count = self.config.count
        return {
            "pose": like.new_zeros(slots, 3),
            "motion": like.new_zeros(slots, 3),
            "views": like.new_zeros(slots, count, *self.shape),
            "poses": like.new_zeros(slots, count, 3),
            "age": like.new_zeros(slots, count),
        }

    @torch.no_grad()
    def look(
        self, memory: Memory, previous: Tensor, level: Tensor, action: Tensor,
        frame: Tensor | None = None,
    ) -> tuple[Sight, Memory]:  # fmt: skip
        """What the next frame has of landmarks, and the memory at the frame's pose.

        Args:
            memory: at the frame before.
            previous: latents (b, n, c) of the frame before. level: its signal level, (b,).
            action: (b, 1, …), that leads to the frame.
            frame: the frame's latents (b, n, c) if it is real: its motion is measured. None: it is
                imagined, and will have been seen from where its action is expected to lead.

        Returns:
            The sight of t = 1 frame, and the memory, which still lacks the frame (`remember`).
        """
        known = level > 0
        motion = self.tracker(previous, memory["motion"], action, frame)
        motion = torch.where(known[:, None], motion, 0.0)
        pose = compose(memory["pose"], motion)
        memory = memory | {"pose": pose, "motion": motion}
        index, held = nearest(pose, memory["poses"], memory["age"], self.config, self.recent)
        pick = index[..., None]
        every = pick[..., None].expand(-1, -1, *self.shape)
        views = memory["views"].gather(1, every)
        where = relative(memory["poses"].gather(1, pick.expand(-1, -1, 3)), pose[:, None])
        sight = (x.unsqueeze(1) for x in (views, where, held, motion, known))
        return Sight(*sight), memory

    @torch.no_grad()
    def follow(
        self, memory: Memory, previous: Tensor, level: Tensor, actions: Tensor, frames: Tensor
    ) -> tuple[Sight, Memory]:
        """What real frames (b, t, n, c) have of landmarks, and the memory after the last of them.

        The other arguments are those of `look`, for t actions (b, t, …).
        """
        sights = []
        for t, frame in enumerate(frames.unbind(1)):
            sight, memory = self.look(memory, previous, level, actions[:, t : t + 1], frame)
            memory = self.remember(memory, frame)
            sights.append(sight)
            previous, level = frame, torch.ones_like(level)
        return Sight(*(torch.cat(parts, 1) for parts in zip(*sights, strict=True))), memory

    @torch.no_grad()
    def remember(self, memory: Memory, latents: Tensor) -> Memory:
        """The memory with a frame (b, n, c), seen from its pose, in it; never in place."""
        pose, poses, age = memory["pose"], memory["poses"], memory["age"]
        place, new = place_for(pose, poses, age, self.config)
        here = F.one_hot(place, poses.shape[1]).bool() & new[:, None]
        age = torch.where(here, 1.0, torch.where(age > 0, (age + 1).clamp(max=OLDEST), 0.0))
        views = memory["views"]
        views = torch.where(here[..., None, None], latents[:, None].to(views.dtype), views)
        poses = torch.where(here[..., None], pose[:, None], poses)
        return memory | {"views": views, "poses": poses, "age": age}

    def encode(self, sight: Sight) -> Sighting:
        """Keys and values of what frames see, for all layers that look."""
        b, t, k = sight.held.shape
        features = _features(sight.where, self.config.unit).to(sight.views.dtype)
        hidden = self.view(sight.views) + self.position + self.place(features).unsqueeze(3)
        hidden = F.silu(hidden).flatten(2, 3)  # (b, t, k · n, d)
        turned = self.rotation.key_angles(sight.where).flatten(2, 3).unsqueeze(2)
        own = self.rotation.query_angles()
        keys, values = [], []
        for reader in cast(list[LandmarkReader], self.readers):
            key, value = reader.project(hidden, turned)
            keys.append(key)
            values.append(value)
        seen = torch.ones(b, t, 1, dtype=torch.bool, device=sight.held.device)
        seen = torch.cat([seen, sight.held.repeat_interleave(self.shape[0], 2)], 2)
        mask = torch.zeros_like(seen, dtype=sight.views.dtype).masked_fill_(~seen, -torch.inf)
        motion = sight.motion / self.tracker.scale
        known = sight.known.unsqueeze(-1).to(motion.dtype)
        moved = self.moved(torch.cat([motion * known, known], -1).to(sight.views.dtype))
        return Sighting(keys, values, moved.unsqueeze(2), mask[:, :, None, None], own)


class LandmarkReader(nn.Module):
    """A gated residual: tokens of a frame look at the landmarks that it sees, or at nothing."""

    def __init__(self, width: int, condition: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.nothing = nn.Parameter(torch.zeros(width // head_dim, head_dim))
        # What all queries and keys have in common: before anything is learnt, tokens look along
        # their own rays.
        self.common = nn.Parameter(torch.zeros(2, head_dim))
        self.common.data[:, : head_dim // 2] = 2.0
        self.query_norm, self.key_norm = RMSNorm(head_dim), RMSNorm(head_dim)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)  # a network without landmarks stays what it was
        self.modulation = nn.Linear(condition, 3 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.modulation.bias.data[2 * width :] = 1.0

    def project(self, hidden: Tensor, turned: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (b, t, heads, 1 + places, head dim) of places (b, t, places, d).

        `turned` (b, t, 1, places, head dim / 2): the angles of keys.
        """
        both = self.key_value(hidden).unflatten(-1, (2, -1, self.head_dim))
        key, value = (x.transpose(2, 3) for x in both.unbind(-3))
        nothing = self.nothing.to(key.dtype)[:, None].expand(*key.shape[:3], 1, -1)
        key = rotate(self.key_norm(key) + self.common[1].to(key.dtype), turned)
        key = torch.cat([nothing, key], 3)
        return key, F.pad(value, (0, 0, 1, 0))

    def attend(
        self, tokens: Tensor, keys: Tensor, values: Tensor, mask: Tensor, turned: Tensor
    ) -> Tensor:
        """What normed tokens (b, t, n, d) find, (b, t, n, d); see `Sighting`."""
        query = self.query_norm(self.query(tokens).unflatten(-1, (-1, self.head_dim)))
        query = rotate(query + self.common[0].to(query.dtype), turned[:, None])
        scores = (query.transpose(2, 3) * self.head_dim**-0.5) @ keys.transpose(-1, -2)
        found = (scores + mask.to(scores.dtype)).softmax(-1).to(values.dtype) @ values
        return self.out(found.transpose(2, 3).flatten(3))


def nearest(
    pose: Tensor, poses: Tensor, age: Tensor, config: LandmarkConfig, recent: int
) -> tuple[Tensor, Tensor]:
    """The places of the landmarks nearest to a pose, nearest first.

    Args:
        pose: (b, 3). poses: (b, M, 3). age: (b, M), 0 where a place is empty.
        config: of the memory.
        recent: frames that are no landmarks yet.

    Returns:
        Places (b, k), and whether there is a landmark there, (b, k) bool.
    """
    far = distance(poses, pose[:, None], config.turn * config.spacing)
    far = far.masked_fill(age <= recent, torch.inf)
    found = far.topk(config.nearest, dim=1, largest=False)
    return found.indices, found.values.isfinite()


def place_for(
    pose: Tensor, poses: Tensor, age: Tensor, config: LandmarkConfig
) -> tuple[Tensor, Tensor]:
    """Where a view would be kept, (b,), and whether it is to be, (b,) bool.

    In the first empty place; where there is none, in that of the landmark that has another one
    nearest to it.
    """
    turn = config.turn * config.spacing
    empty = age == 0
    near = distance(poses, pose[:, None], turn).masked_fill(empty, torch.inf)
    new = near.amin(1) > config.spacing
    place = empty.to(torch.int8).argmax(1)
    full = ~empty.any(1)
    if pose.is_cuda:  # where asking which slots are full would wait for the device
        return torch.where(full, _most_crowded(poses, turn), place), new
    crowded = (full & new).nonzero()[:, 0]
    if len(crowded):
        place[crowded] = _most_crowded(poses[crowded], turn)
    return place, new


def _most_crowded(poses: Tensor, turn: float) -> Tensor:
    """Of landmarks at poses (b, M, 3) the one that has another one nearest to it, (b,)."""
    between = distance(poses[:, :, None], poses[:, None], turn)
    between.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    return between.amin(2).argmin(1)


WAVES, TURNS = 5, 3


def _features(where: Tensor, unit: float) -> Tensor:
    """Relative poses (…, 3) as sines and cosines of many wavelengths, and shifts as they are."""
    shift, turn = where[..., :2] / unit, where[..., 2:]
    rates = math.pi * 2.0 ** -torch.arange(WAVES, device=where.device, dtype=where.dtype)
    times = torch.arange(1, TURNS + 1, device=where.device, dtype=where.dtype)
    angle = torch.cat([(shift[..., None] * rates).flatten(-2), turn * times], -1)
    return torch.cat([angle.sin(), angle.cos(), shift / 8], -1)
