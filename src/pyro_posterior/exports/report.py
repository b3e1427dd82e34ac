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

import numpy as np

from pyro_posterior.contracts import Site
from pyro_posterior.errors import RequestError
from pyro_posterior.exports.pictures import Picture, colour_range, make_picture
from pyro_posterior.exports.views import SiteFigures, SiteView
from pyro_posterior.labels import full_shape
from pyro_posterior.posterior import Posterior

_ALL_CELLS = 200_000  # heat map cells in the page, over all sites
_SITE_CELLS = 4096  # and of one site, at most
_SITE_POINTS = 1000  # points of a profile
_DASH = "–"

#: Columns of the table of sites: heading, explanation, whether its cells are numbers.
_COLUMNS = (
    ("Site", "Name in the model; opens its picture", False),
    ("Shape", "Of one draw, over all observations; sorts by the number of values", True),
    ("Kind", "Latent, deterministic or observed", False),
    ("Scope", "Global: one for all observations. Local: one per observation", False),
    ("Lowest mean", "Smallest posterior mean", True),
    ("Highest mean", "Largest posterior mean", True),
    ("Widest interval", "Largest width of the interval of one value", True),
    ("Zeros", "Share of posterior means that are exactly zero", True),
    ("Non-finite", "Draws that are NaN or infinite", True),
)


def write_report(
    posterior: Posterior,
    path: str | PathLike[str],
    *,
    title: str = "Posterior report",
    sites: Iterable[str] | None = None,
) -> Path:
    """Write the posterior as one self-contained web page.

    The page holds a table of sites to search and sort, a picture of each on click, the settings,
    seed, time and versions of the run, and the text of the program that drew. It asks nothing of
    the network. Its size is bounded: of large sites it holds block means, and says so. The same
    posterior gives the same bytes.

    Parameters
    ----------
    posterior
        A result of `sample_posterior`, in memory or of a store.
    path
        File to write; one that is there is replaced.
    title
        Heading of the page.
    sites
        Names of the sites to show; None: all.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    RequestError
        ``sites`` names a site that the posterior does not have.
    OSError
        The file cannot be written.
    """
    page = report_html(posterior, title=title, sites=sites)
    path = Path(path)
    path.write_text(page, encoding="utf-8", newline="\n")
    return path


def report_html(
    posterior: Posterior, *, title: str = "Posterior report", sites: Iterable[str] | None = None
) -> str:
    """The page of `write_report` as text."""
    shown = _chosen(posterior, sites)
    cells = min(_SITE_CELLS, max(64, _ALL_CELLS // max(1, len(shown))))
    rows, pictures = [], []
    for number, site in enumerate(shown):
        figures, picture = _look(posterior, site, cells)
        rows.append(_row(number, site, full_shape(site, posterior.plan.num_obs), figures))
        pictures.append({"name": site.name, **picture})
    script, style = _part("page.js"), _part("page.css")
    return _fill(
        _part("page.html"),
        {
            "title": escape(title),
            "lead": escape(_lead(posterior)),
            "script_hash": _digest(script),
            "style_hash": _digest(style),
            "style": style,
            "script": script,
            "head": "\n".join(_heading(number, *column) for number, column in enumerate(_COLUMNS)),
            "options": "\n".join(
                f'<option value="{number}">{escape(name)}</option>'
                for number, (name, _, _) in enumerate(_COLUMNS)
            ),
            "rows": "\n".join(rows),
            "settings": _definitions(_settings(posterior)),
            "versions": _definitions(sorted(posterior.info.get("versions", {}).items())),
            "program": escape(posterior.program.strip() or "not recorded"),
            "data": _json(pictures),
        },
    )


def _chosen(posterior: Posterior, names: Iterable[str] | None) -> list[Site]:
    if names is None:
        return list(posterior.plan.sites)
    names = [names] if isinstance(names, str) else list(names)
    if unknown := [name for name in names if name not in posterior.sites]:
        raise RequestError(
            f"the posterior has no site {unknown[0]!r}; its sites are: "
            + ", ".join(repr(name) for name in posterior.sites)
        )
    return [posterior.sites[name] for name in names]


def _look(posterior: Posterior, site: Site, cells: int) -> tuple[SiteFigures, dict[str, Any]]:
    """Figures and embedded picture of a site; dashes and a note where nothing can be shown."""
    try:
        view = SiteView(posterior, site.name)
    except RequestError as error:
        count = int(posterior.nonfinite.get(site.name, 0))
        note = {"kind": "empty", "note": str(error)}
        return SiteFigures(None, None, None, None, count), note
    return view.figures(), embedded(
        make_picture(view, max_cells=cells, max_points=min(_SITE_POINTS, cells))
    )


# ------------------------------------------------------------------------------------------- pictures


def embedded(picture: Picture) -> dict[str, Any]:
    """A picture as plain lists of rounded numbers, the page's own format."""
    plain: dict[str, Any] = {
        "kind": picture.kind,
        "note": picture.note,
        "middle_name": picture.middle_name,
        "interval_name": picture.interval_name,
        "shape": list(picture.middle.shape),
        "middle": _rounded(picture.middle),
    }
    for name in ("low", "high", "edges"):
        if (array := getattr(picture, name)) is not None and picture.kind != "heat map":
            plain[name] = _rounded(array)
    for name in ("counts", "row_edges", "column_edges"):
        if (array := getattr(picture, name)) is not None:
            plain[name] = array.tolist()
    for name in ("labels", "row_labels", "column_labels", "row_title", "column_title"):
        if value := getattr(picture, name):
            plain[name] = value
    if picture.kind == "heat map":
        plain["middle_range"] = _range(picture.middle)
        if (width := picture.width) is not None:
            plain["width"] = _rounded(width)
            plain["width_range"] = _range(width)
    return plain


def _range(values: np.ndarray) -> list[Any]:
    low, high, around_zero = colour_range(values)
    return [_round(low), _round(high), around_zero]


def _rounded(values: np.ndarray) -> list[float | int | None]:
    return [_round(value) for value in values.ravel().tolist()]


def _round(value: float) -> float | int | None:
    """Four significant digits; whole numbers without a point, NaN and infinities as None."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() and abs(short) < 1e6 else short


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


def _row(number: int, site: Site, shape: tuple[int, ...], figures: SiteFigures) -> str:
    name = escape(site.name)
    size = math.prod(shape)
    cells: Sequence[tuple[str, Any]] = (
        (_shape(shape), size),
        (site.kind, site.kind),
        (site.scope, site.scope),
        (_number(figures.middle_low), figures.middle_low),
        (_number(figures.middle_high), figures.middle_high),
        (_number(figures.widest), figures.widest),
        (_DASH if figures.zeros is None else f"{100 * figures.zeros:.3g} %", figures.zeros),
        (f"{figures.nonfinite:,}", figures.nonfinite),
    )
    parts = [
        f'<th role="rowheader" scope="row" data-value="{name}">'
        f'<button type="button" class="site" aria-expanded="false" data-site="{number}">'
        f"{name}</button></th>"
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


def _settings(posterior: Posterior) -> list[tuple[str, str]]:
    plan = posterior.plan
    sizes = sorted(set(plan.batch_sizes))
    batches = f"{len(plan.batch_sizes):,}"
    if sizes:
        of = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        batches += f" of {of} observations"
    pairs = [
        ("draws", f"{plan.num_samples:,}"),
        ("observations", f"{plan.num_obs:,}"),
        ("minibatches", batches),
        ("observation plate", plan.obs_plate or "none"),
        ("seed", str(plan.seed)),
        ("engine", plan.engine),
        ("summaries", ", ".join(plan.summaries) or "none"),
        ("draws kept", "yes" if plan.return_samples else "no"),
    ]
    info = {key: value for key, value in posterior.info.items() if key != "versions"}
    if (seconds := info.pop("seconds", None)) is not None:
        pairs.append(("time", _duration(float(seconds))))
    return pairs + [(str(key), str(value)) for key, value in sorted(info.items())]


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


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
