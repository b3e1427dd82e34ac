"""Which sites are drawn: those asked for, as far as their posterior can be had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pyro_posterior.contracts import Site
from pyro_posterior.errors import RequestError


@dataclass(frozen=True)
class Choice:
    """All sites of a model, and what stands in the way of drawing some of them."""

    sites: tuple[Site, ...]
    missing: frozenset[str]  # latents of the model that the guide lacks
    rests_on: Mapping[str, frozenset[str]]  # sites whose random numbers enter a site
    may_rest_on: Mapping[str, frozenset[str]]  # sites that Python looked at before a site was made
    at_random: Mapping[str, str]  # sites of which each draw has other rows, and why
    unclear: Mapping[str, str]  # sites that cannot be laid behind each other, and why
    differing: Mapping[str, str]  # global sites with other values in each minibatch, and where
    only_some_draws: frozenset[str]  # sites that not every draw has

    def select(
        self,
        return_sites: Iterable[str] | None,
        exclude_sites: Iterable[str] | None,
        return_observed: bool,
    ) -> tuple[Site, ...]:
        """The sites asked for, in the model's order.

        Raises
        ------
        RequestError
            Unknown, contradictory or no sites, or one that cannot be drawn, with the reason.
        """
        known = {site.name: site for site in self.sites}
        wanted = None if return_sites is None else _names("return_sites", return_sites)
        excluded = set() if exclude_sites is None else set(_names("exclude_sites", exclude_sites))
        self._check_names(known, wanted, excluded, return_observed)
        chosen = tuple(
            site
            for site in self.sites
            if site.name not in excluded
            and (wanted is None or site.name in wanted)
            and (return_observed or site.kind != "observed")
        )
        if not chosen:
            raise RequestError(
                f"no sites to return. The model has: "
                f"{_listed(f'{site.name} ({site.kind})' for site in self.sites) or 'none'}"
            )
        self._check_drawable(chosen)
        return chosen

    def _check_names(
        self,
        known: Mapping[str, Site],
        wanted: list[str] | None,
        excluded: set[str],
        return_observed: bool,
    ) -> None:
        for argument, names in (("return_sites", wanted or ()), ("exclude_sites", excluded)):
            unknown = sorted(set(names) - set(known))
            if unknown:
                raise RequestError(
                    f"{argument} names {_listed(unknown)}, which the model does not have. "
                    f"Its sites are: {_listed(known) or 'none'}"
                )
        both = sorted(excluded & set(wanted or ()))
        if both:
            verb = "is" if len(both) == 1 else "are"
            raise RequestError(
                f"{_listed(both)} {verb} in both return_sites and exclude_sites: keep one"
            )
        if wanted is not None and not return_observed:
            observed = [name for name in wanted if known[name].kind == "observed"]
            if observed:
                raise RequestError(
                    f"return_sites names {_listed(observed)}, which is observed: "
                    "pass return_observed=True to get observed values"
                )

    def _check_drawable(self, chosen: Sequence[Site]) -> None:
        lacking = [site.name for site in chosen if site.name in self.missing]
        if lacking:
            raise RequestError(
                f"the guide has no draws for {_listed(lacking)}, latent in the model: add them to "
                "the guide (what was summed out in the fit has no draws in it), pass the data if "
                f"they are observed, or leave them out with exclude_sites={lacking!r}"
            )
        for site in chosen:
            rests_on = sorted(self.rests_on.get(site.name, frozenset()) & self.missing)
            if rests_on and site.kind != "observed":
                raise RequestError(
                    f"site {site.name!r} is computed from {_listed(rests_on)}, which the guide has "
                    "no draws for, so its values would come from the prior: add them to the "
                    f"guide, or leave it out with exclude_sites={[*rests_on, site.name]!r}"
                )
            looked_at = sorted(self.may_rest_on.get(site.name, frozenset()) & self.missing)
            if looked_at and site.kind not in ("observed", "latent"):
                raise RequestError(
                    f"site {site.name!r} may be computed from {_listed(looked_at)}, which the guide "
                    "has no draws for: the model looks at it in Python (an if, .item(), NumPy) before "
                    "the site is made, so its values may come from the prior. Use torch operations "
                    f"alone, or leave it out with exclude_sites={[*looked_at, site.name]!r}"
                )
            if site.name in self.only_some_draws:
                raise RequestError(
                    f"site {site.name!r} is there in some draws and not in others: which sites the "
                    "model has depends on its draws. Leave it out with "
                    f"exclude_sites=[{site.name!r}], or draw it in every draw"
                )
            for problems in (self.at_random, self.unclear, self.differing):
                if site.name in problems:
                    raise RequestError(problems[site.name])


def _names(argument: str, value: Iterable[str]) -> list[str]:
    if isinstance(value, str):
        return [value]
    names = list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(name, str) for name in names):
        raise RequestError(f"{argument} must be a list of site names, found {value!r}")
    return names


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(str(name)) for name in names)
