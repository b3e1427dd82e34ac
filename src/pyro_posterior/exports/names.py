"""Names of sites in files and formats that take a slash for a path."""

from __future__ import annotations

from pyro_posterior.contracts import Site
from pyro_posterior.posterior import Posterior


def plain_name(posterior: Posterior, site: Site) -> str:
    """The site's name with dots for the slashes of scopes, other than that of any other site."""
    if site.name in ("chain", "draw"):  # dimensions of draws
        return f"{site.name}_"
    dotted = site.name.replace("/", ".")
    taken = {other.name for other in posterior.plan.sites if other.name != site.name}
    taken |= {name.replace("/", ".") for name in taken}
    return site.name.replace("/", "%2F") if dotted != site.name and dotted in taken else dotted
