"""Heat maps of a site's middle and interval width, like beside like."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyro_posterior.exports.arrange import similar_first
from pyro_posterior.exports.chart import Chart, rounded, zoom
from pyro_posterior.exports.pictures import Picture, colour_range
from pyro_posterior.exports.views import SiteView


@dataclass(frozen=True)
class _Names:
    """Names along an axis, for its ticks and for tooltips."""

    short: list[str]
    full: list[str]


def ordered_heat_maps(view: SiteView, axes: Sequence[int], cells: int) -> list[Chart]:
    """Middle and interval width with rows and columns in the same order, like beside like."""
    columns = view.shape[axes[-1]]
    middle, low, high = (
        None if part is None else part.reshape(-1, columns) for part in view.whole()
    )
    assert middle is not None
    tables = {view.middle: middle}
    if low is not None and high is not None:
        tables["interval width"] = high - low
    rows = similar_first(middle)
    across = similar_first(middle.T)
    row_names = _row_names(view, axes)
    column_names = view.labels(axes[-1])
    blocks = _grid(len(rows), columns, cells)
    row_edges, column_edges = (
        np.linspace(0, size, number + 1).astype(np.int64)
        for size, number in zip((len(rows), columns), blocks, strict=True)
    )
    names = (
        _block_names(rows, row_edges, row_names),
        _block_names(across, column_edges, column_names),
    )
    titles = (
        " × ".join(view.axis_title(axis) for axis in axes[:-1]),
        view.axis_title(axes[-1]),
    )
    merged = blocks != (len(rows), columns)
    note = "Rows and columns that are alike stand together."
    if merged:
        note += (
            f" {blocks[0]:,} × {blocks[1]:,} blocks, each the mean of about "
            f"{len(rows) / blocks[0]:.3g} × {columns / blocks[1]:.3g} values."
        )
    return [
        _heat_map(
            name, _block_means(table[rows][:, across], row_edges, column_edges), names, titles, note
        )
        for name, table in tables.items()
    ]


def block_heat_maps(picture: Picture) -> list[Chart]:
    """A site too large to be put in order: blocks of neighbours, as they come."""
    tables = {picture.middle_name: picture.middle}
    if picture.width is not None:
        tables["interval width"] = picture.width
    told = [
        [*labels] if labels else [f"from {edge}" for edge in edges[:-1]]
        for labels, edges in (
            (picture.row_labels, picture.row_edges),
            (picture.column_labels, picture.column_edges),
        )
        if edges is not None
    ]
    names = (_Names(told[0], told[0]), _Names(told[1], told[1]))
    titles = (picture.row_title, picture.column_title)
    return [_heat_map(name, table, names, titles, picture.note) for name, table in tables.items()]


def _heat_map(
    what: str,
    table: np.ndarray,
    names: tuple[_Names, _Names],
    titles: tuple[str, str],
    note: str,
) -> Chart:
    low, high, around_zero = colour_range(table)
    rows, columns = np.indices(table.shape)
    scheme = "blueorange" if around_zero else "viridis"
    encoding: dict[str, Any] = {}
    for axis, field, title, labels in (
        ("x", "column", titles[1], "xs"),
        ("y", "row", titles[0], "ys"),
    ):
        size = len(names[axis == "x"].short)
        encoding[axis] = {
            "field": field,
            "type": "quantitative",
            "title": title,
            "scale": {"domain": [-0.5, size - 0.5], "nice": False, "reverse": axis == "y"},
            "axis": {
                "labelExpr": f"isValid({labels}[datum.value]) ? {labels}[datum.value] : ''",
                "labelAngle": -60 if axis == "x" else 0,
                "labelLimit": 110,
                "labelOverlap": size > 24,
                "tickMinStep": 1,
                "tickCount": min(size, 40),
                "grid": False,
            },
        }
        encoding[f"{axis}2"] = {"field": f"{field}_end"}
    spec = {
        "height": int(min(420, max(150, 14 * len(names[0].short)))),
        "params": [
            {"name": "xs", "value": names[1].short},
            {"name": "ys", "value": names[0].short},
        ],
        "transform": [
            {"calculate": "datum.column_at - 0.5", "as": "column"},
            {"calculate": "datum.column_at + 0.5", "as": "column_end"},
            {"calculate": "datum.row_at - 0.5", "as": "row"},
            {"calculate": "datum.row_at + 0.5", "as": "row_end"},
        ],
        "layer": [
            {
                "mark": {
                    "type": "rect",
                    "clip": True,
                    "stroke": {"expr": "scale('color', datum.value)"},  # no seams between cells
                    "strokeWidth": 0.7,
                },
                "params": [zoom("x", "y")],
                "encoding": {
                    **encoding,
                    "color": {
                        "field": "value",
                        "type": "quantitative",
                        "title": what,
                        "scale": {"domain": [low, high], "scheme": scheme, "clamp": True},
                        "legend": {"gradientLength": 120},
                    },
                    "tooltip": [
                        {"field": "row_name", "title": "row"},
                        {"field": "column_name", "title": "column"},
                        {"field": "value", "title": what, "format": ".4~g"},
                    ],
                },
            }
        ],
    }
    columns_of = {
        "row_at": rows.ravel().tolist(),
        "column_at": columns.ravel().tolist(),
        "row_name": {"names": names[0].full, "codes": rows.ravel().tolist()},
        "column_name": {"names": names[1].full, "codes": columns.ravel().tolist()},
        "value": rounded(table.ravel()),
    }
    return Chart(what, spec, columns_of, note)


def _row_names(view: SiteView, axes: Sequence[int]) -> Any:
    """Names along the rows of a table of two axes; positions of several."""
    if len(axes) == 2:
        return view.labels(axes[0])
    shape = [view.shape[axis] for axis in axes[:-1]]
    return [", ".join(map(str, index)) for index in np.ndindex(*shape)]


def _block_names(order: np.ndarray, edges: np.ndarray, names: Any) -> _Names:
    """A block goes by the name of its first row; the tooltip says how many there are."""
    short, full = [], []
    for start, stop in itertools.pairwise(edges):
        first = str(order[start]) if names is None else str(names[order[start]])
        more = stop - start - 1
        short.append(first)
        full.append(f"{first} and {more:,} like it" if more else first)
    return _Names(short, full)


def _grid(rows: int, columns: int, cells: int) -> tuple[int, int]:
    """Blocks along each axis; columns keep a cell each where they are few."""
    if rows * columns <= cells:
        return rows, columns
    across = min(columns, max(60, int(np.sqrt(cells))), cells)
    return min(rows, max(1, min(160, cells // across))), across


def _block_means(table: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Means of the finite values of each block."""
    finite = np.isfinite(table)
    sums, counts = (
        np.add.reduceat(np.add.reduceat(part, rows[:-1], axis=0), columns[:-1], axis=1)
        for part in (np.where(finite, table, 0.0), finite.astype(np.float64))
    )
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)
