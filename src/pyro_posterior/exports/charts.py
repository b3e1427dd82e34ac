"""Which charts a site has, and those with a line for every value: intervals and histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyro_posterior.exports.arrange import evenly
from pyro_posterior.exports.chart import Chart, rounded, tips, zoom
from pyro_posterior.exports.heat_maps import block_heat_maps, ordered_heat_maps
from pyro_posterior.exports.pictures import Picture, make_picture
from pyro_posterior.exports.views import SiteView

_WHOLE = 4_000_000  # values of a site that are put in order before they are thinned
_BAR, _MARK = "accent", "ink"  # names of colours, which the page knows


def charts_of(
    view: SiteView, *, rows: int = 40, points: int = 600, cells: int = 4096
) -> list[Chart]:
    """The charts of a site: a histogram, intervals, or heat maps of middle and interval width.

    Parameters
    ----------
    view
        The site.
    rows
        Most values that have a line with a name each.
    points
        Most values of a longer axis, which are spread evenly over the order of the middles.
    cells
        Most cells of a heat map; more are averaged in blocks of rows and columns that are alike.
    """
    axes = [axis for axis, length in enumerate(view.shape) if length > 1]
    if len(axes) > 1 and view.size > rows and view.size <= _WHOLE:
        return ordered_heat_maps(view, axes, cells)
    if rows < view.size <= _WHOLE:
        return [_ranked(view, axes[0], points)]
    picture = make_picture(view, max_rows=rows, max_points=points, max_cells=cells)
    if picture.kind == "histogram":
        return [_histogram(picture)]
    if picture.kind == "forest":
        return [_forest(picture)]
    if picture.kind == "profile":
        return [_profile(picture)]
    if picture.kind == "heat map":
        return block_heat_maps(picture)
    return [Chart(view.name, {}, {}, picture.note)]


# ------------------------------------------------------------------------------- lines with intervals


def _histogram(picture: Picture) -> Chart:
    assert picture.edges is not None
    assert picture.counts is not None
    lines: dict[str, float] = {picture.middle_name: float(picture.middle[0])}
    if picture.low is not None and picture.high is not None:
        lines |= {"lower end": float(picture.low[0]), "upper end": float(picture.high[0])}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "bar", "fill": _BAR, "binSpacing": 1},
            "encoding": {
                "x": {"field": "from", "type": "quantitative", "bin": {"binned": True}}
                | {"title": "value", "axis": {"grid": False}},
                "x2": {"field": "to"},
                "y": {"field": "draws", "type": "quantitative"},
                "tooltip": tips("from", "to", "draws"),
            },
            "params": [zoom("x")],
        }
    ]
    for name, value in lines.items():
        dash = [] if name == picture.middle_name else [4, 3]
        layers.append(
            {
                "mark": {"type": "rule", "color": _MARK, "strokeDash": dash, "strokeWidth": 1.5},
                "encoding": {"x": {"datum": value}},
            }
        )
    columns = {
        "from": rounded(picture.edges[:-1]),
        "to": rounded(picture.edges[1:]),
        "draws": picture.counts.tolist(),
    }
    dashed = f"; dashed: {picture.interval_name}" if picture.interval_name else ""
    words = f"{picture.note} Line: {picture.middle_name} {_words(picture.middle[0])}{dashed}."
    return Chart("draws", {"height": 170, "layer": layers}, columns, words)


def _forest(picture: Picture) -> Chart:
    finite = np.nan_to_num(picture.middle, nan=-np.inf)
    order = np.argsort(-finite, kind="stable")
    columns = _interval_columns(picture.middle, picture.low, picture.high, order, picture)
    columns["name"] = _names([picture.labels[place] for place in order])
    y: dict[str, Any] = {"field": "name", "type": "nominal", "sort": None, "title": None}
    y["axis"] = {"labelLimit": 170, "grid": False}
    spec = {"height": 19 * len(order), "layer": _interval_layers(picture, "x", {"y": y}, "name")}
    return Chart(_title(picture), spec, columns, picture.note)


def _ranked(view: SiteView, axis: int, points: int) -> Chart:
    """A longer axis in the order of its middles: what is large, what is uncertain, by name."""
    middle, low, high = (None if part is None else part.ravel() for part in view.whole())
    assert middle is not None
    order = np.argsort(-np.nan_to_num(middle, nan=-np.inf), kind="stable")
    order = order[evenly(len(order), points)]
    names = view.labels(axis)
    picture = Picture("profile", view.middle, view.interval, middle, low, high)
    columns = _interval_columns(middle, low, high, order, picture)
    columns["name"] = _names([str(p) if names is None else str(names[p]) for p in order])
    columns["rank"] = np.linspace(1, len(middle), len(order)).round().astype(int).tolist()
    x: dict[str, Any] = {
        "field": "rank",
        "type": "quantitative",
        "title": f"rank of {view.axis_title(axis)}",
    }
    x["axis"] = {"grid": False}
    spec = {"height": 230, "layer": _interval_layers(picture, "y", {"x": x}, "name")}
    thinned = len(order) < len(middle)
    note = f"{len(order):,} of {len(middle):,} values, evenly by rank." if thinned else ""
    return Chart(f"{_title(picture)}, sorted", spec, columns, note)


def _profile(picture: Picture) -> Chart:
    assert picture.row_edges is not None
    columns = _interval_columns(
        picture.middle, picture.low, picture.high, np.arange(len(picture.middle)), picture
    )
    columns["position"] = ((picture.row_edges[:-1] + picture.row_edges[1:] - 1) / 2).tolist()
    x = {"field": "position", "type": "quantitative", "title": picture.row_title}
    spec = {"height": 230, "layer": _interval_layers(picture, "y", {"x": x}, "position")}
    return Chart(_title(picture), spec, columns, picture.note)


def _interval_columns(
    middle: np.ndarray,
    low: np.ndarray | None,
    high: np.ndarray | None,
    order: np.ndarray,
    picture: Picture,
) -> dict[str, Any]:
    columns: dict[str, Any] = {_field(picture.middle_name): rounded(middle[order])}
    if low is not None and high is not None:
        columns |= {"lower": rounded(low[order]), "upper": rounded(high[order])}
    return columns


def _interval_layers(
    picture: Picture, along: str, across: dict[str, Any], name: str
) -> list[dict[str, Any]]:
    """Rules for the intervals and points for the middles, with one tooltip."""
    field = _field(picture.middle_name)
    middle: dict[str, Any] = {"field": field, "type": "quantitative", "title": _title(picture)}
    middle["scale"] = {"zero": False}
    several = picture.low is not None and picture.high is not None
    told = [{"field": name, "type": "nominal"}, *tips(field, *(["lower", "upper"] * several))]
    mark = {"type": "point", "filled": True, "size": 26, "color": _BAR, "opacity": 1}
    numbers = [axis for axis, field in across.items() if field["type"] == "quantitative"]
    points = {
        "mark": mark,
        "encoding": {**across, along: middle, "tooltip": told},
        "params": [zoom(*sorted([along, *numbers]))],
    }
    if not several:
        return [points]
    rules = {
        "mark": {"type": "rule", "color": _BAR, "opacity": 0.5, "strokeWidth": 2},
        "encoding": {
            **across,
            along: {**middle, "field": "lower"},
            f"{along}2": {"field": "upper"},
            "tooltip": told,
        },
    }
    return [rules, points]


def _names(names: Sequence[str]) -> dict[str, Any]:
    """Names, each with its place where one comes twice: a scale has every name once."""
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    told = [f"{name} ({i})" if seen[name] > 1 else name for i, name in enumerate(names)]
    return {"names": told, "codes": list(range(len(told)))}


def _field(name: str) -> str:
    """A name as a field: dots and brackets would be taken for a path."""
    return "".join(letter if letter.isalnum() or letter in " _-" else "_" for letter in name)


def _title(picture: Picture) -> str:
    if picture.interval_name is None:
        return picture.middle_name
    return f"{picture.middle_name}, {picture.interval_name}"


def _words(value: float) -> str:
    return f"{value:.4g}"
