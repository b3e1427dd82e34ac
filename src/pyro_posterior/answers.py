"""Questions to a posterior: the methods `loo`, `khat`, `ppc`, `contrast` and `derive` of `Posterior`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyro_posterior.contracts import Scope, Site
from pyro_posterior.errors import RequestError
from pyro_posterior.extending.derived import ReadOnly, compute
from pyro_posterior.lookups import SiteArrays
from pyro_posterior.reductions import loo as psis_loo
from pyro_posterior.reductions.contrast import Contrast
from pyro_posterior.reductions.khat import Khat
from pyro_posterior.reductions.plan import summaries_of
from pyro_posterior.reductions.psis import smooth
from pyro_posterior.reductions.rows import added, joined
from pyro_posterior.warn import warn

if TYPE_CHECKING:
    from pyro_posterior.posterior import Posterior

DRAWS = "posterior_samples"
OBSERVED = "{}_observed"


@dataclass(frozen=True)
class Check:
    """A statistic of the data among those of predictions.

    Attributes
    ----------
    observed
        The statistic of the data.
    replicated
        ``(draw,)``, that of each predicted data set.
    """

    observed: float
    replicated: np.ndarray

    @property
    def p_value(self) -> float:
        """Bayesian p-value: how probable a statistic as large as that of the data is.

        NaN where the statistic is none for the data or for some predictions.
        """
        if np.isnan(self.observed) or np.isnan(self.replicated).any():
            return float("nan")
        return float((self.replicated >= self.observed).mean())

    def __repr__(self) -> str:
        low, high = np.quantile(self.replicated, [0.05, 0.95])
        return (
            f"Check(observed {self.observed:.4g}, predicted {self.replicated.mean():.4g} "
            f"({low:.4g} to {high:.4g}), p-value {self.p_value:.3f})"
        )


# ----------------------------------------------------------------------------------------- criticism


def loo(posterior: Posterior, *, weighted: bool = True) -> psis_loo.Loo:
    """Leave-one-out cross-validation; see `Posterior.loo`."""
    correction = _log_ratio(posterior) if weighted else None
    if any(site.scope == "local" and site.kind == "latent" for site in posterior.plan.sites):
        warn(
            "the model has latent variables of each observation: leaving out an observation while "
            "its own latent variables stay is another question than predicting a new one, and "
            "Pareto k says how far it can be answered"
        )
    parts = (psis_loo.leave_out(part, correction)[0] for part in _log_likelihoods(posterior))
    return psis_loo.total(parts, posterior.plan.num_samples, corrected=weighted)


def khat(posterior: Posterior) -> Khat:
    """How well the guide fits; see `Posterior.khat`."""
    ratio = _log_ratio(posterior)
    local = any(site.scope == "local" and site.kind == "latent" for site in posterior.plan.sites)
    pointwise = joined(posterior.partials("khat"), "k", 0) if local else None
    return Khat(float(smooth(ratio[None]).k[0]), pointwise, posterior.plan.num_samples)


def log_likelihood(posterior: Posterior) -> np.ndarray:
    """Log densities ``(draw, obs)`` of all observations."""
    return np.concatenate(list(_log_likelihoods(posterior)), axis=1)


def log_densities(posterior: Posterior) -> tuple[np.ndarray, np.ndarray]:
    """``log_p`` and ``log_q`` of every joint draw, each ``(draw,)``."""
    log_p, log_q = added(posterior.partials("log_p")), added(posterior.partials("log_q"))
    if log_p is None or log_q is None:
        raise _not_asked("log_likelihood=True")
    return log_p, log_q


def _log_ratio(posterior: Posterior) -> np.ndarray:
    log_p, log_q = log_densities(posterior)
    return np.asarray(log_p - log_q)


def _log_likelihoods(posterior: Posterior) -> Iterator[np.ndarray]:
    """Those of one segment after the other."""
    found = False
    for part in posterior.partials("log_likelihood"):
        found = True
        yield part["draws"]
    if not found:
        raise _not_asked("log_likelihood=True")


def ppc(posterior: Posterior, statistic: Callable[[np.ndarray], Any], site: str | None) -> Check:
    """A statistic of predictions and of the data; see `Posterior.ppc`."""
    name = _predicted(posterior, site)
    observed = _observed(posterior, name)
    draws = posterior[DRAWS][name]
    replicated = np.array([_number(statistic, np.asarray(draws[s])) for s in range(len(draws))])
    return Check(_number(statistic, observed), replicated)


def _number(statistic: Callable[[np.ndarray], Any], values: np.ndarray) -> float:
    found = np.asarray(statistic(values))
    if found.size != 1 or found.dtype.kind not in "biuf":
        raise RequestError(
            f"ppc: the statistic gave {found.dtype} of shape {found.shape} for data of shape "
            f"{values.shape}, but must give one number: call ppc for each of several"
        )
    return float(found.reshape(()))


def loo_pit(posterior: Posterior, site: str | None) -> np.ndarray:
    """LOO-PIT of every observation; see `Posterior.loo_pit`."""
    name = _predicted(posterior, site)
    observed, draws = _observed(posterior, name), posterior[DRAWS][name]
    if observed.ndim != 1:
        raise RequestError(
            f"loo_pit needs one number per observation; {name!r} has {observed.shape}"
        )
    correction, start, parts = _log_ratio(posterior), 0, []
    for part in _log_likelihoods(posterior):
        rows = slice(start, start + part.shape[1])
        weights = psis_loo.leave_out(part, correction)[1].log_weights
        predicted = np.asarray(draws[:, rows])
        parts.append(psis_loo.probability_integral_transform(observed[rows], predicted, weights))
        start = rows.stop
    return np.concatenate(parts)


def _predicted(posterior: Posterior, site: str | None) -> str:
    names = [s.name for s in posterior.plan.sites if OBSERVED.format(s.name) in posterior.sites]
    if DRAWS not in posterior or not names:
        raise _not_asked("predictive=True and return_samples=True")
    if site is None and len(names) > 1:
        raise RequestError(f"several sites are predicted, {names}: name one with site=")
    if site is not None and site not in names:
        raise RequestError(f"{site!r} is not predicted; there are {names}")
    return names[0] if site is None else site


def _observed(posterior: Posterior, name: str) -> np.ndarray:
    return np.asarray(posterior[DRAWS][OBSERVED.format(name)][0])


def _not_asked(argument: str) -> RequestError:
    return RequestError(f"the posterior does not have what this needs: draw it with {argument}")


# --------------------------------------------------------------------------------------- comparisons


def contrast(
    posterior: Posterior, site: str, first: str, second: str, delta: float, interval: float
) -> Contrast:
    """One group against another, draw by draw; see `Posterior.contrast`."""
    if not 0 < interval < 1:
        raise RequestError(f"interval must be a probability between 0 and 1, found {interval!r}")
    if not delta >= 0:
        raise RequestError(f"delta must be a difference of 0 or more, found {delta!r}")
    posterior.site(site)
    dim = f"{site}_group"
    labels = posterior.coords.get(dim)
    if labels is None:
        raise RequestError(f"{site!r} has no groups to compare: draw it with grouped=")
    places = {str(label): place for place, label in enumerate(labels)}
    for group in (first, second):
        if str(group) not in places:
            raise RequestError(f"{site!r} has no group {group!r}; there are {list(places)}")
    draws = np.asarray(posterior[DRAWS][site])
    difference = draws[:, places[str(first)]] - draws[:, places[str(second)]]
    return Contrast(difference, delta, interval)


def derive(
    posterior: Posterior, functions: Mapping[str, Callable[[Mapping[str, Any]], Any]]
) -> Posterior:
    """A posterior with more sites, computed from the draws; see `Posterior.derive`."""
    if DRAWS not in posterior:
        raise _not_asked("return_samples=True")
    new = posterior.copy()
    plan = new.plan
    for name, function in functions.items():
        if name in new.sites:
            raise RequestError(f"derive: there is a site {name!r} already; give another name")
        drawn = {site.name: site for site in plan.sites if site.name in new[DRAWS]}
        first = compute(name, function, _one_draw(new, drawn, 0))
        draws = np.empty((plan.num_samples, *first.shape), first.numpy().dtype)
        for s in range(plan.num_samples):
            made = compute(name, function, _one_draw(new, drawn, s))
            if (made.dtype, made.shape) != (first.dtype, first.shape):
                raise RequestError(
                    f"derive: {name!r} is {first.dtype} of shape {tuple(first.shape)} in draw 0, but "
                    f"{made.dtype} of shape {tuple(made.shape)} in draw {s}: give it one type and "
                    "shape whatever is drawn, as torch.where does"
                )
            draws[s] = made.detach().numpy()
        axis = _batch_axis(name, function, new, drawn, tuple(first.shape))
        shape = list(first.shape)
        if axis is not None:
            shape[axis] = plan.batch_sizes[0]
        scope: Scope = "global" if axis is None else "local"
        site = Site(
            name, "derived", scope, tuple(shape), first.dtype, axis, dims=_dims(plan, axis, shape)
        )
        plan = replace(plan, sites=(*plan.sites, site))
        _put(new, DRAWS, name, draws)
        for key, value in summaries_of(plan).compute(torch.from_numpy(draws)).values.items():
            _put(new, key, name, value)
        new.plan = plan
    return new


def _put(posterior: Posterior, result: str, name: str, value: np.ndarray) -> None:
    held = dict(posterior[result]) if result in posterior else {}
    posterior[result] = SiteArrays({**held, name: value}, result)


def _one_draw(
    posterior: Posterior, sites: Mapping[str, Site], draw: int, rows: int | None = None
) -> Mapping[str, torch.Tensor]:
    values = {}
    for name, site in sites.items():
        value = torch.from_numpy(np.array(posterior[DRAWS][name][draw]))
        if rows is not None and site.batch_axis is not None:
            value = value.narrow(site.batch_axis, 0, site.rows(rows))
        values[name] = value
    return ReadOnly(values)


def _batch_axis(
    name: str,
    function: Callable[[Mapping[str, Any]], Any],
    posterior: Posterior,
    sites: Mapping[str, Site],
    shape: tuple[int, ...],
) -> int | None:
    """The axis that is shorter where the function sees one observation less."""
    rows = posterior.plan.num_obs - 1
    if rows < 1:
        return None
    try:
        fewer = tuple(compute(name, function, _one_draw(posterior, sites, 0, rows)).shape)
    except RequestError:
        return None
    changed = [
        i - len(shape)
        for i in range(len(shape))
        if len(fewer) == len(shape) and shape[i] != fewer[i]
    ]
    return changed[0] if len(changed) == 1 and shape[changed[0]] == rows + 1 else None


def _dims(plan: Any, axis: int | None, shape: list[int]) -> tuple[str | None, ...]:
    names: list[str | None] = [None] * len(shape)
    if axis is not None:
        names[axis] = plan.obs_plate or "obs"
    return tuple(names)
