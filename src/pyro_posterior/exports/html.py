"""`to_html`: what a notebook shows of a posterior, folded as xarray's own view is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from pyro_posterior.contracts import Site
from pyro_posterior.exports.sketches import sketch
from pyro_posterior.labelled import as_labels, plain_labels
from pyro_posterior.labels import site_dims
from pyro_posterior.posterior import Posterior

_DRAWS = "posterior_samples"
_MOST_SITES = 60  # in the table
_LARGEST = 20_000_000  # values of a site of which a picture is made

_STYLE = """
.pyro-posterior{font-size:13px;line-height:1.5;color:inherit}
.pyro-posterior table{font-size:inherit;border-collapse:collapse;width:100%;margin:.3em 0}
.pyro-posterior th,.pyro-posterior td{text-align:left!important;padding:.15em .9em .15em 0;
border:0;vertical-align:middle;background:none}
.pyro-posterior th{font-weight:600;opacity:.65}
.pyro-posterior summary{cursor:pointer}
.pyro-posterior .pp-dim{opacity:.7}
.pyro-posterior svg{display:block;color:var(--jp-brand-color1,#2878b5)}
.pyro-posterior .pp-warn{color:#b3400f;font-weight:600}
"""


def to_html(posterior: Posterior) -> str:
    """The posterior as a piece of HTML: sites with their dimensions and a small picture each.

    Values are read where they are small enough; draws of large sites on disk stay there.
    """
    plan = posterior.plan
    dims = site_dims(plan)
    rows = [_row(posterior, site, dims[site.name]) for site in plan.sites[:_MOST_SITES]]
    if len(plan.sites) > _MOST_SITES:
        rows.append(f'<tr><td colspan="6">and {len(plan.sites) - _MOST_SITES} more</td></tr>')
    facts = (
        f"{plan.num_obs:,} observations, {plan.num_samples:,} draws"
        f"{'' if _DRAWS in posterior else ' (summarised, not kept)'}, seed {plan.seed}"
    )
    heads = "".join(
        f"<th>{escape(head)}</th>" for head in ("Site", "Dimensions", "Kind", _middle(posterior))
    )
    return (
        f'<div class="pyro-posterior"><style>{_STYLE}</style>'
        f"<div><strong>Posterior</strong> of {escape(facts)}</div>"
        f"<details open><summary>Sites ({len(plan.sites)})</summary><table><thead><tr>{heads}"
        f"<th></th></tr></thead><tbody>{''.join(rows)}</tbody></table></details>"
        f"{_folded('Labels', _labels(posterior.coords))}"
        f"{_folded('Results', {name: _short(name) for name in posterior})}"
        f"{_folded('Run', _run(posterior))}</div>"
    )


def _row(posterior: Posterior, site: Site, dims: tuple[str, ...]) -> str:
    shape = site.full_shape(posterior.plan.num_obs)
    sizes = ", ".join(f"{dim}: {size:,}" for dim, size in zip(dims, shape, strict=True))
    kind = str(site.dtype).removeprefix("torch.")
    bad = posterior.nonfinite.get(site.name, 0)
    warned = f' <span class="pp-warn">{bad:,} not finite</span>' if bad else ""
    values, spread = _values(posterior, site, shape)
    return (
        f"<tr><td><strong>{escape(site.name)}</strong></td>"
        f"<td>({escape(sizes)}) <span class='pp-dim'>{escape(kind)}</span></td>"
        f"<td>{escape(site.kind)}, {escape(site.scope)}</td>"
        f"<td>{escape(spread)}{warned}</td><td>{'' if values is None else sketch(values)}</td></tr>"
    )


def _values(
    posterior: Posterior, site: Site, shape: tuple[int, ...]
) -> tuple[np.ndarray | None, str]:
    """What is drawn of a site, and its numbers in words."""
    result = next(iter(posterior), "")
    array: Any = posterior.get(result, {}).get(site.name)
    if array is None or result == _DRAWS or np.shape(array) != shape:
        return None, ""
    if math.prod(shape) > _LARGEST:
        return None, f"{math.prod(shape):,} values"
    array = np.asarray(array)
    finite = array[np.isfinite(array)]
    if not finite.size:
        return None, "no finite value" if array.size else "no value"
    low, high = f"{finite.min():.4g}", f"{finite.max():.4g}"
    words = low if low == high else f"{low} to {high}"
    draws: Any = posterior.get(_DRAWS, {}).get(site.name)
    if array.size == 1 and draws is not None:
        return np.histogram(_finite(np.asarray(draws)), bins=24)[0].astype(float), words
    return (array if array.ndim and array.size > 1 else None), words


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _middle(posterior: Posterior) -> str:
    return _short(next((name for name in posterior if name != _DRAWS), "")).capitalize()


def _short(name: str) -> str:
    return name.removeprefix("post_sample_").replace("_", " ")


def _labels(coords: Mapping[str, Any]) -> dict[str, str]:
    return {name: _few(as_labels(name, values)) for name, values in coords.items()}


def _few(values: Any) -> str:
    first = [str(value) for value in plain_labels(values[:3])]
    more = ", …" if len(values) > len(first) else ""
    return f"{len(values):,} ({', '.join(first)}{more})"


def _run(posterior: Posterior) -> dict[str, str]:
    versions = posterior.info.get("versions", {})
    seconds = posterior.info.get("seconds")
    facts = {"engine": posterior.plan.engine, "obs plate": posterior.plan.obs_plate or "none"}
    if seconds is not None:
        facts["time"] = f"{seconds:.3g} s"
    return facts | {str(name): str(version) for name, version in versions.items()}


def _folded(title: str, rows: Mapping[str, str]) -> str:
    body = "".join(
        f"<tr><td>{escape(str(name))}</td><td>{escape(str(value))}</td></tr>"
        for name, value in rows.items()
    )
    return (
        f"<details><summary>{escape(title)} ({len(rows)})</summary><table>{body}</table></details>"
    )
