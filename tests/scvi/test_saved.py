"""A saved cell2location model through the command line, from its folder to every export."""

from __future__ import annotations

import json
import subprocess
import sys

import anndata
import numpy as np
import pytest

from pyro_posterior.posterior import Posterior
from pyro_posterior.scvi import sample_posterior

pytestmark = [pytest.mark.scvi, pytest.mark.slow]


def call(*words, folder):
    """The command in a fresh interpreter, where nothing has made cell2location importable yet."""
    done = subprocess.run(
        [sys.executable, "-m", "pyro_posterior", *words], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def folder(cell2location, tmp_path):
    cell2location.save(str(tmp_path / "model"))
    cell2location.adata.write_h5ad(tmp_path / "spots.h5ad")
    return tmp_path


def test_every_command_takes_a_saved_cell2location_model(folder, cell2location):
    listed = call("inspect", "model", "--adata", "spots.h5ad", "--json", folder=folder)
    assert listed.stderr == ""  # no bar of the step that loading trains, and no notices
    shapes = {site["name"]: site["shape"] for site in json.loads(listed.stdout)}
    assert shapes["w_sf"] == [90, 3]

    words = ("--num-samples", "16", "--batch-size", "40", "--seed", "5", "--store", "s.zarr")
    drawn = call(
        *("run", "model", "--adata", "spots.h5ad", *words, "--report", "r.html"), folder=folder
    )
    assert "Epoch" not in drawn.stderr
    ours = sample_posterior(
        cell2location, num_samples=16, batch_size=40, seed=5, show_progress=False
    )
    stored = Posterior.open(folder / "s.zarr")["post_sample_means"]
    for name, means in ours["post_sample_means"].items():
        np.testing.assert_allclose(stored[name], means, rtol=1e-5, err_msg=name)

    call("report", "s.zarr", "-o", "again.html", folder=folder)
    for page in ("r.html", "again.html"):
        assert "w_sf" in (folder / page).read_text(encoding="utf-8")
    call("export", "s.zarr", "--to", "csv", "--site", "w_sf", "-o", "w.csv", folder=folder)
    assert len((folder / "w.csv").read_text().splitlines()) == 1 + 90 * 3
    words = ("--to", "anndata", "--adata", "spots.h5ad", "-o", "with.h5ad")
    call("export", "s.zarr", *words, folder=folder)
    found = anndata.read_h5ad(folder / "with.h5ad").obsm["means_w_sf"]
    np.testing.assert_array_equal(np.asarray(found), stored["w_sf"])
