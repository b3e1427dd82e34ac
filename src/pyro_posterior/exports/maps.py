"""A map: the values of a local site where the observations lie, as in a tissue."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyro_posterior.errors import RequestError
from pyro_posterior.exports.arrange import evenly
from pyro_posterior.exports.chart import Chart, rounded
from pyro_posterior.exports.views import SiteView
from pyro_posterior.labels import SPATIAL
from pyro_posterior.posterior import Posterior

_MOST_SPOTS = 3000
_MOST_COLUMNS = 12


def spots(posterior: Posterior, spatial: Any = None) -> np.ndarray | None:
    """Places of the observations, ``(observation, 2)``; None where nobody knows them.

    Raises
    ------
    RequestError
        ``spatial`` is given and is not one place for each observation.
    """
    if spatial is None:
        known = [posterior.coords.get(name) for name in SPATIAL]
        if any(axis is None or len(axis) != posterior.plan.num_obs for axis in known):
            return None
        return np.stack([np.asarray(axis, np.float64) for axis in known], axis=1)
    places = np.asarray(spatial, np.float64)
    if places.ndim != 2 or len(places) != posterior.plan.num_obs or places.shape[1] < 2:
        raise RequestError(
            f"spatial has shape {places.shape}: give two numbers for each of the "
            f"{posterior.plan.num_obs} observations, such as adata.obsm['spatial']"
        )
    return places[:, :2]


def map_of(view: SiteView, places: np.ndarray) -> Chart | None:
    """The map of a site of one or two axes; None for another, or one without finite values."""
    site = view.site
    if site.batch_axis is None or site.rows_per_obs != 1 or len(view.shape) > 2:
        return None
    rows = len(view.shape) + site.batch_axis
    table = np.moveaxis(view.whole()[0], rows, 0).reshape(len(places), -1)
    if not np.isfinite(table).any() or len(places) < 2:
        return None
    names = view.labels(1 - rows) if len(view.shape) == 2 else None
    with np.errstate(invalid="ignore"):
        spread = np.nan_to_num(np.nanvar(np.where(np.isfinite(table), table, np.nan), axis=0))
    columns = np.argsort(-spread, kind="stable")[:_MOST_COLUMNS]
    chosen = evenly(len(places), _MOST_SPOTS)
    told = [str(column) if names is None else str(names[column]) for column in columns]
    kept = {f"value{place}": rounded(table[chosen, column]) for place, column in enumerate(columns)}
    data: dict[str, Any] = {
        "x": rounded(places[chosen, 0]),
        "y": rounded(places[chosen, 1]),
        **kept,
    }
    labels = view.labels(rows)
    data["observation"] = {
        "names": [str(row) if labels is None else str(labels[row]) for row in chosen],
        "codes": list(range(len(chosen))),
    }
    notes = []
    if len(chosen) < len(places):
        notes.append(f"{len(chosen):,} of {len(places):,} observations.")
    if len(columns) < table.shape[1]:
        notes.append(f"The {len(columns)} of {table.shape[1]} columns that vary most.")
    return Chart(f"map of {view.middle}", _spec(view, told, len(chosen)), data, " ".join(notes))


def _spec(view: SiteView, told: list[str], count: int) -> dict[str, Any]:
    size = int(min(150, max(20, 40_000 // count)))  # square pixels, a quarter of the panel in all
    several = len(told) > 1
    shown: dict[str, Any] = {"name": "shown", "value": 0}
    if several:
        places = list(range(len(told)))
        shown["bind"] = {"input": "select", "options": places, "labels": told, "name": "shown "}
    scale = {"zero": False, "nice": False, "padding": 10}  # so that no spot at the edge is cut
    position = {"type": "quantitative", "axis": None, "scale": scale}
    return {
        "height": 340,
        "params": [shown],
        "transform": [{"calculate": "datum['value' + shown]", "as": "value"}],
        "layer": [
            {
                "mark": {"type": "circle", "opacity": 0.9, "size": size, "clip": True},
                "params": [
                    {
                        "name": "zoom",
                        "select": {
                            "type": "interval",
                            "zoom": "wheel![event.ctrlKey || event.shiftKey]",
                        },
                        "bind": "scales",
                    }
                ],
                "encoding": {
                    "x": {"field": "x", **position},
                    "y": {"field": "y", **position, "scale": {**scale, "reverse": True}},
                    "color": {
                        "field": "value",
                        "type": "quantitative",
                        "title": view.middle,
                        "scale": {"scheme": "viridis"},
                        "legend": {"gradientLength": 120},
                    },
                    "tooltip": [
                        {"field": "observation", "type": "nominal"},
                        {"field": "value", "type": "quantitative", "format": ".4~g"},
                    ],
                },
            }
        ],
    }
