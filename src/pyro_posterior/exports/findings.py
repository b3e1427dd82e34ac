"""What of a posterior deserves a look first, and how to say it in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyro_posterior.contracts import RunPlan, Site
from pyro_posterior.errors import RequestError
from pyro_posterior.exports.views import SiteFigures, SiteView
from pyro_posterior.posterior import Posterior

_WIDE = 2.0  # interval width over size of the middle
_ZEROS = 0.5  # share of zeros that is worth a word


@dataclass(frozen=True)
class Looked:
    """One site and what was found of it."""

    site: Site
    view: SiteView | None  # None where there is nothing to show
    figures: SiteFigures
    trouble: str = ""  # why there is nothing to show

    @property
    def relative_width(self) -> float:
        """Typical width of the intervals over the typical size of the middles."""
        width, size = self.figures.typical_width, self.figures.typical_size
        if width is None or size is None or not np.isfinite(width):
            return 0.0
        return width / size if size > 0 else (np.inf if width > 0 else 0.0)

    @property
    def order(self) -> tuple[int, float]:
        """Strangest first, then widest."""
        return -int(self.figures.nonfinite > 0), -self.relative_width


def look(posterior: Posterior, site: Site) -> Looked:
    """Read one site once."""
    try:
        view = SiteView(posterior, site.name)
    except RequestError as error:
        count = int(posterior.nonfinite.get(site.name, 0))
        return Looked(site, None, SiteFigures(None, None, None, None, count), str(error))
    return Looked(site, view, view.figures())


def findings(posterior: Posterior, looked: Sequence[Looked]) -> list[str]:
    """Sentences for a reader who wants to know whether to worry, and where to look."""
    found = []
    if bad := [each for each in looked if each.figures.nonfinite]:
        counts = ", ".join(f"{each.site.name} ({each.figures.nonfinite:,})" for each in bad[:5])
        found.append(
            f"Not finite: draws of {counts} are NaN or infinite, and so are their summaries. "
            "Look at these first: the model or guide divides by zero, overflows or has NaN data."
        )
    wide = [each for each in looked if each.relative_width > _WIDE and not each.figures.nonfinite]
    if wide:
        found.append(
            f"Wide: the intervals of {_listed(wide)} are more than {_WIDE:g} times as wide as "
            "their values are large; their sign or size is hardly known."
        )
    if fixed := [each for each in looked if each.figures.widest == 0]:
        found.append(
            f"Without spread: all draws of {_listed(fixed)} are the same. That is right for what "
            "is computed from data alone, or has a Delta guide, as point estimates have."
        )
    if zero := [each for each in looked if (each.figures.zeros or 0) > _ZEROS]:
        found.append(f"Mostly zero: more than half of the values of {_listed(zero)} are exactly 0.")
    if posterior.plan.num_samples > 1:
        found.append(_precision(posterior.plan))
    found.append(
        "Convergence: the draws come from the fitted guide, each on its own, so there are no "
        "chains to compare. Whether the fit had converged shows in its loss, which should have "
        "levelled off, and in predictions that resemble the data."
    )
    return found


def _precision(plan: RunPlan) -> str:
    share = f"{100 / np.sqrt(plan.num_samples):.2g} % of the posterior's standard deviation"
    if plan.draws == "stratified":
        known = (
            f"{plan.num_samples:,} stratified draws, the error of a mean is at most about {share}, "
            "and mostly far smaller (mcse=True measures it)"
        )
    else:
        known = f"{plan.num_samples:,} independent draws, a mean is known to {share}"
    return f"Precision: with {known}; more draws make the numbers finer, not truer."


def _listed(looked: Sequence[Looked]) -> str:
    names = [each.site.name for each in looked[:5]]
    return ", ".join(names) + (f" and {len(looked) - 5} more" if len(looked) > 5 else "")
