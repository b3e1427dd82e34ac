"""`Reading`: what a model is, found out before the first draw and frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch

from pyro_posterior.contracts import Minibatch, Site
from pyro_posterior.joint import JointSampler
from pyro_posterior.reading.select import Choice
from pyro_posterior.sliced.tape import Record
from pyro_posterior.warn import warn


@dataclass(frozen=True)
class Reading:
    """What a model is: all that was read of it before the first draw."""

    choice: Choice
    obs_plate: str | None
    sizes: tuple[int, ...]  # observations in each minibatch
    first: Minibatch
    last: Minibatch
    local_names: frozenset[str]  # sites and plates whose random numbers differ by minibatch
    absent: Mapping[str, frozenset[int]]  # sites that not all minibatches have: those without
    names: frozenset[str]  # of all that any run met
    record: Record | None  # of the first run
    params: Mapping[str, torch.Tensor]  # its ``pyro.param`` statements, by "guide.name"
    changes_data: bool  # model or guide writes to its data, so that every draw has its own

    @property
    def sites(self) -> tuple[Site, ...]:
        """All sites of the model, in its order."""
        return self.choice.sites

    def home(self, site: str) -> int:
        """The first minibatch that has a site, with which a global one is drawn."""
        lacking = self.absent.get(site, frozenset())
        return next(index for index in range(len(self.sizes)) if index not in lacking)

    def homes(self, sites: Iterable[Site]) -> tuple[int, ...]:
        """The minibatches with which the global ones of these sites are drawn."""
        return tuple(sorted({self.home(site.name) for site in sites if site.batch_axis is None}))

    def has(self, site: str, minibatch: int) -> bool:
        """Whether a minibatch has a site."""
        return minibatch not in self.absent.get(site, frozenset())

    def keyed(self, sampler: JointSampler, cubes: tuple[int, ...], *, whole: bool) -> JointSampler:
        """The sampler with all that its keys depend on.

        ``cubes``: lengths of the hypercubes of stratified draws.
        ``whole``: all sites of the model are drawn, so that one met later for the first time
        must not pass unseen.
        """
        return replace(
            sampler,
            obs_plate=self.obs_plate,
            local_names=self.local_names,
            known=self.names if whole else None,
            cubes=cubes,
            copies=self.changes_data,
        )

    def say(self, chosen: Iterable[Site]) -> None:
        """Warn of what the caller must know of the sites chosen though they can be drawn."""
        chosen = list(chosen)
        names, count = {site.name for site in chosen}, len(self.sizes)
        gaps = [site for site in chosen if site.name in self.absent and site.batch_axis is not None]
        if gaps:
            shown = ", ".join(f"{site.name!r} ({len(self.absent[site.name])})" for site in gaps)
            warn(
                f"some of the {count} minibatches lack {shown}: values for their rows are NaN "
                "(in brackets the number of minibatches without)"
            )
        unchosen = sorted(set(self.choice.differing) - names)
        if unchosen and any(site.batch_axis is not None for site in chosen):
            warn(
                f"{', '.join(map(repr, unchosen))} ha{'ve' if len(unchosen) > 1 else 's'} no rows "
                "and yet other values in other minibatches for the same draw: sites with rows are "
                "one joint draw within their minibatch only, as far as they depend on that"
            )
