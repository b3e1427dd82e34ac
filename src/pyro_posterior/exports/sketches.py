"""`sketch`: an array as a picture of the size of a word, in SVG without text."""

from __future__ import annotations

import numpy as np

_WIDTH, _HEIGHT = 120, 28
_MOST_BARS, _MOST_ROWS, _MOST_COLUMNS = 60, 14, 40


def sketch(values: np.ndarray) -> str:
    """Bars of a row of values, shades of a table, means of blocks where there are many."""
    axes = [axis for axis, size in enumerate(values.shape) if size > 1]
    columns = values.shape[axes[-1]] if len(axes) > 1 else 1
    table = np.asarray(values, np.float64).reshape(-1, columns)
    if columns == 1:
        return _svg(_bars(_blocks(table, _MOST_BARS, 1)[:, 0]))
    return _svg(_shades(_blocks(table, _MOST_ROWS, _MOST_COLUMNS)))


def _blocks(table: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Means of the finite values of at most so many blocks along each axis."""
    row_edges = np.linspace(0, len(table), min(rows, len(table)) + 1).astype(int)[:-1]
    column_edges = np.linspace(0, table.shape[1], min(columns, table.shape[1]) + 1).astype(int)
    finite = np.isfinite(table)
    sums, counts = (
        np.add.reduceat(np.add.reduceat(part, row_edges, axis=0), column_edges[:-1], axis=1)
        for part in (np.where(finite, table, 0.0), finite.astype(np.float64))
    )
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)


def _bars(values: np.ndarray) -> str:
    low, high = min(0.0, float(np.nanmin(values))), max(0.0, float(np.nanmax(values)))
    scale, step = _HEIGHT / ((high - low) or 1.0), _WIDTH / len(values)
    parts = []
    for place, value in enumerate(values):
        if np.isfinite(value):
            top, tall = (high - max(value, 0.0)) * scale, max(abs(value) * scale, 0.5)
            parts.append(
                f'<rect x="{place * step:.1f}" y="{top:.1f}" width="{max(step - 0.5, 0.5):.1f}" '
                f'height="{tall:.1f}"/>'
            )
    return "".join(parts)


def _shades(values: np.ndarray) -> str:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    share = (values - low) / ((high - low) or 1.0)
    step, tall = _WIDTH / values.shape[1], _HEIGHT / len(values)
    return "".join(
        f'<rect x="{column * step:.1f}" y="{row * tall:.1f}" width="{step:.1f}" '
        f'height="{tall:.1f}" opacity="{0.05 + 0.95 * share[row, column]:.2f}"/>'
        for row, column in np.argwhere(np.isfinite(share))
    )


def _svg(body: str) -> str:
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'fill="currentColor" role="img" aria-hidden="true">{body}</svg>'
    )
