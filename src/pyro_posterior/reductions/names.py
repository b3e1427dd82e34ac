"""Summaries asked for by name: ``summary_fun=["mean", "hdi90", "prob>0"]``."""

from __future__ import annotations

import math
import re

from pyro_posterior.errors import RequestError
from pyro_posterior.reductions.quantile import Quantile
from pyro_posterior.reductions.statistic import Kind, Statistic

_PLAIN: dict[str, Kind] = {
    "mean": "mean",
    "means": "mean",
    "sd": "std",
    "std": "std",
    "stds": "std",
    "var": "var",
    "sum": "sum",
    "min": "min",
    "max": "max",
    "median": "median",
    "mode": "mode",
}
_SHARES: dict[str, Kind] = {">": "share above", "<": "share below", "=": "share at"}

#: For messages.
KNOWN = (
    "'mean', 'sd', 'var', 'sum', 'min', 'max', 'median', 'mode', quantiles as 'q05' or 'q975' "
    "(digits behind the point), intervals in per cent as 'hdi90' (highest density) or 'eti50' "
    "(equal tails), and shares of the draws as 'prob>0', 'prob<-1.5', 'prob=2' or 'prob_zero'"
)


def named(name: str) -> Statistic:
    """The statistic of this name.

    Raises
    ------
    RequestError
        There is none; the message lists the names.
    """
    if name in _PLAIN:
        return Statistic(_PLAIN[name])
    if name == "prob_zero":
        return Statistic("share at", 0.0)
    if match := re.fullmatch(r"q(\d{2,})", name):
        return Statistic("quantile", Quantile(float(f"0.{match[1]}")).q)
    if match := re.fullmatch(r"(hdi|eti)_?(\d+(?:\.\d+)?)", name):
        percent = float(match[2])
        if 0 < percent <= 100:
            return Statistic("hdi" if match[1] == "hdi" else "eti", percent / 100)
    if match := re.fullmatch(r"prob ?([<>=]) ?(\S+)", name):
        try:
            threshold = float(match[2])
        except ValueError:
            threshold = math.nan
        if not math.isnan(threshold):
            return Statistic(_SHARES[match[1]], threshold)
    raise RequestError(
        f"summary_fun names {name!r}, which is no summary. There are {KNOWN}; a function of your "
        "own goes in as {'its name': function}"
    )


def is_named(name: str) -> bool:
    """Whether there is a summary of this name."""
    try:
        named(name)
    except RequestError:
        return False
    return True
