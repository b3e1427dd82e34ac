"""Names of observations, genes or factors, from a column of a file: ``--coords cell=cells.csv:id``."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from pyro_posterior.errors import RequestError


def read_coords(words: Iterable[str]) -> dict[str, list[str]]:
    """The labels that each ``DIM=FILE:COLUMN`` names.

    A file that ends in ``.csv`` or ``.tsv`` has a line of headings; without ``:COLUMN`` its first
    column is taken. Any other file holds one label a line.

    Raises
    ------
    RequestError
        No such file or column, or words of another form.
    """
    return dict(map(_named, words))


def read_dims(words: str) -> tuple[str, list[str]]:
    """A site and the names of its axes, from ``SITE=AXIS,AXIS``.

    Raises
    ------
    RequestError
        Words of another form.
    """
    site, equals, axes = words.rpartition("=")
    if not equals or not site or not all(axes.split(",")):
        raise RequestError(f"--dims {words!r} is not of the form SITE=AXIS,AXIS")
    return site, axes.split(",")


def read_labels(where: str, flag: str) -> list[str]:
    """The labels in ``FILE:COLUMN``, as `read_coords` reads them; ``flag`` is for messages.

    Raises
    ------
    RequestError
        No such file or column.
    """
    file, column = _file_and_column(where)
    if not file.is_file():
        raise RequestError(f"{flag}: there is no file {str(file)!r}")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{flag}: {str(file)!r} cannot be read as text ({error})") from error
    if file.suffix not in (".csv", ".tsv"):
        if column is not None:
            raise RequestError(f"{flag}: only .csv and .tsv files have columns")
        return text.splitlines()
    rows = list(csv.reader(text.splitlines(), delimiter="\t" if file.suffix == ".tsv" else ","))
    headings = rows[0] if rows else []
    if column is not None and column not in headings:
        raise RequestError(
            f"{flag}: {str(file)!r} has no column {column!r}; it has: "
            f"{', '.join(headings) or 'none'}"
        )
    place = 0 if column is None else headings.index(column)
    if short := next((n for n, row in enumerate(rows, 1) if len(row) <= place), None):
        raise RequestError(f"{flag}: line {short} of {str(file)!r} is too short")
    return [row[place] for row in rows[1:]]


def names_a_file(where: str) -> bool:
    """Whether ``FILE:COLUMN`` names a file that is there."""
    return _file_and_column(where)[0].is_file()


def _named(words: str) -> tuple[str, list[str]]:
    dim, equals, where = words.partition("=")
    if not equals or not dim or not where:
        raise RequestError(f"--coords {words!r} is not of the form DIM=FILE:COLUMN")
    return dim, read_labels(where, f"--coords {words!r}")


def _file_and_column(where: str) -> tuple[Path, str | None]:
    whole = Path(where).expanduser()
    name, colon, column = where.rpartition(":")
    if whole.is_file() or not colon or len(name) == 1:  # C:\cells.csv
        return whole, None
    return Path(name).expanduser(), column
