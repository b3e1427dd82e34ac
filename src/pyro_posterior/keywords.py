"""What was asked, by the names of arguments: none unknown, none twice, none lacking.

::

    run(asked_of(Request, args, kwargs))
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pyro_posterior.errors import ArgumentError

Made = TypeVar("Made")

#: What other packages call these arguments, and what they are here.
_ELSEWHERE = {
    "use_gpu": "accelerator='gpu'",
    "n_samples": "num_samples",
    "sites": "return_sites",
    "var_names": "return_sites",
    "posterior_samples": "return_samples",
    "parallel": "engine",
    "rng": "seed",
    "random_state": "seed",
    "adata": "data (the method of a model takes adata)",
    "indices": "data (the method of a model takes indices)",
    "progress_bar": "show_progress",
    "n_jobs": "threads",
}


def asked_of(request: Callable[..., Made], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Made:
    """The request that these arguments of `sample_posterior` make.

    Raises
    ------
    ArgumentError
        An argument is unknown, lacking, given twice, or given by position.
    """
    named = one_exclusion(kwargs)
    parameters = inspect.signature(request).parameters
    check_known(named, parameters)
    first = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(args) > len(first):
        raise ArgumentError(
            f"sample_posterior takes {', '.join(first)} by position, found {len(args)} arguments: "
            "data of several tensors go together, as a tuple (x, y) or a dict of keywords; options "
            "are given by name"
        )
    if twice := sorted(set(first[: len(args)]) & set(named)):
        raise ArgumentError(f"sample_posterior got {twice[0]!r} twice, by position and by name")
    if lacking := [name for name in first[len(args) :] if name not in named]:
        raise ArgumentError(
            f"sample_posterior lacks {' and '.join(lacking)}: call "
            f"sample_posterior({', '.join(first)}), options after that by name"
        )
    return request(*args, **named)


def one_exclusion(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords with ``exclude_vars``, scvi-tools' name, as ``exclude_sites``."""
    named = dict(kwargs)
    if "exclude_vars" in named:
        if "exclude_sites" in named:
            raise ArgumentError("exclude_vars and exclude_sites are the same argument: give one")
        named["exclude_sites"] = named.pop("exclude_vars")
    return named


def check_known(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise for an argument that there is not, with the one that was meant."""
    names = list(known)
    for name in sorted(set(given) - set(names)):
        close = difflib.get_close_matches(name, names, 1)
        meant = _ELSEWHERE.get(name) or (repr(close[0]) if close else "")
        hint = f": did you mean {meant}?" if meant else f"; there are {', '.join(sorted(names))}"
        raise ArgumentError(f"sample_posterior got an unexpected argument {name!r}{hint}")
