"""A saved cell2location model through the command line, from its folder to every export."""

from __future__ import annotations

import json
import subprocess
import sys

import anndata
import numpy as np
import pytest
from scvi.external import RESOLVI

from pyro_posterior.cli import main
from pyro_posterior.posterior import Posterior
from pyro_posterior.scvi import sample_posterior
from scvi_setup import QUIET, counts, seeded

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


def test_a_model_whose_guide_calls_pyro_param(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    seeded(0)
    adata = counts(cells=50, genes=60)
    RESOLVI.setup_anndata(adata, labels_key="labels")
    model = RESOLVI(adata, semisupervised=True, n_hidden=8, n_hidden_encoder=8)
    model.train(max_epochs=1, **QUIET)
    model.save("model")
    adata.write_h5ad("cells.h5ad")

    listed = call("inspect", "model", "--adata", "cells.h5ad", "--json", folder=tmp_path)
    shapes = {site["name"]: site["shape"] for site in json.loads(listed.stdout)}
    assert shapes["diffusion_proportion_per_neighbor"] == [50, 10, 1]
    words = ("--num-samples", "8", "--batch-size", "32", "--engine", "loop", "--store", "s.zarr")
    words = (*words, "--return-sites", "latent")
    assert main(["run", "model", "--adata", "cells.h5ad", *words]) == 0
    latent = Posterior.open("s.zarr")["post_sample_means"]["latent"]
    assert latent.shape == (50, 10)
    words = ("--to", "anndata", "--adata", "cells.h5ad", "-o", "out.h5ad")
    assert main(["export", "s.zarr", *words]) == 0
    np.testing.assert_array_equal(anndata.read_h5ad("out.h5ad").obsm["means_latent"], latent)
    capsys.readouterr()
    for words, message in [
        ((), "--adata file.h5ad"),
        (("--adata", "cells.h5ad", "--obs-plate", "x"), "--obs-plate is for functions"),
        (("--adata", "model/model.pt"), "cannot be read as an .h5ad file"),
    ]:
        assert main(["run", "model", *words, "--report", "r.html"]) == 2
        assert message in capsys.readouterr().err
