"""The same questions through the mixin and the command line give the function's numbers."""

from __future__ import annotations

import types

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from pyro_posterior import PyroSampleMixin, sample_posterior
from pyro_posterior.cli import main
from pyro_posterior.errors import RequestError
from pyro_posterior.posterior import Posterior

COUNT = 40
QUIET = {"show_progress": False, "seed": 1}
REGIONS = np.array(["tumour", "normal", "other", "normal"] * 10)


def model(y, index):
    g = pyro.sample("g", dist.Normal(0.0, 1.0))
    with pyro.plate("obs", COUNT, subsample=index):
        z = pyro.sample("z", dist.Normal(g, 1.0))
        pyro.sample("y", dist.Normal(z, 0.5), obs=y)


def guide(y, index):
    pyro.sample("g", dist.Normal(0.3, 0.1))
    with pyro.plate("obs", COUNT, subsample=index):
        pyro.sample("z", dist.Normal(0.8 * y, 0.4))


Y = torch.randn(COUNT, generator=torch.Generator().manual_seed(5))
DATA = (Y, torch.arange(COUNT))


class Host(PyroSampleMixin):
    """A host with the data of its own and, as those of scvi-tools, an AnnData."""

    def __init__(self, adata=None):
        self.adata = adata
        self.module = types.SimpleNamespace(
            model=model, guide=guide, _get_fn_args_from_batch=lambda batch: (tuple(batch), {})
        )

    def _make_data_loader(self, adata=None, indices=None, batch_size=None):
        rows = list(range(COUNT) if indices is None else np.arange(COUNT)[indices])
        return DataLoader(TensorDataset(*DATA), sampler=rows, batch_size=batch_size)


ASKED = {
    "predictive": True,
    "expected": True,
    "log_likelihood": True,
    "derived": {"twice": lambda s: 2 * s["z"]},
    "grouped": {"by": ("twice", REGIONS, "mean")},
    "summary_fun": ["mean", "hdi90", "prob>0"],
    "return_samples": True,
    "num_samples": 24,
}


@pytest.mark.parametrize(
    ("engine", "batch_size"), [("loop", 7), ("sliced", 1), ("sliced", 7), ("sliced", COUNT)]
)
@pytest.mark.filterwarnings("ignore:the model has latent variables of each observation")
def test_the_mixin_takes_all_of_them(engine, batch_size):
    options = {**ASKED, **QUIET, "engine": engine, "batch_size": batch_size}
    ours = Host().sample_posterior(**options)
    plain = sample_posterior(model, guide, DATA, obs_plate="obs", **options)
    assert list(ours) == list(plain)
    for result, arrays in plain.items():
        assert list(ours[result]) == list(arrays)
        for name, values in arrays.items():
            np.testing.assert_array_equal(ours[result][name], values, err_msg=name)
    np.testing.assert_array_equal(ours.log_p, plain.log_p)
    np.testing.assert_array_equal(ours.loo(weighted=False).k, plain.loo(weighted=False).k)


def test_the_mixin_sets_sites():
    got = Host().sample_posterior(
        do={"z": 2.0}, expected=True, return_samples=True, num_samples=8, batch_size=7, **QUIET
    )
    np.testing.assert_array_equal(got.draws["y_expected"], np.full((8, COUNT), 2.0, np.float32))


@pytest.fixture
def adata():
    anndata = pytest.importorskip("anndata")
    pandas = pytest.importorskip("pandas")
    obs = pandas.DataFrame(
        {"region": pandas.Categorical(REGIONS, ["tumour", "normal", "other"])},
        index=[f"cell{i}" for i in range(COUNT)],
    )
    return anndata.AnnData(np.zeros((COUNT, 3), np.float32), obs=obs)


def test_groups_by_a_column_of_the_hosts_adata(adata):
    options = {"num_samples": 16, "batch_size": 7, "return_samples": True, **QUIET}
    got = Host(adata).sample_posterior(grouped={"by": ("z", "region", "sum")}, **options)
    np.testing.assert_array_equal(got.coords["by_group"], ["tumour", "normal", "other"])
    for place, region in enumerate(got.coords["by_group"]):
        exact = got.draws["z"][:, region == REGIONS].astype(float).sum(1)
        np.testing.assert_allclose(got.draws["by"][:, place], exact, rtol=1e-9)
    rows = [5, 3, 8, 30, 31]
    part = Host(adata).sample_posterior(
        grouped={"by": ("z", "region", "mean")}, indices=rows, **options
    )
    np.testing.assert_array_equal(part.coords["by_group"], ["tumour", "normal", "other"])
    tumour = part.draws["z"][:, REGIONS[rows] == "tumour"].astype(float).mean(1)
    np.testing.assert_allclose(part.draws["by"][:, 0], tumour, rtol=1e-9)


@pytest.mark.parametrize(
    ("of_host", "options", "words"),
    [
        (True, {"grouped": {"by": ("z", "regoin", "sum")}}, "no column 'regoin' in obs.*'region'"),
        (False, {"grouped": {"by": ("z", "region", "sum")}}, "Host has none"),
        (True, {"grouped": {"by": ("z", "region")}, "input_dl": ()}, "with input_dl"),
    ],
)
def test_columns_that_are_not_there(adata, of_host, options, words):
    with pytest.raises(RequestError, match=words):
        Host(adata if of_host else None).sample_posterior(num_samples=4, **options, **QUIET)


# ------------------------------------------------------------------------------------- command line

FITS = """
import torch
from extending.test_faces import DATA, guide, model

def fitted():
    return {"model": model, "guide": guide, "data": DATA, "batch_size": 7, "obs_plate": "obs"}

def twice(s):
    return 2 * s["z"]
"""


@pytest.fixture
def fits(tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fits.py").write_text(FITS)
    rows = "\n".join(f"cell{i},{region}" for i, region in enumerate(REGIONS))
    (tmp_path / "cells.csv").write_text(f"id,region\n{rows}\n")
    return tmp_path


def test_the_command_line_takes_all_of_them(fits):
    words = [
        *("run", "fits.py:fitted", "--store", "s.zarr", "--seed", "1", "--num-samples", "24"),
        *("--predictive", "--expected", "--log-likelihood", "--return-samples", "--no-progress"),
        *("--derived", "twice=fits.py:twice", "--grouped", "by=twice:mean:cells.csv:region"),
        *("--summary", "mean", "--summary", "hdi90", "--summary", "prob>0"),
    ]
    assert main(words) == 0
    plain = sample_posterior(model, guide, DATA, batch_size=7, obs_plate="obs", **ASKED, **QUIET)
    stored = Posterior.open("s.zarr")
    assert list(stored) == list(plain)
    for result, arrays in plain.items():
        for name, values in arrays.items():
            np.testing.assert_array_equal(np.asarray(stored[result][name]), values, err_msg=name)
    np.testing.assert_array_equal(stored.log_q, plain.log_q)
    assert repr(stored.contrast("by", "tumour", "normal")) == repr(
        plain.contrast("by", "tumour", "normal")
    )


def test_the_command_line_sets_sites(fits):
    words = [
        *("run", "fits.py:fitted", "--store", "s.zarr", "--num-samples", "8", "--no-progress"),
        *("--do", "z=2.5", "--expected"),
    ]
    assert main(words) == 0
    np.testing.assert_array_equal(Posterior.open("s.zarr").means["y_expected"], 2.5)


MIXTURE = """
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoNormal

Y = torch.tensor([-2.1, -1.9, -2.0, 1.8, 2.2, 0.1])
INDEX = torch.arange(6)

@config_enumerate
def model(y, index):
    means = pyro.sample("means", dist.Normal(torch.tensor([-2.0, 2.0]), 1.0).to_event(1))
    with pyro.plate("obs", 6, subsample=index):
        z = pyro.sample("z", dist.Categorical(torch.tensor([0.5, 0.5])))
        pyro.sample("y", dist.Normal(means[z], 1.0), obs=y)

def fitted():
    pyro.set_rng_seed(0)
    guide = AutoNormal(pyro.poutine.block(model, hide=["z"]))
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), TraceEnum_ELBO())
    for _ in range(20):
        svi.step(Y, INDEX)
    return {"model": model, "guide": guide, "data": (Y, INDEX), "batch_size": 4}
"""


def test_the_command_line_draws_sites_that_the_fit_summed_out(fits):
    (fits / "mixture.py").write_text(MIXTURE)
    words = ["run", "mixture.py:fitted", "--store", "s.zarr", "--num-samples", "40", "--seed", "3"]
    assert main([*words, "--infer-discrete", "--return-samples", "--no-progress"]) == 0
    stored = Posterior.open("s.zarr")
    means = torch.as_tensor(np.asarray(stored.draws["means"]))[:, None]
    y = torch.tensor([-2.1, -1.9, -2.0, 1.8, 2.2, 0.1])
    exact = dist.Normal(means, 1.0).log_prob(y[:, None]).softmax(-1)
    np.testing.assert_allclose(stored.draws["z_probs"], exact, atol=1e-5)
    drawn = np.asarray(stored.draws["z"])
    assert drawn[:, :3].mean() < 0.1
    assert drawn[:, 3:5].mean() > 0.9
    assert main([*words, "--infer-discrete", "mode", "--overwrite", "--no-progress"]) == 0
    np.testing.assert_array_equal(Posterior.open("s.zarr").means["z"][:5], [0, 0, 0, 1, 1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--do", "z=two"), "not of the form SITE=NUMBER"),
        (("--derived", "fits.py:twice"), "not of the form NAME=MODULE:FUNCTION"),
        (("--grouped", "by=z:region"), "not of the form NAME=SITE:mean:LABELS"),
        (("--grouped", "by=z:mean:cells.csv:regoin"), "no column 'regoin'"),
        (("--grouped", "by=z:mean:region"), "'region' names a column"),
        (("--summary", "hid90"), "names 'hid90', which is no summary"),
    ],
)
def test_words_that_do_not_fit(fits, capsys, words, message):
    assert main(["run", "fits.py:fitted", "--store", "s.zarr", "--no-progress", *words]) == 2
    assert message in capsys.readouterr().err
