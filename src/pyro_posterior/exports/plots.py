"""`plot_site`: one picture of one site, by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_posterior.errors import MissingPackageError, RequestError
from pyro_posterior.exports.pictures import Picture, colour_range, make_picture
from pyro_posterior.exports.views import SiteView
from pyro_posterior.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_TICKS = 40  # named rows or columns of a heat map


def plot_site(
    posterior: Posterior,
    site: str,
    ax: Axes | None = None,
    *,
    show: str = "middle",
    max_rows: int = 40,
    max_cells: int = 250_000,
    bins: int = 40,
    color: Any = None,
    cmap: str | None = None,
) -> Axes:
    """Draw one site: a histogram, a forest, a profile or a heat map, by its size.

    One value with draws becomes a histogram, up to ``max_rows`` values a forest of means with
    their 90 % intervals, one longer axis a line with the interval as a band, and more axes a heat
    map (leading axes laid behind each other).

    Parameters
    ----------
    posterior
        A result of `sample_posterior`, in memory or of a store.
    site
        Name of the site.
    ax
        Matplotlib axes to draw on; None: a new figure.
    show
        "middle" (the mean), or "width" for the width of the interval in a heat map.
    max_rows
        Most values of a forest.
    max_cells
        Most points or cells of a profile or heat map; more values are averaged in blocks of
        neighbours, which the title says.
    bins
        Most bars of a histogram.
    color, cmap
        As in matplotlib; by default its first colour, and for heat maps "viridis", or "RdBu_r"
        around zero where the values have both signs.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Raises
    ------
    MissingPackageError
        Matplotlib is not installed.
    RequestError
        An unknown site or ``show``, or one with neither summaries nor draws.
    """
    if show not in ("middle", "width"):
        raise RequestError(f"show={show!r} is unknown: choose 'middle' or 'width'")
    view = SiteView(posterior, site)
    picture = make_picture(
        view, max_rows=max_rows, max_points=max_cells, max_cells=max_cells, bins=bins
    )
    if show == "width" and (picture.kind != "heat map" or picture.width is None):
        raise RequestError(
            f"show='width' is for heat maps with an interval; site {site!r} is drawn as a "
            f"{picture.kind}" + (" without one" if picture.width is None else "")
        )
    ax = _new_axes(picture) if ax is None else ax
    if picture.kind == "histogram":
        _draw_histogram(ax, picture, color)
    elif picture.kind == "forest":
        _draw_forest(ax, picture, color)
    elif picture.kind == "profile":
        _draw_profile(ax, picture, color)
    elif picture.kind == "heat map":
        _draw_heat_map(ax, picture, show, cmap)
    ax.set_title(
        "\n".join(part for part in (site, picture.note) if part), fontsize="medium", wrap=True
    )
    return ax


def _new_axes(picture: Picture) -> Axes:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingPackageError("matplotlib", "plot", "plot_site") from error
    height = 1.2 + 0.26 * len(picture.middle) if picture.kind == "forest" else 4.0
    _, ax = plt.subplots(figsize=(6.4, height), layout="constrained")
    return ax


def _draw_histogram(ax: Axes, picture: Picture, color: Any) -> None:
    assert picture.counts is not None
    assert picture.edges is not None
    ax.stairs(picture.counts, picture.edges, fill=True, alpha=0.5, color=color or "C0")
    ax.axvline(picture.middle[0], color="black", label=picture.middle_name)
    if picture.low is not None and picture.high is not None:
        ax.axvline(picture.low[0], color="black", linestyle="--", label=picture.interval_name or "")
        ax.axvline(picture.high[0], color="black", linestyle="--")
    ax.set_ylabel("draws")
    ax.set_xlabel("value")
    ax.legend(frameon=False)


def _draw_forest(ax: Axes, picture: Picture, color: Any) -> None:
    rows = np.arange(len(picture.middle))
    if picture.low is not None and picture.high is not None:
        ax.hlines(
            rows, picture.low, picture.high, color=color or "C0", label=picture.interval_name or ""
        )
    ax.plot(picture.middle, rows, "o", color=color or "C0", label=picture.middle_name)
    ax.set_yticks(rows, picture.labels)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(_value_title(picture))


def _draw_profile(ax: Axes, picture: Picture, color: Any) -> None:
    assert picture.row_edges is not None
    at = (picture.row_edges[:-1] + picture.row_edges[1:] - 1) / 2
    if picture.low is not None and picture.high is not None:
        ax.fill_between(at, picture.low, picture.high, alpha=0.25, color=color or "C0", lw=0)
    ax.plot(at, picture.middle, color=color or "C0", lw=1)
    ax.set_xlabel(picture.row_title)
    ax.set_ylabel(_value_title(picture))


def _draw_heat_map(ax: Axes, picture: Picture, show: str, cmap: str | None) -> None:
    assert picture.row_edges is not None
    assert picture.column_edges is not None
    values = picture.middle if show == "middle" else picture.width
    assert values is not None
    low, high, around_zero = colour_range(values)
    image = ax.imshow(
        values,
        aspect="auto",
        interpolation="nearest",
        vmin=low,
        vmax=high,
        cmap=cmap or ("RdBu_r" if around_zero else "viridis"),
        extent=(
            picture.column_edges[0] - 0.5,
            picture.column_edges[-1] - 0.5,
            picture.row_edges[-1] - 0.5,
            picture.row_edges[0] - 0.5,
        ),
    )
    ax.set_xlabel(picture.column_title)
    ax.set_ylabel(picture.row_title)
    if 0 < len(picture.row_labels) <= _MOST_TICKS:
        ax.set_yticks(range(len(picture.row_labels)), picture.row_labels)
    if 0 < len(picture.column_labels) <= _MOST_TICKS:
        ax.set_xticks(range(len(picture.column_labels)), picture.column_labels, rotation=90)
    name = picture.middle_name if show == "middle" else f"width, {picture.interval_name}"
    ax.figure.colorbar(image, ax=ax, label=name, extend="both")


def _value_title(picture: Picture) -> str:
    if picture.interval_name is None:
        return picture.middle_name
    return f"{picture.middle_name}, {picture.interval_name}"
