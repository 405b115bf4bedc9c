"""The configuration of a training run; saved beside its checkpoints."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dreamenv.core.errors import ConfigError
from dreamenv.core.ranges import require_ranges
from dreamenv.core.reading import parse_json
from dreamenv.training.curriculum import Curriculum
from dreamenv.training.rewards import KINDS
from dreamenv.world_model.objective import ObjectiveConfig


@dataclass(frozen=True)
class StageConfig:
    """The optimisation of one stage."""

    steps: int
    """Updates in all."""
    batch: int
    """Rows per update: frames for the tokenizer, windows for the dynamics."""
    learning_rate: float
    """Largest learning rate."""
    warmup: int = 100
    """Updates over which the learning rate rises linearly from zero."""
    decay: float = 0.3
    """Share of the updates over which the learning rate falls linearly to zero at the end."""
    weight_decay: float = 0.01
    """Decoupled weight decay of matrices."""
    ema: float = 0.999
    """Decay of the average of the weights, which is what gets saved and used."""

    def __post_init__(self) -> None:
        require_ranges(
            self, {"warmup": 0, "weight_decay": 0.0}, shares=("decay", "ema"), prefix="a stage's "
        )
        if self.steps < 1 or self.batch < 1 or not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"a stage needs steps, batch ≥ 1 and learning_rate > 0: {self}")
        if self.ema == 1:
            raise ConfigError(f"a stage needs ema below 1, or its average would never move: {self}")

    def rate(self, step: int) -> float:
        """Learning rate of update `step`, counted from 0."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        fall = min(1.0, (self.steps - step) / max(1.0, self.decay * self.steps))
        return self.learning_rate * rise * max(0.0, fall)


MOST_WEIGHT = 1e4
"""Of pixels that move; beyond, the others would not count at all."""


@dataclass(frozen=True)
class TrainConfig:
    """A whole run of `dreamenv train`."""

    data: str
    """Rollout store to learn from."""
    held_out: str
    """Rollout store of other seeds, for the metrics."""
    out: str
    """Run folder; the same command continues what stands there."""
    preset: str = "small"
    """Sizes of the model: debug, tiny, small, base or paper."""
    architecture: dict[str, Any] = field(default_factory=dict)
    """Changes to the preset's configuration: dynamics.scan=none dynamics.width=128, and in Python
    {"dynamics": {"scan": "none", "width": 128}}."""
    frame_size: tuple[int, int] | None = None
    """Height and width of the frames that are learnt and dreamt: 96 96; by default 64 64. Others
    are resized to it, and so they are wherever the model meets the real environment."""
    moving_pixels: float = 0.0
    """Weight in the tokenizer's loss of pixels that change from frame to frame, beside 1 of all: a
    ball of a few pixels, which a frame's mean error hardly misses, needs some. 0 treats all
    alike."""
    tokenizer_from: str = ""
    """A checkpoint folder whose tokenizer is used as it is; training it is then left out."""
    weights_from: str = ""
    """A checkpoint folder, or `bundled:NAME`, whose weights training begins with (fine-tuning): its
    architecture is taken over, and its tokenizer is used as it is. `architecture` may then set the
    sampler, and give a model without landmarks some, or others more of them."""
    shortcut_passes: int = 0
    """With `weights_from`: K_max of shortcuts that the model is to learn besides
    (`DynamicsConfig.shortcut_passes`); 0 leaves it as it is."""
    latents: str = ""
    """Folder in which the encoded rollouts are kept; several runs of one tokenizer may share it.
    Default: in the run folder."""
    conditioning: str = "action"
    """`action`, or `pose`: frames are known by where they are seen from (see `pose`)."""
    pose: str = "agent_pos,agent_dir"
    """Recorded infos that make up the pose, separated by commas; for a model with landmarks a
    position of two numbers and a heading of one, or a direction of two."""
    pose_drift: float = 0.1
    """How far poses wander off in windows, as integrated ones do: up to this times the standard
    deviation of a motion, per frame. For models with landmarks."""
    rewards: str = "auto"
    """`categories`: the rewards seen are the only ones there are. `continuous`: others lie between
    them. `auto` decides by how many there are, whether they are whole numbers and whether they
    repeat."""
    window: int = 48
    """Most frames per training window; those of shorter episodes are padded, and padding is not
    scored."""
    window_from: int = 0
    """Gradual context extension: begin with windows of so many frames, and as many more of them,
    and double the length until it is `window`; 0 begins with `window`."""
    window_growth: float = 0.5
    """Share of the dynamics' updates after which windows have their full length."""
    segments: int = 1
    """Parts of a full window between which the memory is handed on but no gradient flows; shorter
    windows, while they grow, have fewer."""
    state_reset: float = 0.0
    """Chance that a row forgets everything where a segment begins."""
    stride: int = 1
    """Every so many frames make a window; more than 1 only under poses."""
    retrace: float = 0.0
    """Share of windows whose second half is the exact reverse of the first; only under poses."""
    ends: float = 0.25
    """Share of windows that end where an episode terminated, if any did; of the others every frame
    of the rollouts is scored equally often."""
    seed: int = 0
    """Of weights, batches and noise."""
    dtype: str = "bfloat16"
    """Of matrix products: bfloat16 or float32."""
    threads: int = 0
    """Torch threads; 0 leaves torch's default."""
    device: str = "auto"
    """Torch device; auto takes CUDA if there is one."""
    shares: int = 0
    """Equal shares that every batch is computed in, by as many processes at once, or by fewer, one
    share after the other (gradient accumulation); 0 is one per process. The result is the same with
    any number of processes that divides it."""
    compile: bool = False
    """Let torch compile the dynamics' layers: minutes at the start, then 1.7 times as fast on two
    CPUs as without any kernels. On CPUs it stands in the place of the compiled C that training
    otherwise takes where there is a C compiler, and that needs no minutes."""
    checkpoint_activations: bool = False
    """Keep no activations inside layers but compute them again for the gradient: long windows in
    a fraction of the memory, for about a third more time."""
    tokenizer: StageConfig = field(
        default_factory=lambda: StageConfig(steps=6000, batch=64, learning_rate=1e-3, ema=0.995)
    )
    dynamics: StageConfig = field(
        default_factory=lambda: StageConfig(steps=20000, batch=6, learning_rate=1e-3)
    )
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    self_forcing_from: float = 1.0
    """Share of the dynamics' updates after which `objective.self_forcing` begins."""
    shortcut_from: float = 0.5
    """Share of the dynamics' updates after which `objective.shortcut` begins: there must be
    something to shorten."""
    log_every: int = 20
    """Updates between two rows of losses."""
    evaluate_every: int = 1000
    """Updates between two looks at held-out rollouts."""
    checkpoint_every: int = 500
    """Updates between two saves that a killed run goes on from."""
    spawns: int = 64
    """Starting points stored with the weights."""
    spawn_frames: int = 32
    """Real frames in each of them; fewer if half of the held-out episodes have no more."""

    @property
    def curriculum(self) -> Curriculum:
        """The part that changes from update to update of the dynamics."""
        return Curriculum(
            self.dynamics.steps,
            self.window,
            self.window_from,
            self.window_growth,
            self.segments,
            self.objective,
            self.self_forcing_from,
            self.shortcut_from,
        )

    @property
    def pose_infos(self) -> tuple[str, ...]:
        """The infos that make up a pose; none if frames are conditioned on actions."""
        return self.landmark_infos if self.conditioning == "pose" else ()

    @property
    def landmark_infos(self) -> tuple[str, ...]:
        """The infos that make up the poses of landmarks."""
        return tuple(self.pose.split(","))

    def __post_init__(self) -> None:
        if isinstance(self.architecture, str):
            message = "architecture is a mapping now, not JSON text"
            warnings.warn(message, DeprecationWarning, stacklevel=3)
        object.__setattr__(self, "architecture", read_architecture(self.architecture))
        require_ranges(
            self,
            {"threads": 0, "shortcut_passes": 0, "seed": 0, "shares": 0, "pose_drift": 0.0},
            shares=("self_forcing_from", "shortcut_from"),
        )
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f"dtype is float32 or bfloat16, not {self.dtype!r}")
        if self.weights_from and self.tokenizer_from:
            raise ConfigError("weights_from brings a tokenizer; leave out tokenizer_from")
        if self.shortcut_passes and not self.weights_from:
            raise ConfigError(
                "shortcut_passes is for a model that begins with weights_from; for a new one set "
                "architecture dynamics.shortcut_passes=8"
            )
        if self.rewards not in KINDS:
            raise ConfigError(f"rewards are {', '.join(KINDS)}, not {self.rewards!r}")
        if self.window < 2:
            raise ConfigError(f"a window needs at least 2 frames, not {self.window}")
        if self.segments < 1 or self.window % self.segments or self.window < 2 * self.segments:
            raise ConfigError(
                f"a window of {self.window} frames does not fall into {self.segments} equal "
                "segments of at least 2"
            )
        if self.window_from and not 2 <= self.window_from <= self.window:
            raise ConfigError(
                f"window_from is from 2 to window: {self.window_from}, window {self.window}"
            )
        length = self.window_from or self.window
        while length < self.window:
            segments = max(1, length * self.segments // self.window)
            if length % segments:
                raise ConfigError(
                    f"window_from {self.window_from} grows to {length} frames, which do not fall "
                    f"into {segments} equal segments; take a half, a quarter … of window"
                )
            length *= 2
        for name in ("state_reset", "retrace", "ends", "window_growth"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a share, 0 … 1, not {getattr(self, name)}")
        if self.state_reset and self.segments == 1:
            raise ConfigError("state_reset happens between segments; set segments above 1")
        if self.conditioning != "pose" and (self.stride != 1 or self.retrace):
            raise ConfigError(
                "stride and retrace leave out or turn round actions; they need conditioning pose"
            )
        if self.stride < 1 or (self.retrace and (self.window % 2 or self.window_from % 2)):
            raise ConfigError(
                "stride is at least 1, and the length of a retraced window even: "
                f"{self.stride}, window {self.window}, window_from {self.window_from}"
            )
        if not 0 <= self.moving_pixels <= MOST_WEIGHT:
            raise ConfigError(
                f"moving_pixels is a weight, 0 … {MOST_WEIGHT:g}, not {self.moving_pixels}"
            )
        for name in ("log_every", "evaluate_every", "checkpoint_every", "spawns", "spawn_frames"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")


def read_architecture(changes: Mapping[str, Any] | str) -> dict[str, Any]:
    """Changes to an architecture as plain data, from a mapping or from the JSON text of one.

    Raises:
        ConfigError: they are neither, or hold what JSON cannot.
    """
    try:
        text = changes if isinstance(changes, str) else json.dumps(changes)
        plain = parse_json(text or "{}")
    except (TypeError, ValueError) as error:
        raise ConfigError(f"architecture is no JSON ({error}): {changes}") from None
    if not isinstance(plain, dict):
        raise ConfigError(f"architecture must be a mapping or a JSON object, not {changes}")
    return plain
