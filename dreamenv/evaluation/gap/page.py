"""A gap report as one HTML page that needs no other file, from the template beside this."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from dreamenv.evaluation.gap import plots

TEMPLATE = "page.html.jinja"
NONE = "–"
"""Stands where there is no number."""


def gap_page(
    result: dict[str, Any],
    strips: Mapping[str, Sequence[np.ndarray]],
    clips: Mapping[str, np.ndarray],
    command: str = "",
    film: np.ndarray | None = None,
) -> str:
    """The page of a report, as HTML text.

    Args:
        result: what was measured, as plain data.
        strips: agent → pictures (height, width, 3) uint8 of its worst cases.
        clips: name of a set of clips → a picture of some.
        command: that made it, shown at the end.
        film: film strips of the dream's life, (height, width, 3) uint8.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.filters |= {
        "number": number,
        "interval": interval,
        "count": lambda value: NONE if value is None else f"{value:,}",
        "hours": lambda seconds: number(None if seconds is None else seconds / 3600),
        "svg_link": lambda text: _link("svg+xml", text.encode()),
        "png_link": _png_link,
    }
    return environment.get_template(TEMPLATE).render(
        result,
        result=result,
        plots=plots,
        strips=strips,
        clips=clips,
        command=command,
        film=film,
    )


def number(value: float | None, sign: str = "", digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return NONE if value is None else f"{value:{sign}.{digits}f}"


def interval(value: dict[str, Any], sign: str = "", digits: int = 2) -> str:
    """A mean and its interval."""
    mean = number(value["mean"], sign, digits)
    if value["low"] is None or value["mean"] is None:
        return mean
    return f"{mean} [{value['low']:{sign}.{digits}f}, {value['high']:{sign}.{digits}f}]"


def _png_link(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png", optimize=True)
    return _link("png", buffer.getvalue())


def _link(kind: str, data: bytes) -> str:
    """An image inside the page, so that the names inside plots cannot clash."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
