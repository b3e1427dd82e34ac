"""Questions that a posterior answers: methods of `Posterior`, each a call of `pyro_posterior.answers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pyro_posterior.answers import Check
    from pyro_posterior.posterior import Posterior
    from pyro_posterior.reductions.contrast import Contrast
    from pyro_posterior.reductions.khat import Khat
    from pyro_posterior.reductions.loo import Loo


class Questions:
    """The part of `Posterior` that asks what the draws say of the model and of the world."""

    def _whole(self) -> Posterior:
        return self  # type: ignore[return-value]  # nothing else has this part

    def loo(self, *, weighted: bool = True) -> Loo:
        """PSIS-LOO of a run with ``log_likelihood=True``: how well new data would be predicted.

        Parameters
        ----------
        weighted
            Weight draws for the difference between guide and posterior, as
            ``loo_approximate_posterior`` does; False: take them for draws of the posterior.
        """
        from pyro_posterior.answers import loo

        return loo(self._whole(), weighted=weighted)

    def khat(self) -> Khat:
        """Pareto k-hat of the guide of a run with ``log_likelihood=True``, with a verdict."""
        from pyro_posterior.answers import khat

        return khat(self._whole())

    @property
    def log_likelihood(self) -> np.ndarray:
        """Log densities ``(draw, obs)`` of a run with ``log_likelihood=True``."""
        from pyro_posterior.answers import log_likelihood

        return log_likelihood(self._whole())

    @property
    def log_p(self) -> np.ndarray:
        """Log density of model and data at each joint draw, ``(draw,)``."""
        from pyro_posterior.answers import log_densities

        return log_densities(self._whole())[0]

    @property
    def log_q(self) -> np.ndarray:
        """Log density of the guide at each joint draw, ``(draw,)``."""
        from pyro_posterior.answers import log_densities

        return log_densities(self._whole())[1]

    def ppc(self, statistic: Callable[[np.ndarray], Any], *, site: str | None = None) -> Check:
        """A statistic of the data among those of predictions, with its Bayesian p-value.

        Parameters
        ----------
        statistic
            ``fun(data) -> number`` of an array shaped as one draw of the site.
        site
            A predicted site; not needed where there is one. Draws must be there:
            ``predictive=True, return_samples=True``.
        """
        from pyro_posterior.answers import ppc

        return ppc(self._whole(), statistic, site)

    def loo_pit(self, site: str | None = None) -> np.ndarray:
        """Probability of a smaller value of each observation, given all others: uniform if all fits.

        Needs ``predictive=True, log_likelihood=True, return_samples=True``.
        """
        from pyro_posterior.answers import loo_pit

        return loo_pit(self._whole(), site)

    def contrast(
        self, site: str, first: str, second: str, *, delta: float = 0.0, interval: float = 0.9
    ) -> Contrast:
        """The difference of two groups of a ``grouped=`` total, entry by entry.

        Parameters
        ----------
        site
            Name of the total.
        first, second
            Names of two of its groups.
        delta
            A difference that matters, for `Contrast.beyond_delta`.
        interval
            Probability of the interval.
        """
        from pyro_posterior.answers import contrast

        return contrast(self._whole(), site, first, second, delta, interval)

    def derive(self, functions: Mapping[str, Callable[[Mapping[str, Any]], Any]]) -> Posterior:
        """This posterior with more sites, computed from its draws without model or guide.

        Parameters
        ----------
        functions
            ``{name: fun}``, called as ``fun({site: tensor of one joint draw})``.
        """
        from pyro_posterior.answers import derive

        return derive(self._whole(), functions)
