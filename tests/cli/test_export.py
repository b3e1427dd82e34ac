"""What comes out of a store by the command is what the store holds."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior.cli import main
from pyro_posterior.cli.spreadsheets import as_cells
from pyro_posterior.posterior import Posterior
from pyro_posterior.sampling import sample_posterior


def test_to_arviz(store, here, capsys):
    az = pytest.importorskip("arviz")
    assert main(["export", str(store), "--to", "arviz"]) == 0
    assert capsys.readouterr().out == "arviz: made.nc\n"
    found = az.from_netcdf("made.nc")
    draws = np.asarray(Posterior.open(store)["posterior_samples"]["w"])
    np.testing.assert_array_equal(found.posterior["w"].values[0], draws)


def test_to_csv(store, here):
    pandas = pytest.importorskip("pandas")
    means = Posterior.open(store)["post_sample_means"]
    assert main(["export", str(store), "--to", "csv", "--site", "w", "-o", "w.csv"]) == 0
    np.testing.assert_allclose(pandas.read_csv("w.csv")["means"], means["w"], rtol=1e-6)
    assert main(["export", str(store), "--to", "csv"]) == 0
    scalars = pandas.read_csv("made.csv")
    assert list(scalars["site"]) == ["g"]
    np.testing.assert_allclose(scalars["means"], means["g"], rtol=1e-6)


def test_to_anndata_needs_the_data(store, refused, here):
    words = ("export", store, "--to", "anndata")
    assert "needs --adata" in refused(*words)
    assert "there is no file 'no.h5ad'" in refused(*words, "--adata", "no.h5ad")
    (here / "text.h5ad").write_text("no HDF5")
    said = refused(*words, "--adata", "text.h5ad", "-o", "out.h5ad")
    assert "'text.h5ad' cannot be read as an .h5ad file" in said


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_a_spreadsheet_would_run_is_quoted(start, here):
    pandas = pytest.importorskip("pandas")
    text = f"{start}HYPERLINK(1)"
    frame = pandas.DataFrame(
        {text: [1.5, -2.5], "label": pandas.Categorical([text, "b-c"]), "mixed": [text, 3]},
    )
    safe = as_cells(frame)
    assert list(safe.columns) == [f"'{text}", "label", "mixed"]
    assert list(safe["label"]) == [f"'{text}", "b-c"]
    assert list(safe["mixed"]) == [f"'{text}", 3]
    assert list(safe.iloc[:, 0]) == [1.5, -2.5]  # numbers below zero stay numbers
    assert list(frame["label"]) == [text, "b-c"]


def test_names_of_sites_in_a_table(here):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("zarr")
    name = '=HYPERLINK("http://127.0.0.1/"&A2,"x")'

    def model(y):
        pyro.sample(name, dist.Normal(-2.0, 1.0))
        pyro.sample("y", dist.Normal(torch.zeros(3), 1.0).to_event(1), obs=y)

    def guide(y):
        pyro.sample(name, dist.Normal(-2.0, 1.0))

    sample_posterior(model, guide, torch.zeros(3), num_samples=8, seed=1, show_progress=False,
                     store="s.zarr")  # fmt: skip
    assert main(["export", "s.zarr", "--to", "csv"]) == 0
    found = pandas.read_csv("s.csv")
    assert list(found["site"]) == [f"'{name}"]
    assert found["means"][0] < 0


def test_codes_in_names_are_written_out(here, capsys):
    pytest.importorskip("zarr")
    name = "z\x1b]0;title\x07\x1b[2J\u202e\n"

    def model(y):
        pyro.sample(name, dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(torch.zeros(3), 1.0).to_event(1), obs=y)

    def guide(y):
        pyro.sample(name, dist.Normal(0.0, 1.0))

    sample_posterior(model, guide, torch.zeros(3), num_samples=8, seed=1, show_progress=False,
                     store="s.zarr")  # fmt: skip
    for words in (["inspect", "s.zarr"], ["inspect", "s.zarr", "--json"]):
        assert main(words) == 0
        printed = capsys.readouterr().out
        assert not set("\x1b\x07\u202e") & set(printed)
        assert "z\\x1b]0;title\\x07" in printed or "z\\u001b]0;title\\u0007" in printed
