"""Which picture suits a site and the few numbers it is drawn from, whatever the size of the site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pyro_posterior.exports.views import SiteView

PictureKind = Literal["histogram", "forest", "profile", "heat map", "empty"]


@dataclass(frozen=True)
class Picture:
    """A picture before it is drawn; unused fields are empty or None.

    ``middle``, ``low`` and ``high`` are ``(row,)`` in a forest or profile and ``(row, column)`` in
    a heat map. A histogram has ``edges`` and ``counts`` and one middle.
    """

    kind: PictureKind
    middle_name: str
    interval_name: str | None
    middle: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None
    labels: tuple[str, ...] = ()  # forest: one a row
    edges: np.ndarray | None = None  # histogram
    counts: np.ndarray | None = None
    row_edges: np.ndarray | None = None  # profile, heat map: first value of each block, and the end
    column_edges: np.ndarray | None = None
    row_labels: tuple[str, ...] = ()  # heat map: names where each row is one known value
    column_labels: tuple[str, ...] = ()
    row_title: str = ""
    column_title: str = ""
    note: str = ""  # what was averaged or left out, for the reader

    @property
    def width(self) -> np.ndarray | None:
        """Width of the interval, shaped as the middle."""
        return None if self.low is None or self.high is None else self.high - self.low


def make_picture(
    view: SiteView,
    *,
    max_rows: int = 40,
    max_points: int = 400,
    max_cells: int = 4096,
    bins: int = 40,
) -> Picture:
    """The picture of a site.

    A histogram for one value with draws; a forest for up to ``max_rows`` values; a profile for one
    longer axis; a heat map for more axes, leading axes laid behind each other. A profile of more than
    ``max_points`` values or a heat map of more than ``max_cells`` is made of blocks of neighbours,
    each the mean of its finite values.
    """
    if view.size == 0:
        return _empty(view, "No values.")
    if view.size == 1 and (draws := view.draws()) is not None:
        return _histogram(view, draws.ravel(), bins)
    small = view.size <= max_rows
    picture = _forest(view) if small else _blocks(view, max_points, max_cells)
    if not np.isfinite(picture.middle).any():
        return _empty(view, "No finite values.")
    return picture


def _empty(view: SiteView, note: str) -> Picture:
    return Picture("empty", view.middle, None, np.empty(0), None, None, note=note)


def colour_range(values: np.ndarray) -> tuple[float, float, bool]:
    """Lower and upper end of the colours, and whether they lie around zero.

    The ends are the 1 % and 99 % quantiles of the finite values, so that a few large values do not
    wash out the rest.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0, False
    low, high = (float(end) for end in np.quantile(finite, [0.01, 0.99]))
    if low < 0 < high:
        reach = max(-low, high)
        return -reach, reach, True
    if low == high:
        low, high = float(finite.min()), float(finite.max())
    return low, high if high > low else low + 1.0, False


def _histogram(view: SiteView, draws: np.ndarray, bins: int) -> Picture:
    finite = draws[np.isfinite(draws)]
    if not finite.size:
        return _empty(view, "No finite draws.")
    counts, edges = np.histogram(finite, bins=min(bins, max(1, int(np.sqrt(finite.size)) * 2)))
    middle, low, high = view.whole()
    left_out = len(draws) - len(finite)
    return Picture(
        "histogram",
        view.middle,
        view.interval,
        middle.ravel(),
        None if low is None else low.ravel(),
        None if high is None else high.ravel(),
        edges=edges,
        counts=counts,
        note=f"{len(finite)} draws." + (f" {left_out} NaN or infinite left out." * bool(left_out)),
    )


def _forest(view: SiteView) -> Picture:
    middle, low, high = view.whole()
    return Picture(
        "forest",
        view.middle,
        view.interval,
        middle.ravel(),
        None if low is None else low.ravel(),
        None if high is None else high.ravel(),
        labels=_element_labels(view),
        note="" if view.interval else "The results hold no interval for this site.",
    )


def _element_labels(view: SiteView) -> tuple[str, ...]:
    axes = [axis for axis, length in enumerate(view.shape) if length > 1]
    if not axes:
        return (view.name,)
    names = {axis: view.labels(axis) for axis in axes}
    labels = []
    for index in np.ndindex(view.shape):
        parts = [
            str(index[axis]) if (known := names[axis]) is None else str(known[index[axis]])
            for axis in axes
        ]
        labels.append(", ".join(parts))
    return tuple(labels)


def _blocks(view: SiteView, max_points: int, max_cells: int) -> Picture:
    """Means of blocks of neighbours, accumulated piece by piece."""
    axes = [axis for axis, length in enumerate(view.shape) if length > 1]
    columns = view.shape[axes[-1]] if len(axes) > 1 else 1
    rows = view.size // columns
    row_blocks, column_blocks = _grid(rows, columns, max_points if columns == 1 else max_cells)
    row_edges = np.linspace(0, rows, row_blocks + 1).astype(np.int64)
    column_edges = np.linspace(0, columns, column_blocks + 1).astype(np.int64)
    sums = [_BlockMean(row_edges, column_edges) for _ in range(3)]
    start = 0
    for arrays in view.pieces():
        for total, array in zip(sums, arrays, strict=True):
            if array is not None:
                total.add(start, array.reshape(-1, columns))
        start += arrays[0].size // columns
    middle, low, high = (total.mean() for total in sums)
    profile = columns == 1
    several = view.interval is not None
    return Picture(
        "profile" if profile else "heat map",
        view.middle,
        view.interval,
        middle[:, 0] if profile else middle,
        (low[:, 0] if profile else low) if several else None,
        (high[:, 0] if profile else high) if several else None,
        row_edges=row_edges,
        column_edges=column_edges,
        row_labels=_axis_labels(view, axes[0], row_blocks) if len(axes) == 2 else (),
        column_labels=_axis_labels(view, axes[-1], column_blocks) if not profile else (),
        row_title=" × ".join(view.axis_title(axis) for axis in (axes if profile else axes[:-1])),
        column_title="" if profile else view.axis_title(axes[-1]),
        note=_block_note(rows, columns, row_blocks, column_blocks),
    )


class _BlockMean:
    """Mean of the finite values of each block of a ``(row, column)`` array given in runs of rows."""

    def __init__(self, row_edges: np.ndarray, column_edges: np.ndarray) -> None:
        self._row_edges, self._column_edges = row_edges, column_edges
        self._sum = np.zeros((len(row_edges) - 1, len(column_edges) - 1))
        self._count = np.zeros_like(self._sum)

    def add(self, start: int, rows: np.ndarray) -> None:
        finite = np.isfinite(rows)
        block = np.searchsorted(self._row_edges, np.arange(start, start + len(rows)), "right") - 1
        for total, values in ((self._sum, np.where(finite, rows, 0.0)), (self._count, finite)):
            by_column = np.add.reduceat(values.astype(np.float64), self._column_edges[:-1], axis=1)
            np.add.at(total, block, by_column)

    def mean(self) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return self._sum / self._count


def _grid(rows: int, columns: int, max_cells: int) -> tuple[int, int]:
    """Blocks along each axis: as square as the axes allow, at most ``max_cells`` of them."""
    if rows * columns <= max_cells:
        return rows, columns
    side = max(1, int(np.sqrt(max_cells)))
    if columns <= side:
        return min(rows, max(1, max_cells // columns)), columns
    if rows <= side:
        return rows, min(columns, max(1, max_cells // rows))
    return side, side


def _axis_labels(view: SiteView, axis: int, blocks: int) -> tuple[str, ...]:
    names = view.labels(axis) if blocks == view.shape[axis] else None
    return () if names is None else tuple(str(name) for name in names)


def _block_note(rows: int, columns: int, row_blocks: int, column_blocks: int) -> str:
    if (rows, columns) == (row_blocks, column_blocks):
        return ""
    tall, wide = rows / row_blocks, columns / column_blocks
    blocks = f"{row_blocks:,}" + (f" × {column_blocks:,}" if columns > 1 else "")
    values = f"{tall:,.4g}" + (f" × {wide:,.4g}" if columns > 1 else "")
    about = "" if tall.is_integer() and wide.is_integer() else "about "
    return f"Down-sampled to {blocks} blocks, each the mean of {about}{values} neighbouring values."
