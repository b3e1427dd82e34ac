"""What every chart of the report is made of: a specification and the columns it is drawn from.

A specification has no data of its own: the page makes the rows of its columns, which are also what
it writes as CSV. Names are data and never part of an expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Chart:
    """One chart: its columns are lists of numbers, or of names as ``{"names", "codes"}``."""

    title: str
    spec: dict[str, Any]
    columns: dict[str, Any]
    note: str = ""


def zoom(*axes: str) -> dict[str, Any]:
    """Dragging moves; a wheel zooms with Ctrl or Shift held, so that the page still scrolls."""
    return {
        "name": "zoom",
        "select": {
            "type": "interval",
            "encodings": list(axes),
            "zoom": "wheel![event.ctrlKey || event.shiftKey]",
        },
        "bind": "scales",
    }


def tips(*fields: str) -> list[dict[str, Any]]:
    return [{"field": field, "type": "quantitative", "format": ".4~g"} for field in fields]


def rounded(values: np.ndarray) -> list[float | None]:
    """Four significant digits; None for what is not finite."""
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values.tolist()]
