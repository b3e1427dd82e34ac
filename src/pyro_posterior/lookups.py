"""What a posterior says of a name that it does not have: what there is, and what would give it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pyro_posterior.contracts import Site
from pyro_posterior.errors import UnknownNameError
from pyro_posterior.reductions.names import is_named

_PREFIX = "post_sample_"
_DRAWS = "posterior_samples"
_DEFAULTS = {
    "means": "np.mean",
    "stds": "np.std",
    "q05": "functools.partial(np.quantile, q=0.05)",
    "q95": "functools.partial(np.quantile, q=0.95)",
}

_INTERVAL = "ask for summary_fun=['hdi90'] or ['eti50']"
_QUANTILES = "they are posterior.q05 and posterior.q95; others come with summary_fun=['q025', ...]"

#: What other packages call something that goes by another name here.
_ELSEWHERE = {
    **dict.fromkeys(("samples", "posterior", "draw", "sample"), "draws are posterior.draws['w']"),
    **dict.fromkeys(("hdi", "ci", "eti", "interval", "intervals"), _INTERVAL),
    **dict.fromkeys(("quantile", "quantiles", "percentile"), _QUANTILES),
    **dict.fromkeys(("to_dataframe", "to_df", "to_csv"), "tables are posterior.to_pandas('w')"),
    **dict.fromkeys(
        ("to_inference_data", "to_inferencedata", "idata"), "it is posterior.to_arviz()"
    ),
    "to_dict": "it is a dict already",
    "to_numpy": "posterior.means['w'] is a NumPy array already",
    "describe": "it is posterior.summary()",
}


class SiteArrays(dict[str, np.ndarray]):
    """One result by site. A site it does not have is a `KeyError` that says how to get it."""

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        result: str = "",
        absent: UnknownNameError | None = None,
    ) -> None:
        super().__init__(arrays)
        self._result = result
        self._absent = absent  # why there is no array at all

    def __missing__(self, site: str) -> np.ndarray:
        raise self._absent or no_site(site, self, self._result)

    def __getattr__(self, name: str) -> Any:
        hint = f": it is an entry, [{name!r}]" if name in self else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")


class Sites(dict[str, Site]):
    """Sites by name. One that is not there is a `KeyError` that names those that are."""

    def __missing__(self, name: str) -> Site:
        raise no_site(name, self)


def no_site(name: object, known: Iterable[str], result: str = "the posterior") -> UnknownNameError:
    """The error for a site that ``result`` does not have."""
    return UnknownNameError(
        f"{result} has no site {name!r}{_meant(name, known)}. Its sites are {list(known)}. A "
        "site that was left out comes with return_sites= or without exclude_sites=, an observed "
        "one with return_observed=True"
    )


def no_result(name: object, known: Iterable[str]) -> UnknownNameError:
    """The error for a result that a posterior does not have."""
    there = list(known)
    short = str(name).removeprefix(_PREFIX)
    if f"{_PREFIX}{name}" in there:
        hint = f"it is posterior.{name}, or posterior[{_PREFIX + str(name)!r}]"
    elif name == _DRAWS:
        hint = "the draws were not kept: draw with return_samples=True"
    elif short in _DEFAULTS:
        hint = (
            f"summary_fun= took the place of the summaries by default: give it "
            f"{{{short!r}: {_DEFAULTS[short]}, ...}} too"
        )
    elif str(name).startswith(_PREFIX):
        hint = f"draw with {_asking_for(short)}"
    else:
        hint = "sites are one step deeper, as in posterior.means['w']"
    meant = _meant(name, there) if short not in _DEFAULTS and name != _DRAWS else ""
    return UnknownNameError(f"the posterior has no {name!r}{meant}: {hint}. It has {there}")


def no_attribute(name: str, known: Iterable[str], attributes: Iterable[str]) -> AttributeError:
    """The error for an attribute that a posterior does not have: a method, or a summary's name."""
    if name in _ELSEWHERE:
        hint = f": {_ELSEWHERE[name]}"
    else:
        hint = _meant(name, [each for each in attributes if not each.startswith("_")])
    if is_named(name):
        hint += f": a summary of that name is there after {_asking_for(name)}"
    return AttributeError(f"the posterior has no attribute {name!r}{hint}. It has {list(known)}")


def _asking_for(summary: str) -> str:
    if is_named(summary):
        return f"summary_fun=[{summary!r}, ...]"
    return f"summary_fun={{{summary!r}: a function of (draws, axis=0), ...}}"


def _meant(name: object, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(str(name), names, 1)
    close = close or [each for each in names if each.lower() == str(name).lower()]
    return f" (did you mean {close[0]!r}?)" if close else ""
