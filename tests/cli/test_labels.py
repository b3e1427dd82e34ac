"""Labels come from the column that was named, in the order of the file."""

from __future__ import annotations

import pytest

from pyro_posterior.cli.labels import read_coords, read_dims
from pyro_posterior.errors import RequestError


@pytest.fixture
def files(here):
    (here / "cells.csv").write_text('number,id,"a, b"\n1,x,p\n2,"y, z",q\n', encoding="utf-8-sig")
    (here / "cells.tsv").write_text("id\tn\nx\t1\ny\t2\n")
    (here / "names.txt").write_text("a:b\nc\n")
    (here / "short.csv").write_text("a,b\n1\n")
    (here / "odd:name.txt").write_text("1\n")
    return here


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        ("cells=cells.csv:id", ["x", "y, z"]),
        ("cells=cells.csv:a, b", ["p", "q"]),
        ("cells=cells.csv", ["1", "2"]),
        ("cells=cells.tsv:n", ["1", "2"]),
        ("cells=names.txt", ["a:b", "c"]),
        ("cells=odd:name.txt", ["1"]),
    ],
)
def test_a_column(words, labels, files):
    assert read_coords([words]) == {"cells": labels}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("cells.csv:id", "not of the form DIM=FILE:COLUMN"),
        ("cells=no.csv:id", "there is no file 'no.csv'"),
        ("cells=cells.csv:idd", "has no column 'idd'; it has: number, id"),
        ("cells=names.txt:x", "only .csv and .tsv files have columns"),
        ("cells=short.csv:b", "line 2 of 'short.csv' is too short"),
    ],
)
def test_what_does_not_fit(words, message, files):
    with pytest.raises(RequestError, match=message):
        read_coords([words])


def test_axes_of_a_site():
    assert read_dims("w=cells,factor") == ("w", ["cells", "factor"])
    for words in ("w", "=a", "w=", "w=a,,b"):
        with pytest.raises(RequestError, match="not of the form SITE=AXIS,AXIS"):
            read_dims(words)
