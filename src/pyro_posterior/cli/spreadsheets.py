"""Text in tables that spreadsheets open: shown as text there, never run as a formula."""

from __future__ import annotations

from typing import Any

#: Spreadsheets take a cell that begins so for a formula.
STARTS = ("=", "+", "-", "@", "\t", "\r")


def as_cell(text: str) -> str:
    """``text``, with the apostrophe before it that makes spreadsheets take it as it is.

    Examples
    --------
    >>> as_cell("=1+1"), as_cell("gene_1")
    ("'=1+1", 'gene_1')
    """
    return f"'{text}" if text.startswith(STARTS) else text


def as_cells(frame: Any) -> Any:
    """A copy of a pandas table whose text and headings are safe; numbers are left as they are."""

    def safe(value: Any) -> Any:
        return as_cell(value) if isinstance(value, str) else value

    frame = frame.rename(columns=safe)
    for place, dtype in enumerate(frame.dtypes):
        if dtype.kind not in "biufcmM":
            frame.isetitem(place, frame.iloc[:, place].astype(object).map(safe))
    return frame
