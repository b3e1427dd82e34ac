"""Which summaries to compute, under which names, and computing them for the draws of one site."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pyro_posterior.contracts import RunPlan, Summaries
from pyro_posterior.errors import RequestError
from pyro_posterior.reductions.columns import summarise_columns
from pyro_posterior.reductions.custom import as_read_only_array, call_summary
from pyro_posterior.reductions.device import suits_device, summarise_on_device
from pyro_posterior.reductions.mcse import SUFFIX, Errors
from pyro_posterior.reductions.names import KNOWN, named
from pyro_posterior.reductions.quantile import Quantile
from pyro_posterior.reductions.statistic import Statistic, recognise

PREFIX = "post_sample_"

DEFAULTS: Mapping[str, Callable[..., Any]] = {
    "means": np.mean,
    "stds": np.std,
    "q05": Quantile(0.05),
    "q95": Quantile(0.95),
}


@dataclass(frozen=True)
class Summarised:
    """The summaries of one site."""

    values: dict[str, np.ndarray]  # one per name, in the plan's order
    nonfinite: int  # number of NaN or infinite draws


@dataclass(frozen=True)
class SummaryPlan:
    """What to compute; made by `plan_summaries`."""

    names: tuple[str, ...]  # documented names of the results
    functions: tuple[Any, ...]  # the caller's, or a `Statistic`, in the same order
    statistics: tuple[Statistic | None, ...]  # the fast path of each, None: it must be called
    errors: Errors | None = None  # how Monte Carlo errors are told; None: they are not

    @property
    def result_names(self) -> tuple[str, ...]:
        """Names of all results, errors among them."""
        errors = tuple(name + SUFFIX for name in self.names) if self.errors else ()
        return self.names + errors

    def compute(self, draws: torch.Tensor, *, workers: int = 1) -> Summarised:
        """Every summary of the draws of one site, and its Monte Carlo error where asked for.

        Parameters, errors and memory are those of `summaries`.
        """
        found = self.summaries(draws, workers=workers)
        if self.errors is None:
            return found
        draws = draws.detach().resolve_neg()
        fast = (None,) * len(self.names) if draws.is_complex() else self.statistics
        told = self._errors(self.errors, draws, found.values, fast, workers)
        return Summarised(found.values | told, found.nonfinite)

    def _errors(
        self,
        errors: Errors,
        draws: torch.Tensor,
        values: dict[str, np.ndarray],
        statistics: Sequence[Statistic | None],
        workers: int,
    ) -> dict[str, np.ndarray]:
        named = [(name, s) for name, s in zip(self.names, statistics, strict=True) if s is not None]
        told = errors.of_statistics(
            draws, [s for _, s in named], [values[name] for name, _ in named]
        )
        found = {name: error for (name, _), error in zip(named, told, strict=True)}
        for name, fun, statistic in zip(self.names, self.functions, statistics, strict=True):
            if statistic is None:
                call = functools.partial(call_summary, name, fun)
                found[name] = errors.of_function(call, as_read_only_array(draws), values[name])
            elif found[name] is None:
                call = functools.partial(_one_statistic, statistic, workers)
                array = as_read_only_array(draws).copy()  # which torch may see
                found[name] = errors.of_function(call, array, values[name])
        return {name + SUFFIX: np.asarray(found[name]) for name in self.names}

    def summaries(self, draws: torch.Tensor, *, workers: int = 1) -> Summarised:
        """Every summary of the draws of one site.

        Mean, sd (ddof 0), variance, sum, extremes, median and linear quantiles are computed here
        and agree with NumPy in value and dtype; half precision is computed in float32, quantiles
        of booleans, which NumPy refuses, are those of 0.0 and 1.0. Other functions are called
        with a read-only NumPy array of all draws.

        Parameters
        ----------
        draws
            ``(draw, *site shape)``, at least one draw, any device, dtype and strides. Memory
            beyond the results is a few MB per worker, plus a copy of the draws where the axes of
            the site cannot be seen as one axis.
        workers
            Threads to use on the CPU; the numbers do not depend on it.

        Raises
        ------
        RequestError
            No draws, or a function's result does not have the site's shape. Errors raised by a
            function pass through with a note that names the summary.
        """
        if draws.ndim == 0 or draws.shape[0] == 0:
            raise RequestError(
                f"There are no draws to summarise in a tensor of shape {tuple(draws.shape)}; "
                "its first axis must hold one draw or more."
            )
        draws = draws.detach().resolve_neg()
        fast = () if draws.is_complex() else self.statistics
        if draws.is_complex() and (unable := [f for f in self.functions if not callable(f)]):
            raise RequestError(
                f"draws are complex, of which there is no {unable[0].kind}: leave the site out, or "
                "give a function of your own in summary_fun"
            )
        known = tuple(dict.fromkeys(s for s in fast if s is not None))
        columns, nonfinite = _summarise(draws, known, workers)
        by_statistic = dict(zip(known, columns, strict=True))
        array = None
        values: dict[str, np.ndarray] = {}
        statistics = fast or (None,) * len(self.names)
        for name, fun, statistic in zip(self.names, self.functions, statistics, strict=True):
            if statistic is not None:
                found = by_statistic[statistic]
                values[name] = found.reshape(found.shape[:-1] + tuple(draws.shape[1:]))
            else:
                array = as_read_only_array(draws) if array is None else array
                values[name] = call_summary(name, fun, array)
        return Summarised(values, nonfinite)


def _one_statistic(statistic: Statistic, workers: int, draws: np.ndarray) -> np.ndarray:
    """A statistic of draws ``(draw, *shape)``."""
    (found,), _ = _summarise(torch.from_numpy(draws), (statistic,), workers)
    return found.reshape(found.shape[:-1] + draws.shape[1:])


def plan_summaries(summary_fun: Summaries | None) -> SummaryPlan:
    """Read the caller's ``summary_fun`` once.

    Parameters
    ----------
    summary_fun
        A list of names (see `names.KNOWN`) and of dicts, or one dict, name to ``fun(x, axis=0)``,
        left as it is; None: means, sds, 5 % and 95 % quantiles. A name gets the prefix
        ``post_sample_`` unless it has it.

    Raises
    ------
    RequestError
        No entries, a name that is no string, unknown or names a result twice, or a value that
        cannot be called.
    """
    names: list[str] = []
    functions: list[Any] = []
    for key, fun in _entries(DEFAULTS if summary_fun is None else summary_fun):
        if not isinstance(key, str) or not key:
            raise RequestError(f"Names in summary_fun must be non-empty strings, but got {key!r}.")
        if not callable(fun) and not isinstance(fun, Statistic):
            raise RequestError(
                f"summary_fun[{key!r}] must be a function, called as fun(x, axis=0), "
                f"but got {fun!r}."
            )
        name = key if key.startswith(PREFIX) else PREFIX + key
        if name in names:
            raise RequestError(
                f"Two entries of summary_fun name the result {name!r} (the prefix {PREFIX!r} is "
                "added where it is missing); rename one."
            )
        names.append(name)
        functions.append(fun)
    statistics = tuple(recognise(name, fun) for name, fun in zip(names, functions, strict=True))
    return SummaryPlan(tuple(names), tuple(functions), statistics)


def summaries_of(plan: RunPlan) -> SummaryPlan:
    """What a run summarised, as far as it goes by names; functions of the caller's do not."""
    known = []
    for result in plan.summaries:
        try:
            named(result.removeprefix(PREFIX))
        except RequestError:
            continue
        known.append(result)
    return with_errors_of(plan, plan_summaries(known or None))


def with_errors_of(plan: RunPlan, summaries: SummaryPlan) -> SummaryPlan:
    """Summaries with their Monte Carlo errors where a run tells them."""
    if plan.replicates == 1:
        return summaries
    return replace(summaries, errors=Errors(plan.replicate_lengths, plan.draws == "stratified"))


def _entries(summary_fun: Any) -> Iterator[tuple[Any, Any]]:
    """Names with their functions or statistics, in the caller's order."""
    if isinstance(summary_fun, str):
        summary_fun = [summary_fun]
    if isinstance(summary_fun, Mapping):
        summary_fun = [summary_fun]
    if not isinstance(summary_fun, Sequence) or not any(summary_fun):
        raise RequestError(
            "summary_fun must be a list of names, a dict with at least one entry, name to "
            "fun(x, axis=0), such as {'means': np.mean}, or None for the default summaries, but "
            f"got {summary_fun!r}. The names are {KNOWN}."
        )
    for entry in summary_fun:
        if isinstance(entry, str):
            yield entry, named(entry.removeprefix(PREFIX))
        elif isinstance(entry, Mapping):
            yield from entry.items()
        else:
            raise RequestError(
                f"summary_fun has the entry {entry!r}, but takes names and dicts of names and "
                f"functions. The names are {KNOWN}."
            )


def _summarise(
    draws: torch.Tensor, statistics: Sequence[Statistic], workers: int
) -> tuple[list[np.ndarray], int]:
    """Each statistic as ``(column,)``, a column being one element of the site."""
    if draws.is_complex():
        return [], int((~torch.isfinite(draws)).sum())
    count = draws.shape[0]
    repeats = 1
    if count > 1 and draws.stride(0) == 0:  # one draw, expanded: an observed site
        draws, repeats = draws[:1], count
    flat = draws.reshape(draws.shape[0], math.prod(draws.shape[1:]))
    if flat.device.type == "cpu":
        columns, nonfinite = summarise_columns(flat, statistics, workers)
    elif suits_device(flat):
        columns, nonfinite = summarise_on_device(flat, statistics)
    else:
        columns, nonfinite = summarise_columns(flat.cpu(), statistics, workers)
    if repeats > 1:
        columns = [
            column * column.dtype.type(repeats) if statistic.kind == "sum" else column
            for statistic, column in zip(statistics, columns, strict=True)
        ]
    return columns, nonfinite * repeats
