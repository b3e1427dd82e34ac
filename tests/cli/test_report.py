"""``report`` writes the page of a store, and says what is wrong with a store."""

from __future__ import annotations

import shutil

import pytest

from pyro_posterior.cli import main


def test_report_of_a_store(store, here, capsys):
    assert main(["report", str(store), "--title", "Cells & more"]) == 0
    page = (here / "report.html").read_text()
    assert "<h1>Cells &amp; more</h1>" in page
    assert '"name":"z"' in page


@pytest.mark.parametrize("name", ["report", "inspect"])
def test_a_store_that_is_not_there(name, here, refused):
    assert "nothing.zarr" in refused(name, "nothing.zarr")


def test_a_damaged_store(store, here, refused):
    shutil.copytree(store, "bad.zarr")
    (here / "bad.zarr" / "zarr.json").write_text("{")
    assert "bad.zarr" in refused("report", "bad.zarr", code=1)
