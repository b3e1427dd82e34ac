"""What is asked beyond the sites, in words: ``--grouped``, ``--derived``, ``--do``, ``--summary``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pyro_posterior.cli.labels import names_a_file, read_labels
from pyro_posterior.errors import RequestError


def read_grouped(words: str) -> tuple[str, tuple[Any, ...]]:
    """A total and what it is of, from ``NAME=SITE:HOW:LABELS``.

    LABELS are in ``FILE:COLUMN``, one for each observation in the order of the data; where there is
    no such file they are a column of the AnnData of a saved model. A label without a letter is none.

    Raises
    ------
    RequestError
        Words of another form, or a file without that column.
    """
    name, equals, rest = words.partition("=")
    site, _, rest = rest.partition(":")
    how, _, where = rest.partition(":")
    if not (equals and name and site and where) or how not in ("mean", "sum"):
        raise RequestError(
            f"--grouped {words!r} is not of the form NAME=SITE:mean:LABELS or NAME=SITE:sum:LABELS"
        )
    if not names_a_file(where):
        return name, (site, where, how)
    labels = [label or None for label in read_labels(where, f"--grouped {words!r}")]
    return name, (site, labels, how)


def read_derived(words: str) -> tuple[str, Callable[..., Any]]:
    """A derived quantity and its function, from ``NAME=MODULE:FUNCTION``.

    Raises
    ------
    RequestError
        Words of another form, or no such function.
    """
    return _named_function("--derived", words)


def read_do(words: str) -> tuple[str, float]:
    """A site and the number it is set to, from ``SITE=NUMBER``.

    Raises
    ------
    RequestError
        Words of another form.
    """
    site, _, number = words.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        site = ""
    if not site:
        raise RequestError(f"--do {words!r} is not of the form SITE=NUMBER")
    return site, value


def read_summaries(words: Iterable[str]) -> list[Any]:
    """Summaries by name (``hdi90``), or ``NAME=MODULE:FUNCTION``.

    Raises
    ------
    RequestError
        Words of another form, or no such summary or function.
    """
    from pyro_posterior.reductions.names import named

    found: list[Any] = []
    for word in words:
        if ":" in word:
            found.append(dict([_named_function("--summary", word)]))
        else:
            named(word)  # raises where there is none
            found.append(word)
    return found


def _named_function(flag: str, words: str) -> tuple[str, Callable[..., Any]]:
    from pyro_posterior.functions import find_function

    name, equals, function = words.partition("=")
    if not equals or not name:
        raise RequestError(f"{flag} {words!r} is not of the form NAME=MODULE:FUNCTION")
    return name, find_function(function)
