"""What derived functions do to what they are given, tried out once before they are trusted.

A function that writes to its values would change the sites themselves, and one that mixes observations
(ranks them, takes their mean off) would give other numbers in other minibatches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pyro_posterior.contracts import Site
from pyro_posterior.errors import RequestError
from pyro_posterior.extending.derived import DerivedFunction, ReadOnly, compute

#: Rows alone and among others may round differently.
RTOL = 1e-4


def check_writes(functions: Mapping[str, DerivedFunction], values: Mapping[str, Any]) -> None:
    """Raise where a function writes to its values, of which it is given copies here.

    Raises
    ------
    RequestError
        One does, or fails.
    """
    held = {name: _copy(value) for name, value in values.items()}
    for name, function in functions.items():
        result = compute(name, function, ReadOnly(held))
        if name not in held:  # else adding it tells
            held[name] = result.clone()


def check_rows(
    functions: Mapping[str, DerivedFunction],
    sites: Sequence[Site],
    first: Mapping[str, Any],
    last: Mapping[str, Any],
) -> None:
    """Raise where a function gives rows that depend on which other rows are there.

    Parameters
    ----------
    functions
        By the name of their site.
    sites
        All sites, with the axes of their observations.
    first, last
        Values by site of one joint draw in two minibatches, those of the functions among them.

    Raises
    ------
    RequestError
        One does.
    """
    known = {site.name: site for site in sites}
    both: dict[str, Any] = {}
    for name in first.keys() & last.keys():
        joined = _joined(first[name], last[name], known[name].batch_axis if name in known else None)
        if joined is not None:
            both[name] = joined
    for name, function in functions.items():
        site = known.get(name)
        if site is None or site.batch_axis is None or name not in both:
            continue
        given = ReadOnly({other: _copy(both[other]) for other in first if other in both})
        try:
            found, again = compute(name, function, given), compute(name, function, given)
        except RequestError:  # it knows how many rows there are
            continue
        if _same(found, again) and not _same(found, both[name]):
            raise RequestError(
                f"derived[{name!r}] gives a row other values where other observations are beside "
                "it, so that they would depend on the minibatches: compute each row from that row "
                "and global sites alone, let grouped= add rows up, or pass all data in one call "
                "(no batch_size)"
            )


def _joined(one: Any, other: Any, axis: int | None) -> Any:
    """The rows of both behind each other; None where they cannot be."""
    if axis is None or not isinstance(one, torch.Tensor):
        return one
    try:
        return torch.cat([one, other], dim=axis)
    except (RuntimeError, IndexError, TypeError):
        return None


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape:
        return False
    wide = torch.complex128 if one.is_complex() else torch.float64
    one, other = (x.detach().cpu().to(wide) for x in (one, other))
    scale = float(other.abs().nan_to_num(0.0, 0.0, 0.0).max()) if other.numel() else 0.0
    return torch.allclose(one, other, rtol=RTOL, atol=RTOL * scale, equal_nan=True)
