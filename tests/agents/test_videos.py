"""GIFs keep the frames' number, order, pixels and speed."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from dreamenv.agents.videos import CAPTION_HEIGHT, encode_gif


def decode(gif: bytes) -> tuple[list[np.ndarray], int]:
    picture = Image.open(io.BytesIO(gif))
    duration = picture.info["duration"]
    return [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)], duration


@pytest.mark.parametrize("layout", ["HWC", "CHW", "HW1", "HW"])
def test_frames_come_back(layout: str) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (5, 64, 64)).astype(np.uint8)
    given = {
        "HWC": np.repeat(grey[..., None], 3, axis=-1),
        "CHW": np.repeat(grey[:, None], 3, axis=1),
        "HW1": grey[..., None],
        "HW": grey,
    }[layout]
    frames, duration = decode(encode_gif(list(given), fps=10))
    assert duration == 100
    assert len(frames) == 5
    for frame, expected in zip(frames, grey, strict=True):
        assert frame.shape == (128, 128, 3)
        # Pillow looks colours up in the common palette only approximately.
        np.testing.assert_allclose(frame[::2, ::2, 0].astype(int), expected, atol=4)


def test_captions_stand_below() -> None:
    frames = [np.full((64, 64, 3), 90, np.uint8)] * 2
    decoded, _ = decode(encode_gif(frames, ["step 0", "step 1"]))
    for frame in decoded:
        assert frame.shape == (128 + CAPTION_HEIGHT, 128, 3)
        assert (frame[:128] == 90).all()
        assert frame[128:].max() > 200
    assert not np.array_equal(decoded[0], decoded[1])


def test_what_is_not_a_video() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        encode_gif([])
    with pytest.raises(ValueError, match="1 frames but 2 captions"):
        encode_gif([np.zeros((8, 8, 3), np.uint8)], ["a", "b"])
    with pytest.raises(ValueError, match="not an image of bytes"):
        encode_gif([np.zeros((8, 8, 3), np.float32)])
