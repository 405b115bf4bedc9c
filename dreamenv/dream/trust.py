"""How far a dreamt frame is to be trusted: the model's own uncertainty, calibrated.

A frame's raw latents z have unit mean square (`Tokenizer.encode_raw`), and a sampler of one pass
draws the posterior mean ẑ = E[z | past, action]. By the law of total variance

    E‖z − ẑ‖² = E‖z‖² − E‖ẑ‖² = 1 − E‖ẑ‖²      (means over tokens and channels),

so what the committed latents lack to unit mean square, the *shortfall*, estimates their squared
error. It costs no pass through the network and needs no second draw.

A dream takes for certain what it has made up, so the errors of its frames pile up, and one that
has lost its way may be sure of the next frame. Therefore *uncertainty* is the sum of the
shortfalls of all frames since the last real one. *Trust* is read off real errors: monotone
regression of the error of open-loop dreams of held-out episodes on their uncertainty, once per
checkpoint (`dreamenv trust`).
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreamenv.core.errors import CheckpointError
from dreamenv.core.files import atomic_write_json
from dreamenv.core.reading import read_object
from dreamenv.dream.device_transfer import constant
from dreamenv.world_model.checkpoint import WEIGHTS, read_config
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.state import State
from dreamenv.world_model.tensor_files import CHECKSUM, digest_of

TRUST = "trust.json"
VERSION = 1
ENTRIES = {"version", "weights_sha256", "uncertainty", "explained", "about"}


def raw_latents(model: WorldModel, latents: Tensor) -> Tensor:
    """Standardised latents (slots, tokens, channels) as the tokenizer makes them, float32."""
    tokenizer = model.tokenizer
    return torch.addcmul(tokenizer.latent_mean, latents.float(), tokenizer.latent_std)


def shortfall(model: WorldModel, state: State) -> Tensor:
    """What each slot's last frame lacks to unit mean square, (slots,) float32, from 0 to 1.

    0 after a real frame; NaN where the latents hold NaN.
    """
    raw = raw_latents(model, state.latents).flatten(1)
    # Few calls: where a step takes milliseconds each counts.
    return torch.linalg.vector_norm(raw, dim=1).square_().div_(-raw.shape[1]).add_(1).clamp_(min=0)


@dataclass(frozen=True)
class Trust:
    """The calibrated trust in a checkpoint's dreams: call it with the model and its memory.

    Attributes:
        uncertainty: knots of the calibration, rising; none where there is no calibration.
        explained: at each knot, the share of the mean frame's error that the dream does without:
            1 − E[squared error | uncertainty] / E[squared error of the mean frame]; falling.
        missing: why there is no calibration, and how to make one.
        about: what it was calibrated on, as plain data.
    """

    uncertainty: tuple[float, ...] = ()
    explained: tuple[float, ...] = ()
    missing: str = ""
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.uncertainty:
            _check_curve(self.uncertainty, self.explained)

    @property
    def calibrated(self) -> bool:
        """Whether trust is a number."""
        return bool(self.uncertainty)

    def require(self) -> None:
        """Insist on a calibration.

        Raises:
            CheckpointError: there is none; says how to make one.
        """
        if not self.calibrated:
            raise CheckpointError(self.missing or "this trust was not calibrated")

    @torch.no_grad()
    def __call__(
        self, model: WorldModel, state: State, before: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The uncertainty of every slot's episode so far, and the trust in its last frame.

        Args:
            model: the world model.
            state: its memory after the last frame.
            before: (slots,) the uncertainty one frame earlier; None where the last frame is real.

        Returns:
            Both (slots,) float32. Uncertainty: `before` and the frame's `shortfall` together.
            Trust: 1 at a real frame, 0 where the dream is no better than the mean frame; NaN
            without calibration, 0 from when the latents hold NaN.
        """
        uncertainty = shortfall(model, state)
        if before is not None:
            uncertainty = uncertainty + before.to(uncertainty)
        return uncertainty, self.of(uncertainty)

    def of(self, uncertainty: Tensor) -> Tensor:
        """Trust at some uncertainties: the calibration, linear between its knots."""
        if not self.calibrated:
            return torch.full_like(uncertainty, torch.nan)
        if uncertainty.device.type == "cpu":  # one call for a dozen
            read = np.interp(uncertainty.numpy(), *self._curve)
            return torch.from_numpy(np.where(read >= 0, read, 0.0)).to(uncertainty.dtype)
        knots, values = (constant(x, uncertainty) for x in (self.uncertainty, self.explained))
        inside = uncertainty.clamp(knots[0], knots[-1])
        above = torch.searchsorted(knots, inside).clamp(1, len(knots) - 1)
        low, high = knots[above - 1], knots[above]
        trust = torch.lerp(values[above - 1], values[above], (inside - low) / (high - low))
        return trust.nan_to_num(0.0)

    @cached_property
    def _curve(self) -> NDArray[np.float64]:
        return np.array((self.uncertainty, self.explained))

    def save(self, folder: str | Path) -> None:
        """Write the calibration beside the weights that it belongs to."""
        self.require()
        weights = weights_sha256(folder)
        curve = {"uncertainty": self.uncertainty, "explained": self.explained}
        data = {"version": VERSION, "weights_sha256": weights, **curve, "about": self.about}
        atomic_write_json(Path(folder) / TRUST, data | {CHECKSUM: digest_of(data)})

    @classmethod
    def load(
        cls, folder: str | Path, denoising_steps: int | None = None, fingerprint: str | None = None
    ) -> Trust:
        """The calibration of a checkpoint folder; an empty one where there is none that fits.

        One that was made for other weights is left aside with a warning.

        Args:
            folder: of the checkpoint.
            denoising_steps: passes per frame of the dream, by default the checkpoint's. With
                more than it was calibrated for, latents are draws and not means.
            fingerprint: SHA-256 of the weights that dream; by default of those in the folder.

        Raises:
            CheckpointError: `trust.json` is damaged.
        """
        path = Path(folder) / TRUST
        how = f"; write one with: dreamenv trust --checkpoint {folder} --rollouts HELD_OUT"
        try:
            data = read_object(path)
            checksum = data.pop(CHECKSUM, None)  # earlier versions wrote none
            if data["version"] != VERSION:
                raise ValueError(f"its version is {data['version']}, not {VERSION}")
            if data.keys() - ENTRIES or checksum not in (None, digest_of(data)):
                raise ValueError("its numbers are not those that were written")
            knots, values = (tuple(map(float, data[name])) for name in ("uncertainty", "explained"))
            found = cls(knots, values, about=data["about"])
            found.require()
            calibrated_for, weights = data["about"]["steps"], data["weights_sha256"]
        except FileNotFoundError:
            return cls(missing=f"{folder} has no {TRUST}, so nothing tells what to trust{how}")
        except (ValueError, KeyError, TypeError, OverflowError, CheckpointError) as error:
            raise CheckpointError(
                f"{path} is damaged ({error}); copy the checkpoint again, or delete it{how}"
            ) from error
        config, _ = read_config(folder)
        if weights != (fingerprint or weights_sha256(folder)):
            missing = f"{path} was made for other weights than those beside it{how}"
            warnings.warn(
                f"no trust in this dream is told: {missing}. If nobody has replaced the weights "
                "on purpose, they are damaged: copy the checkpoint again",
                stacklevel=2,
            )
            return cls(missing=missing)
        passes = denoising_steps or config.sampler.steps
        if passes != calibrated_for:
            return cls(
                missing=f"{path} was made for {calibrated_for} denoising passes a frame, not "
                f"{passes}; leave out denoising_steps{how}"
            )
        return found


def _check_curve(uncertainty: Sequence[float], explained: Sequence[float]) -> None:
    knots, values = np.asarray(uncertainty, float), np.asarray(explained, float)
    if (
        knots.shape != values.shape
        or len(knots) < 2
        or not np.isfinite(knots).all()
        or not (np.diff(knots) > 0).all()
        or not (np.diff(values) <= 0).all()
        or not (0 <= values.min() and values.max() <= 1)
    ):
        raise CheckpointError("a calibration needs two rising knots or more and falling trust")


def weights_sha256(folder: str | Path) -> str:
    """The SHA-256 of the weights in a checkpoint folder."""
    with (Path(folder) / WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def trust_horizon(curve: Sequence[float] | np.ndarray, threshold: float = 0.5) -> int:
    """How many steps a dream is to be trusted: those before mean trust falls below one half.

    Args:
        curve: mean trust after 1, 2, … imagined steps.
        threshold: the half.

    Returns:
        Steps from the first on at which the curve is at least `threshold`. If that is its whole
        length, the horizon is at least that long.
    """
    below = np.flatnonzero(~(np.asarray(curve, float) >= threshold))  # NaN is no trust either
    return int(below[0]) if len(below) else len(curve)
