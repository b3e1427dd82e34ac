"""A place to write to is looked at before the work, and is never what the command reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pyro_posterior.cli import main


def test_the_report_s_folder_is_looked_for_first(refused, fits, here):
    said = refused("run", f"{fits}:broken", "--report", "no/such/r.html")
    assert "--report: cannot write" in said
    assert "there is no folder" in said


def test_a_report_that_is_a_folder_is_refused_before_drawing(refused, fits, here):
    said = refused("run", f"{fits}:broken", "--report", here)
    assert "it is a folder; give a file's name" in said


@pytest.mark.parametrize("name", ["report", "export"])
def test_a_folder_is_no_output(name, store, refused, here):
    more = ["--to", "csv"] if name == "export" else []
    assert "-o: cannot write" in refused(name, store, *more, "-o", here)


def test_run_never_writes_to_its_own_script(refused, fits, here):
    script = here / "fit.py"
    shutil.copy(fits, script)
    (here / "link.html").symlink_to(script)
    before = script.read_bytes()
    for report in ("fit.py", "./fit.py", "link.html", script):
        said = refused("run", "fit.py:in_batches", "--report", report, "--no-progress")
        assert "it is read in the same call" in said
    said = refused("run", "fit.py:in_batches", "--store", ".", "--overwrite", "--no-progress")
    assert "--store: '.' holds 'fit.py', which is read in the same call" in said
    assert script.read_bytes() == before


def test_run_never_writes_a_report_into_its_store(refused, fits, here):
    words = ("run", f"{fits}:in_batches", "--store", "s.zarr", "--no-progress")
    assert "it is read in the same call" in refused(*words, "--report", "s.zarr/r.html")


def test_export_never_writes_to_its_own_input(store, refused, here):
    anndata = pytest.importorskip("anndata")
    import numpy as np

    shutil.copytree(store, "cells.zarr")
    anndata.AnnData(np.ones((40, 2), "float32")).write_h5ad("cells.h5ad")
    Path("other.h5ad").symlink_to("cells.h5ad")
    before = Path("cells.h5ad").read_bytes()
    words = ("export", "cells.zarr", "--to", "anndata", "--adata", "cells.h5ad")
    assert "give -o cells.h5ad to replace it" in refused(*words)  # named after the store
    for output in ("cells.h5ad", "other.h5ad", here / "cells.h5ad"):
        assert "it is read in the same call" in refused(*words, "-o", output)
    for output in ("cells.zarr", "cells.zarr/zarr.json", "cells.zarr/new.h5ad"):
        assert "cannot write" in refused(*words, "-o", output)
    assert Path("cells.h5ad").read_bytes() == before
    assert main([*words, "-o", "new.h5ad"]) == 0
    assert anndata.read_h5ad("new.h5ad").n_obs == 40


def test_a_file_that_nobody_named_is_not_replaced(store, refused, here):
    Path("made.csv").write_text("mine")
    words = ("export", store, "--to", "csv")
    assert "there is a file 'made.csv'" in refused(*words)
    assert Path("made.csv").read_text() == "mine"
    assert main([*map(str, words), "-o", "made.csv"]) == 0
    assert Path("made.csv").read_text().startswith("site,")


def test_a_failed_export_leaves_the_old_file(store, refused, here):
    Path("w.csv").write_text("mine")
    words = ("export", store, "--to", "csv", "--site", "nothing", "-o", "w.csv")
    assert "nothing" in refused(*words)
    assert Path("w.csv").read_text() == "mine"
    assert [path.name for path in here.iterdir()] == ["w.csv"]
