"""`plot_by_arviz`: ArviZ's own pictures of a posterior's draws."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyro_posterior.errors import RequestError
from pyro_posterior.exports.arviz import need_arviz, to_arviz
from pyro_posterior.exports.names import plain_name
from pyro_posterior.posterior import Posterior

#: ArviZ's function for each kind, by the names it has in one version or another.
KINDS = {
    "forest": ("plot_forest",),
    "posterior": ("plot_posterior", "plot_dist"),
    "pair": ("plot_pair",),
    "trace": ("plot_trace",),
}


def plot_by_arviz(
    posterior: Posterior,
    kind: str,
    sites: str | Iterable[str] | None = None,
    **options: Any,
) -> Any:
    """A picture as ArviZ draws it.

    Parameters
    ----------
    posterior
        What `sample_posterior` gave with ``return_samples=True``.
    kind
        "forest", "posterior", "pair" or "trace".
    sites
        Name or names of the sites, ArviZ's ``var_names``; None: all.
    **options
        For ArviZ's function, such as ``combined=True`` or ``coords={"obs": [...]}``.

    Returns
    -------
    Any
        What ArviZ's function returns: axes, or a collection of plots in ArviZ 1.x.

    Raises
    ------
    RequestError
        An unknown kind or site.
    UnknownNameError
        No draws.
    MissingPackageError
        ArviZ is not installed.
    """
    if kind not in KINDS:
        raise RequestError(f"kind={kind!r} is unknown: choose one of {list(KINDS)}, or None")
    arviz = need_arviz("plot")
    names = [sites] if isinstance(sites, str) else sites
    chosen = None if names is None else [posterior.site(name) for name in names]
    if chosen is not None:
        options["var_names"] = [plain_name(posterior, site) for site in chosen]
    draw = next(getattr(arviz, name) for name in KINDS[kind] if hasattr(arviz, name))
    return draw(to_arviz(posterior), **options)
