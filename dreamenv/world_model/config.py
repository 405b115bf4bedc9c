"""Everything that fixes a world model's architecture, as plain data."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any

from dreamenv.core.errors import ConfigError
from dreamenv.core.frames import RESIZE
from dreamenv.core.plain import from_plain
from dreamenv.world_model.action_config import LARGEST, ActionConfig
from dreamenv.world_model.landmark_config import LandmarkConfig

T = typing.TypeVar("T")

FORMAT_VERSION = 1
"""Raised whenever an older `config.json` could no longer be read as it stands."""

MOST = 2**16
"""No size of a model is larger; a damaged configuration must not ask for all memory there is."""
MOST_LAYERS, MOST_FRAMES = 512, 4096
SMALLEST_SIDE, MOST_SIDE = 8, 4096
"""Pixels of a frame's side."""


@dataclass(frozen=True)
class RewardConfig:
    """Rewards as a categorical over `values` (ascending).

    `exact` says that rewards take these values and no other; otherwise they are a grid and a
    reward in between is spread over its two neighbours ("two-hot").
    """

    values: tuple[float, ...] = (0.0, 1.0)
    exact: bool = True

    def __post_init__(self) -> None:
        if list(self.values) != sorted(set(self.values)) or not self.values:
            raise ConfigError(f"reward values must be ascending and distinct, got {self.values}")
        if not all(abs(value) < LARGEST for value in self.values):
            raise ConfigError(f"reward values must be finite, got {self.values}")


@dataclass(frozen=True)
class TokenizerConfig:
    """Convolutional autoencoder of single frames; three levels at 1/4, 1/8 and 1/16."""

    widths: tuple[int, int, int] = (64, 128, 256)
    blocks: tuple[int, int, int] = (2, 1, 1)
    latent_channels: int = 32
    latent_noise: float = 0.1
    """Standard deviation of noise on the latents in training: the decoder forgives small errors."""

    def __post_init__(self) -> None:
        _require_positive(self, "widths", "latent_channels")
        if any(width % min(8, width) for width in self.widths):
            raise ConfigError(f"tokenizer.widths above 8 must be multiples of 8: {self.widths}")
        if min(self.blocks) < 0 or max(self.blocks) > MOST_LAYERS or not self.latent_noise >= 0:
            raise ConfigError(
                "tokenizer.blocks and latent_noise must not be negative, and blocks at most "
                f"{MOST_LAYERS}: {self}"
            )


SCANS = ("block", "frame", "none")
ATTENTIONS = ("window", "full", "bidirectional", "none")
CONDITIONINGS = ("action", "pose")


@dataclass(frozen=True)
class DynamicsConfig:
    """Layers of block-wise SSM scan → frame-local attention → MLP, and its baselines."""

    width: int = 256
    scan: str = "block"
    """`block`: every block of the token grid is scanned on its own. `frame`: one scan over all
    tokens, frame after frame, as in plain Mamba-2. `none`: no scan."""
    scan_blocks: tuple[tuple[int, int], ...] = ((4, 4), (2, 2), (1, 1), (4, 4))
    """Height and width, in tokens, of the scan blocks of each layer; one entry per layer."""
    attention: str = "window"
    """`window`: causal over the last frames. `full`: causal over all frames; the cache grows with
    every frame. `bidirectional`: frames of a short window see each other both ways, and nothing
    older is remembered (needs `scan` "none"). `none`: no attention."""
    attention_window: int = 4
    """k: a token attends to its own frame and to the k frames before it."""
    attention_head_dim: int = 32
    patch: int = 1
    """Latents of patch × patch places make one token."""
    mlp_ratio: float = 3
    """Width of the MLP's hidden layer over `width`."""
    condition_width: int = 128
    ssm_expand: int = 2
    ssm_head_dim: int = 64
    ssm_state_dim: int = 64
    ssm_conv: int = 4
    ssm_step_range: tuple[float, float] = (1e-3, 1e-1)
    """Step sizes Δ that the heads start with; a small Δ forgets slowly."""
    ssm_recall: bool = False
    """False is plain Mamba-2. True addresses the state like a table of places, which are
    `ssm_state_dim` fixed random directions: B and C are sharp softmaxes over how near a key is to
    each place, so that unlike tokens hardly touch each other's memories; no convolution blurs
    them; a frame writes only as far as its signal level shows it; and what is read is scaled to
    unit size, head by head, so that an old memory speaks as loudly as a new one."""
    ssm_place_forgetting: bool = False
    """With `ssm_recall`: a place forgets only as far as it is written to, and else never."""
    ssm_chunk: int = 64
    """Tokens per chunk of the parallel scan; changes speed, not results."""
    ssm_half_life: tuple[float, float] = (0.0, 0.0)
    """Half-lives in frames, whatever the block, that the heads of a new scan start with, spread
    evenly by their logarithm; (0, 0): those of mamba-ssm, which are of tokens."""
    landmarks: LandmarkConfig = field(default_factory=LandmarkConfig)
    """A memory of views by the pose they were seen from; none by default."""
    shortcut_passes: int = 0
    """K_max of shortcut forcing, a power of two: the network is told how far a denoising pass
    jumps, 1/K for K = 1, 2, 4 … K_max. 0: it is not told, and always names the whole frame."""

    def __post_init__(self) -> None:
        for name, choices in (("scan", SCANS), ("attention", ATTENTIONS)):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"dynamics.{name} is one of {', '.join(choices)}, not {getattr(self, name)!r}"
                )
        whole = [f.name for f in dataclasses.fields(self) if f.type == "int"]
        whole.remove("shortcut_passes")
        _require_positive(self, "scan_blocks", *whole)
        if not 1 <= len(self.scan_blocks) <= MOST_LAYERS:
            raise ConfigError(
                "dynamics.scan_blocks must name a block for at least one layer and at most "
                f"{MOST_LAYERS}, not for {len(self.scan_blocks)}"
            )
        if self.attention_window > MOST_FRAMES:
            raise ConfigError(
                f"dynamics.attention_window is at most {MOST_FRAMES}, not {self.attention_window}"
            )
        if self.scan == self.attention == "none":
            raise ConfigError("dynamics.scan and attention are both none: nothing would remember")
        if self.attention == "bidirectional" and self.scan != "none":
            raise ConfigError(
                "bidirectional attention sees later frames, a scan cannot: set dynamics.scan none"
            )
        steps = self.ssm_step_range
        if not 0 < self.mlp_ratio <= MOST or not 0 < steps[0] <= steps[1] <= 1:
            raise ConfigError(
                "need dynamics.mlp_ratio > 0 and 0 < ssm_step_range[0] ≤ [1] ≤ 1: "
                f"{self.mlp_ratio}, {steps}"
            )
        if self.width % self.attention_head_dim or self.attention_head_dim % 2:
            raise ConfigError(
                "dynamics.width must be a multiple of dynamics.attention_head_dim, which must be "
                f"even: {self.width}, {self.attention_head_dim}"
            )
        if self.width * self.ssm_expand % self.ssm_head_dim:
            raise ConfigError(
                "dynamics.ssm_expand · width must be a multiple of dynamics.ssm_head_dim: "
                f"{self.ssm_expand} · {self.width}, {self.ssm_head_dim}"
            )
        if self.ssm_place_forgetting and not self.ssm_recall:
            raise ConfigError(
                "dynamics.ssm_place_forgetting is for states of places: set ssm_recall"
            )
        lives = self.ssm_half_life
        if lives != (0, 0) and not 0 < lives[0] <= lives[1] <= MOST_FRAMES:
            raise ConfigError(f"dynamics.ssm_half_life: 0 < from ≤ to ≤ {MOST_FRAMES}, not {lives}")
        self.landmarks.require_network(len(self.scan_blocks), self.attention)
        passes = self.shortcut_passes
        if not 0 <= passes <= MOST or passes & (passes - 1):
            raise ConfigError(f"dynamics.shortcut_passes is 0 or a power of two, not {passes}")
        if self.shortcut_passes and self.attention == "bidirectional":
            raise ConfigError("bidirectional attention has no shortcuts: set shortcut_passes to 0")
        if self.condition_width % 2:
            raise ConfigError(f"dynamics.condition_width must be even: {self.condition_width}")


@dataclass(frozen=True)
class SamplerConfig:
    """How a frame is imagined."""

    steps: int = 2
    """K: denoising passes per frame."""
    shortcut: bool = True
    """Passes jump as shortcut forcing has taught them, if the dynamics have learnt it for this K.
    Otherwise each pass heads for the mean of what the frame may be, as in plain flow matching."""
    context_noise: float = 0.0
    """Noise level (0 none … 1 all) at which an imagined frame enters the memory."""


def grid_of(frame_size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of 16×16 pixels that cover a frame."""
    return -(-frame_size[0] // 16), -(-frame_size[1] // 16)


@dataclass(frozen=True)
class WorldModelConfig:
    """Architecture and preprocessing of a world model; saved as `config.json`."""

    frame_size: tuple[int, int] = (64, 64)
    """Height and width in pixels; larger or smaller frames are resized to it."""
    frame_channels: int = 3
    resize: str = RESIZE
    """How frames of another size are brought to it: `area`, every pixel is the mean of the area
    that it covers."""
    image_key: str = ""
    """Entry of the real environment's observations that the frames are; "" if they are frames."""
    conditioning: str = "action"
    """`action`: a frame is known by the action that led to it. `pose`: by the place and direction
    it is seen from, which then stand where actions stand; `actions` is their box."""
    actions: ActionConfig = field(default_factory=lambda: ActionConfig(n=6))
    rewards: RewardConfig = field(default_factory=RewardConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)

    def __post_init__(self) -> None:
        _require_positive(self, "frame_size", "frame_channels")
        if min(self.frame_size) < SMALLEST_SIDE or max(self.frame_size) > MOST_SIDE:
            raise ConfigError(
                f"a frame has sides of {SMALLEST_SIDE} to {MOST_SIDE} pixels, got {self.frame_size}"
            )
        if self.resize != RESIZE:
            raise ConfigError(
                f"frames are resized by {RESIZE}, and this model asks for {self.resize!r}, which "
                "is of a newer dreamenv"
            )
        if self.conditioning not in CONDITIONINGS:
            raise ConfigError(
                f"conditioning is one of {', '.join(CONDITIONINGS)}, not {self.conditioning!r}"
            )
        if self.conditioning == "pose" and self.dynamics.landmarks.count:
            raise ConfigError(
                "landmarks are for worlds that actions move through; conditioning pose tells poses "
                "already: set landmarks.count to 0"
            )
        if self.conditioning == "pose" and self.actions.discrete:
            raise ConfigError("poses are a box of numbers: give actions low and high")
        if any(side % self.dynamics.patch for side in self.grid):
            raise ConfigError(
                f"dynamics.patch {self.dynamics.patch} does not tile the "
                f"{self.grid[0]}×{self.grid[1]} latents of a frame"
            )
        rows, columns = self.token_grid
        for height, width in self.dynamics.scan_blocks if self.dynamics.scan == "block" else ():
            if rows % height or columns % width:
                raise ConfigError(
                    f"scan block {(height, width)} does not tile the {rows}×{columns} token grid; "
                    "leave out dynamics.scan_blocks for blocks that do"
                )
        if not 1 <= self.sampler.steps <= MOST or not 0 <= self.sampler.context_noise < 1:
            raise ConfigError(f"need steps ≥ 1 and 0 ≤ context_noise < 1, got {self.sampler}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of latents in a frame, 16×16 pixels each; the last may stick out."""
        return grid_of(self.frame_size)

    @property
    def token_grid(self) -> tuple[int, int]:
        """Rows and columns of tokens in a frame."""
        return self.grid[0] // self.dynamics.patch, self.grid[1] // self.dynamics.patch

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> WorldModelConfig:
        """Inverse of `to_dict`. Unknown keys and other versions raise `ConfigError`."""
        data = dict(data)
        version = data.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ConfigError(
                f"config has format version {version}, this dreamenv reads {FORMAT_VERSION}"
            )
        return from_plain(WorldModelConfig, data)


def _require_positive(config: Any, *names: str) -> None:
    """Refuse a field, or an entry of one, that is less than 1 or more than `MOST`."""
    for name in names:
        value = getattr(config, name)
        entries = value if isinstance(value, tuple) else (value,)
        for entry in entries:
            sizes = entry if isinstance(entry, tuple) else (entry,)
            kind = type(config).__name__
            if min(sizes) < 1:
                raise ConfigError(f"{kind}.{name} must be at least 1 everywhere, got {value}")
            if max(sizes) > MOST:
                raise ConfigError(f"{kind}.{name} must be at most {MOST} everywhere, got {value}")
