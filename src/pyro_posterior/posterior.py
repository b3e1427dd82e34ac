"""The result: a dict with the documented keys that also knows its sites, seed and settings."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pyro_posterior.contracts import Partials, RunPlan, Site
from pyro_posterior.errors import RequestError
from pyro_posterior.forms import Forms
from pyro_posterior.lookups import SiteArrays, Sites, no_attribute, no_result, no_site
from pyro_posterior.questions import Questions

if TYPE_CHECKING:
    pass

_PREFIX = "post_sample_"
_DRAWS = "posterior_samples"
_PosteriorT = TypeVar("_PosteriorT", bound="Posterior")


class Posterior(Forms, Questions, dict[str, dict[str, np.ndarray]]):
    """Summaries and draws of a posterior.

    A dict of ``{"post_sample_means": {site: array}, ...}``, arrays shaped as one draw of the site
    (``posterior_samples``: ``(draw, *site shape)``). ``posterior.means["w"]`` is short for
    ``posterior["post_sample_means"]["w"]``; so are ``stds``, ``q05``, ``q95``, ``draws``, and
    any other summary by its own name, such as ``posterior.median``.

    Attributes
    ----------
    plan
        Sites, sizes, seed and settings of the run.
    nonfinite
        Number of NaN or infinite draws by site, sites without any left out.
    program
        What was run to make the draws, as text; ``print(posterior.program)``.
    info
        Seconds taken and versions of the packages used.
    coords
        Labels by dimension, such as ``{"obs": cell names}``, used by exports: NumPy arrays, or
        pandas indexes where labels are more than that (categories, intervals, levels).
    unfinished
        What is still missing where this is the result of one share (``shard=``) of a run that
        others have not finished; there are no results then. Empty otherwise.

    Examples
    --------
    >>> posterior = sample_posterior(model, guide, data, return_samples=True)  # doctest: +SKIP
    >>> posterior.means["w"].shape, posterior.draws["w"].shape  # doctest: +SKIP
    ((2000, 30), (1000, 2000, 30))
    >>> posterior.summary(["mu", "sigma"])  # doctest: +SKIP
    """

    def __init__(
        self,
        results: Mapping[str, Mapping[str, np.ndarray]],
        plan: RunPlan,
        *,
        nonfinite: Mapping[str, int] | None = None,
        program: str = "",
        info: Mapping[str, Any] | None = None,
        coords: Mapping[str, Any] | None = None,
        unfinished: str = "",
        partials: Partials | None = None,
    ) -> None:
        super().__init__({name: SiteArrays(arrays, name) for name, arrays in results.items()})
        self.plan = plan
        self.nonfinite = dict(nonfinite or {})
        self.program = program
        self.info = dict(info or {})
        self.coords = dict(coords or {})
        self.unfinished = unfinished
        self._partials = partials

    @classmethod
    def open(cls, path: str | Path) -> Posterior:
        """The result that ``sample_posterior(store=path)`` or `save` wrote.

        Summaries are read into NumPy arrays; draws stay on disk as arrays that ``np.asarray``
        reads whole, and an index in part.

        Parameters
        ----------
        path
            Folder of a finished store.

        Raises
        ------
        StoreError
            There is no store, or it is unfinished, damaged or of a later format.
        MissingPackageError
            zarr is not installed.
        """
        from pyro_posterior.extending.totals import with_totals
        from pyro_posterior.reductions.plan import summaries_of
        from pyro_posterior.stores.read import read_store
        from pyro_posterior.written import unpack

        stored = read_store(path)
        told = with_totals(
            stored.results,
            stored.plan,
            stored.partials,
            stored.record["info"].get("grouped", {}),
            summaries_of(stored.plan),
        )
        return cls(
            told.results,
            told.plan,
            nonfinite=stored.nonfinite,
            coords={**unpack(stored.coords), **told.coords},
            partials=stored.partials,
            **stored.record,
        )

    # ------------------------------------------------------------------------------ what is there

    @property
    def sites(self) -> dict[str, Site]:
        """The returned sites by name."""
        return Sites({site.name: site for site in self.plan.sites})

    def site(self, name: str) -> Site:
        """One site: its kind, scope, shape and axes.

        Raises
        ------
        UnknownNameError
            The posterior has no such site; the message lists those it has.
        """
        for site in self.plan.sites:
            if site.name == name:
                return site
        raise no_site(name, [site.name for site in self.plan.sites])

    @property
    def seed(self) -> int:
        """Seed that gives these numbers again."""
        return self.plan.seed

    @property
    def means(self) -> Mapping[str, np.ndarray]:
        """Posterior means by site."""
        return self._short(f"{_PREFIX}means")

    @property
    def stds(self) -> Mapping[str, np.ndarray]:
        """Standard deviations (ddof 0) by site."""
        return self._short(f"{_PREFIX}stds")

    @property
    def q05(self) -> Mapping[str, np.ndarray]:
        """5 % quantiles by site."""
        return self._short(f"{_PREFIX}q05")

    @property
    def q95(self) -> Mapping[str, np.ndarray]:
        """95 % quantiles by site."""
        return self._short(f"{_PREFIX}q95")

    @property
    def draws(self) -> Mapping[str, np.ndarray]:
        """All draws ``(draw, *site shape)`` by site; empty without ``return_samples=True``."""
        return self._short(_DRAWS)

    def _short(self, name: str) -> Mapping[str, np.ndarray]:
        """A result, or an empty one whose every key says how it is asked for."""
        return self[name] if name in self else SiteArrays({}, name, no_result(name, self))

    def __getattr__(self, name: str) -> Mapping[str, np.ndarray]:
        if not name.startswith("_") and (key := f"{_PREFIX}{name}") in self:
            return self[key]
        if name.startswith("_"):  # asked by copy, pickle and others
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise no_attribute(name, self, dir(self))

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *(name.removeprefix(_PREFIX) for name in self)]

    def __missing__(self, name: str) -> dict[str, np.ndarray]:
        raise no_result(name, self)

    # ------------------------------------------------------------------- a dict that keeps its class

    def copy(self) -> Posterior:
        """A posterior of the same arrays in dicts of its own."""
        new = copy.copy(self)
        for name, arrays in self.items():
            new[name] = copy.copy(arrays)
        for name in ("nonfinite", "info", "coords"):
            setattr(new, name, dict(getattr(self, name)))
        return new

    def __or__(self, other: Mapping[str, Any]) -> Posterior:  # type: ignore[override]
        """This posterior with the results of ``other``, which win.

        Raises
        ------
        RequestError
            ``other`` is a posterior of other sites or observations.
        """
        if not isinstance(other, Mapping):
            return NotImplemented
        if isinstance(other, Posterior) and _layout(self) != _layout(other):
            raise RequestError(
                "two posteriors can be joined by | only if both have the same sites and "
                f"observations; these have {list(self.sites)} of {self.plan.num_obs} and "
                f"{list(other.sites)} of {other.plan.num_obs}"
            )
        return _joined(self, other, other if isinstance(other, Posterior) else self)

    def __ror__(self, other: Mapping[str, Any]) -> Posterior:  # type: ignore[override]
        if not isinstance(other, Mapping):
            return NotImplemented
        return _joined(other, self, self)

    def partials(self, reduction: str) -> Iterator[Mapping[str, np.ndarray]]:
        """What a reduction over observations gave, segment by segment; nothing if not asked for."""
        return iter(()) if self._partials is None else self._partials(reduction)

    # ----------------------------------------------------------------------------------------- words

    def __repr__(self) -> str:
        plan = self.plan
        if self.unfinished:
            return f"Posterior without results yet: {self.unfinished}"
        head = (
            f"Posterior of {plan.num_obs} observations, {plan.num_samples} draws, "
            f"seed {plan.seed}, engine {plan.engine}"
        )
        lines = [
            f"  {site.name}  {site.kind}, {site.scope}  {site.full_shape(plan.num_obs)}"
            for site in plan.sites
        ]
        return "\n".join([head, f"  results: {', '.join(self)}", *lines])

    def _repr_html_(self) -> str:
        from pyro_posterior.exports.html import to_html

        return to_html(self)


def _joined(first: Mapping[str, Any], second: Mapping[str, Any], like: Posterior) -> Posterior:
    """The results of both, in dicts of their own, with the attributes of ``like``."""
    new = like.copy()
    new.clear()
    for name, arrays in {**first, **second}.items():
        new[name] = copy.copy(arrays)
    return new


def _layout(posterior: Posterior) -> tuple[Any, ...]:
    plan = posterior.plan
    return plan.sites, plan.num_obs
