"""`write_report`: the posterior as one web page that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

from pyro_posterior.errors import RequestError
from pyro_posterior.exports import vega
from pyro_posterior.exports.chart import Chart
from pyro_posterior.exports.charts import charts_of
from pyro_posterior.exports.facts import settings_of
from pyro_posterior.exports.findings import Looked, findings, look
from pyro_posterior.exports.maps import map_of, spots
from pyro_posterior.files import check_target, replacing
from pyro_posterior.posterior import Posterior

_ALL_CELLS = 200_000  # heat map cells in the page, over all sites
_SITE_CELLS = 4096  # and of one site, at most
_DASH = "–"

#: Columns of the table of sites: heading, explanation, whether its cells are numbers.
_COLUMNS = (
    ("Site", "Name in the model; leads to its pictures", False),
    ("Shape", "Of one draw, over all observations; sorts by the number of values", True),
    ("Kind", "Latent, deterministic or observed; global: one for all observations", False),
    ("Lowest", "Smallest value of what is shown, the mean where there is one", True),
    ("Highest", "Largest value of what is shown", True),
    ("Widest interval", "Largest width of the interval of one value", True),
    ("Relative width", "Typical width of the intervals over the typical size of the values", True),
    ("Zeros", "Share of values that are exactly zero", True),
    ("Non-finite", "Draws that are NaN or infinite", True),
)


def write_report(
    posterior: Posterior,
    path: str | PathLike[str],
    *,
    title: str = "Posterior report",
    sites: Iterable[str] | None = None,
    spatial: Any = None,
    answers: Sequence[str] = (),
) -> Path:
    """Write the posterior as one self-contained web page.

    The page says in words what deserves a look, shows pictures of every site, the strangest and
    widest first, a table of sites to search and sort, and, folded away, settings, versions and
    the program that drew. It asks nothing of the network. Its size is bounded: of large sites it
    holds a part or block means, and says so. The same posterior gives the same bytes.

    Parameters
    ----------
    posterior
        A result of `sample_posterior`, in memory or of a store.
    path
        File to write; one that is there is replaced once the new one is whole.
    title
        Heading of the page.
    sites
        Names of the sites to show; None: all.
    spatial
        ``(observation, 2)``: places of the observations, such as ``adata.obsm["spatial"]``, for
        maps of local sites. None: those that the posterior has of its host.
    answers
        Sentences to put before all else, such as what a `Posterior.contrast` found.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    RequestError
        ``sites`` names a site that the posterior does not have, or ``spatial`` does not fit.
    OutputError
        The file cannot be written.
    MissingPackageError
        The package of the chart library is not installed.
    """
    target = check_target(path)
    page = report_html(posterior, title=title, sites=sites, spatial=spatial, answers=answers)
    with replacing(target) as beside:
        beside.write_text(page, encoding="utf-8", newline="\n")
    return target


def report_html(
    posterior: Posterior,
    *,
    title: str = "Posterior report",
    sites: Iterable[str] | None = None,
    spatial: Any = None,
    answers: Sequence[str] = (),
) -> str:
    """The page of `write_report` as text."""
    vega.need_vega("the report")
    if posterior.unfinished:
        raise RequestError(f"there is nothing to report yet: {posterior.unfinished}")
    names = [sites] if isinstance(sites, str) else sites
    chosen = list(posterior.plan.sites) if names is None else [*map(posterior.site, names)]
    looked = sorted((look(posterior, site) for site in chosen), key=lambda each: each.order)
    cells = min(_SITE_CELLS, max(256, _ALL_CELLS // max(1, len(looked))))
    places = spots(posterior, spatial)
    cards = [_card(each, cells, places) for each in looked]
    library, script, style = vega.script(), _part("page.js"), _part("page.css")
    return _fill(
        _part("page.html"),
        {
            "title": escape(title),
            "lead": escape(_lead(posterior)),
            "library_hash": _digest(library),
            "script_hash": _digest(script),
            "style_hash": _digest(style),
            "style": style,
            "library": library,
            "script": script,
            "findings": "\n".join(
                f"<li>{_first_word_bold(text)}</li>"
                for text in (*answers, *findings(posterior, looked))
            ),
            "cards": "\n".join(_section(number, each) for number, each in enumerate(looked)),
            "head": "\n".join(_heading(number, *column) for number, column in enumerate(_COLUMNS)),
            "rows": "\n".join(_row(number, each) for number, each in enumerate(looked)),
            "settings": _definitions(settings_of(posterior)),
            "versions": _definitions(sorted(posterior.info.get("versions", {}).items())),
            "program": escape(posterior.program.strip() or "not recorded"),
            "data": _json(cards),
        },
    )


# ------------------------------------------------------------------------------------------- pictures


def _card(looked: Looked, cells: int, places: Any) -> dict[str, Any]:
    """The charts of one site, as the page reads them."""
    if looked.view is None or looked.figures.middle_low is None:
        return {"name": looked.site.name, "charts": []}
    charts = charts_of(looked.view, cells=cells)
    if places is not None and (drawn := map_of(looked.view, places)) is not None:
        charts = [drawn, *charts]
    return {"name": looked.site.name, "charts": [_plain(chart) for chart in charts if chart.spec]}


def _plain(chart: Chart) -> dict[str, Any]:
    return {
        "title": chart.title,
        "note": chart.note,
        "spec": chart.spec,
        "columns": chart.columns,
    }


def _section(number: int, looked: Looked) -> str:
    """The place of one site's pictures, with what is to be read where nothing can be drawn."""
    site, figures = looked.site, looked.figures
    shape = "" if looked.view is None else f"{_shape(looked.view.shape)}, "
    facts = f"{shape}{site.kind}, {site.scope}"
    if figures.nonfinite:
        facts += f", {figures.nonfinite:,} draws not finite"
    nothing = looked.trouble or ("" if figures.middle_low is not None else "No finite values.")
    return (
        f'<section class="card" id="site-{number}" data-card="{number}" tabindex="-1" '
        f'aria-label="{escape(site.name)}"><h3>{escape(site.name)}</h3>'
        f'<p class="facts">{escape(facts)}</p>'
        + (f'<p class="nothing">{escape(nothing)}</p>' if nothing else "")
        + '<div class="charts"></div></section>'
    )


def _first_word_bold(text: str) -> str:
    word, colon, rest = text.partition(":")
    return f"<strong>{escape(word)}:</strong>{escape(rest)}" if colon else escape(text)


def _json(value: Any) -> str:
    """JSON that may stand inside a script element."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


# ---------------------------------------------------------------------------------------------- words


def _heading(number: int, name: str, explanation: str, numeric: bool) -> str:
    css = ' class="number"' if numeric else ""
    return (
        f'<th role="columnheader" scope="col"{css} aria-sort="none">'
        f'<button type="button" data-column="{number}" title="{escape(explanation)}">'
        f"{escape(name)}</button></th>"
    )


def _row(number: int, looked: Looked) -> str:
    site, figures = looked.site, looked.figures
    name = escape(site.name)
    shape = site.shape if looked.view is None else looked.view.shape
    relative = looked.relative_width if figures.typical_width is not None else None
    if relative is not None and math.isinf(relative):
        relative = None
    cells: Sequence[tuple[str, Any]] = (
        (_shape(shape), math.prod(shape)),
        (f"{site.kind}, {site.scope}", site.kind + site.scope),
        (_number(figures.middle_low), figures.middle_low),
        (_number(figures.middle_high), figures.middle_high),
        (_number(figures.widest), figures.widest),
        (_number(relative), relative),
        (_DASH if figures.zeros is None else f"{100 * figures.zeros:.3g} %", figures.zeros),
        (f"{figures.nonfinite:,}", figures.nonfinite),
    )
    parts = [
        f'<th role="rowheader" scope="row" data-value="{name}">'
        f'<a href="#site-{number}">{name}</a></th>'
    ]
    for (heading, _, numeric), (text, value) in zip(_COLUMNS[1:], cells, strict=True):
        css = "number" if numeric else ""
        if heading == "Non-finite" and figures.nonfinite:
            css += " alarm"
        sortable = "" if value is None else escape(str(value))
        parts.append(
            f'<td role="cell" class="{css}" data-label="{escape(heading)}" '
            f'data-value="{sortable}">{escape(text)}</td>'
        )
    return f'<tr role="row" data-site="{number}">{"".join(parts)}</tr>'


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{length:,}" for length in shape) if shape else "scalar"


def _number(value: float | None) -> str:
    return _DASH if value is None else f"{value:.4g}".replace("-", "−")


def _lead(posterior: Posterior) -> str:
    plan = posterior.plan
    return (
        f"{len(plan.sites):,} sites, {plan.num_samples:,} draws, {plan.num_obs:,} observations, "
        f"seed {plan.seed}"
    )


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(
        f"<div><dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd></div>"
        for key, value in pairs
    )


# --------------------------------------------------------------------------------------------- the page


def _part(name: str) -> str:
    return (files("pyro_posterior") / "exports" / "page" / name).read_text(encoding="utf-8").strip()


def _digest(text: str) -> str:
    """What the page's content policy lets run: this very text."""
    return base64.b64encode(hashlib.sha256(f"\n{text}\n".encode()).digest()).decode()


def _fill(template: str, values: dict[str, str]) -> str:
    """Put each value at its ``[[name]]``; what is put in is not looked at again."""
    pieces = template.split("[[")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, rest = piece.split("]]", 1)
        filled += [values[name], rest]
    return "".join(filled) + "\n"
