"""What there is to show of one site: its middle, its interval and a few figures, read in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pyro_posterior.contracts import Site
from pyro_posterior.errors import RequestError
from pyro_posterior.labelled import as_labels, plain_labels
from pyro_posterior.labels import OBSERVATIONS, site_dims
from pyro_posterior.posterior import Posterior

_PIECE = 2_000_000  # values read at a time, so that lazy arrays of any size can be shown
_MIDDLES = {
    "post_sample_means": "mean",
    "post_sample_mean": "mean",
    "post_sample_q50": "median",
    "post_sample_median": "median",
    "post_sample_medians": "median",
}
_QUANTILE = re.compile(r"post_sample_q(\d{2,})$")


@dataclass(frozen=True)
class SiteFigures:
    """One row of the table of sites; None where the results do not tell."""

    middle_low: float | None  # smallest and largest middle (posterior mean), finite ones only
    middle_high: float | None
    widest: float | None  # widest interval
    zeros: float | None  # share of the finite middles that are exactly zero
    nonfinite: int  # draws that are NaN or infinite
    typical_width: float | None = None  # mean width of the intervals
    typical_size: float | None = None  # mean size of the middles, whatever their sign


class SiteView:
    """Middle and interval of a site, from its summaries or else from its draws.

    Attributes
    ----------
    shape
        Of one draw of the site, over all observations.
    middle
        What stands in the middle: "mean", "median", or the name of another summary.
    interval
        What the interval is, such as "5 % to 95 %"; None where the results hold none.
    """

    def __init__(self, posterior: Posterior, name: str) -> None:
        self.name = name
        self.site: Site = posterior.site(name)
        self.shape = self.site.full_shape(posterior.plan.num_obs)
        self._posterior = posterior
        self._dims = site_dims(replace(posterior.plan, sites=(self.site,)))[name]
        self._draws = posterior.get("posterior_samples", {}).get(name)
        self._summaries = {
            key: arrays[name]
            for key, arrays in posterior.items()
            if key != "posterior_samples" and tuple(np.shape(arrays[name])) == self.shape
        }
        self.middle, self._middle_key = self._choose_middle()
        self.interval, self._interval_keys = self._choose_interval()

    @property
    def size(self) -> int:
        """Values in one draw."""
        return int(np.prod(self.shape, dtype=np.int64))

    def draws(self) -> np.ndarray | None:
        """All draws ``(draw, *site shape)``, or None where they were not kept."""
        return None if self._draws is None else np.asarray(self._draws[...], dtype=np.float64)

    def pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray | None, np.ndarray | None]]:
        """Middle, lower and upper end, cut along the first axis; the bounds None without an interval."""
        if not self.shape:
            yield self._read(())
            return
        read = self.size // max(
            1, self.shape[0]
        )  # values of one row, of all draws if these are read
        if self._draws is not None and self._reads_draws:
            read *= len(self._draws)
        step = max(1, _PIECE // max(1, read))
        for low in range(0, self.shape[0], step):
            yield self._read((slice(low, low + step),))

    def whole(self) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Middle, lower and upper end, each ``shape``; the bounds None without an interval."""
        middles, lows, highs = zip(*self.pieces(), strict=True)
        if not self.shape:
            return middles[0], lows[0], highs[0]
        if lows[0] is None:
            return np.concatenate(middles), None, None
        return np.concatenate(middles), np.concatenate(lows), np.concatenate(highs)

    def axis_title(self, axis: int) -> str:
        """Name and length of an axis, for people."""
        name = self._dims[axis]
        bare = name.endswith(f"_dim_{axis}")
        return f"{f'axis {axis}' if bare else name} ({self.shape[axis]:,})"

    def labels(self, axis: int) -> np.ndarray | None:
        """Names along ``axis`` where the posterior's coords have them."""
        coords = self._posterior.coords
        found = coords.get(self._dims[axis])
        if found is None and axis - len(self.shape) == self.site.batch_axis:
            found = coords.get(OBSERVATIONS)
        if found is None or len(found) != self.shape[axis]:
            return None
        return plain_labels(as_labels(self._dims[axis], found)).astype(str)

    def figures(self) -> SiteFigures:
        """The figures of the table, in one pass."""
        lows, highs, widths = [], [], []
        zeros = count = known_widths = 0
        width_sum = size_sum = 0.0
        for middle, low, high in self.pieces():
            finite = middle[np.isfinite(middle)]
            count += finite.size
            zeros += int(np.count_nonzero(finite == 0))
            size_sum += float(np.abs(finite).sum())
            if finite.size:
                lows.append(finite.min())
                highs.append(finite.max())
            if low is not None and high is not None:
                known = np.isfinite(low) & np.isfinite(high)
                if known.any():
                    wide = high[known] - low[known]
                    widths.append(wide.max())
                    width_sum += float(wide.sum())
                    known_widths += wide.size
        return SiteFigures(
            middle_low=float(min(lows)) if lows else None,
            middle_high=float(max(highs)) if highs else None,
            widest=float(max(widths)) if widths else None,
            zeros=zeros / count if count else None,
            nonfinite=int(self._posterior.nonfinite.get(self.name, 0)),
            typical_width=width_sum / known_widths if known_widths else None,
            typical_size=size_sum / count if count else None,
        )

    def _choose_middle(self) -> tuple[str, str | None]:
        for key, word in _MIDDLES.items():
            if key in self._summaries:
                return word, key
        if self._draws is not None:
            return "mean", None
        if not self._summaries:
            raise RequestError(
                f"site {self.name!r} has neither draws nor a summary shaped as one draw "
                f"{self.shape}: there is nothing to show"
            )
        key = next(iter(self._summaries))
        return key.removeprefix("post_sample_"), key

    def _choose_interval(self) -> tuple[str | None, tuple[str, str] | None]:
        levels = {
            float(f"0.{match[1]}"): key
            for key in self._summaries
            if (match := _QUANTILE.match(key))
        }
        low, high = min(levels, default=1.0), max(levels, default=0.0)
        if low < 0.5 < high:
            return f"{100 * low:g} % to {100 * high:g} %", (levels[low], levels[high])
        if self._draws is not None:
            return "5 % to 95 %", None
        return None, None

    def _read(
        self, index: tuple[slice, ...]
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        draws = None
        if self._draws is not None and self._reads_draws:
            draws = np.asarray(self._draws[(slice(None), *index)], dtype=np.float64)
        if self._middle_key is not None:
            middle = _floats(self._summaries[self._middle_key], index)
        else:
            assert draws is not None
            with np.errstate(invalid="ignore", over="ignore"):
                middle = np.mean(draws, axis=0)
        if self._interval_keys is not None:
            low, high = (_floats(self._summaries[key], index) for key in self._interval_keys)
            return middle, low, high
        if draws is None:
            return middle, None, None
        with np.errstate(invalid="ignore"):
            low, high = np.quantile(draws, [0.05, 0.95], axis=0)
        return middle, low, high

    @property
    def _reads_draws(self) -> bool:
        """Whether middle or interval come from the draws."""
        return self._middle_key is None or (
            self.interval is not None and self._interval_keys is None
        )


def _floats(array: Any, index: tuple[slice, ...]) -> np.ndarray:
    return np.asarray(array[index], dtype=np.float64)
