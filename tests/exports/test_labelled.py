"""Exports to xarray, ArviZ and pandas: the numbers of the posterior, with names."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior import Posterior
from pyro_posterior.errors import MissingPackageError, RequestError
from store_helpers import run
from toy_models import ConjugateNormal, assert_normal

NAMES = [f"cell {i}" for i in range(22)]


@pytest.fixture(scope="module")
def held():
    toy = ConjugateNormal()
    return run(toy, toy.data, batch_size=5, return_observed=True, num_samples=400)


@pytest.fixture(scope="module", params=["memory", "disk"])
def posterior(request, held, tmp_path_factory):
    """The same posterior in memory and on disk."""
    if request.param == "memory":
        return held
    pytest.importorskip("zarr")
    store = tmp_path_factory.mktemp("exports") / "s.zarr"
    toy = ConjugateNormal()
    run(toy, toy.data, batch_size=5, return_observed=True, num_samples=400, store=store)
    return Posterior.open(store)


def factors_model(x: torch.Tensor) -> None:
    with pyro.plate("genes", 3):
        pyro.sample("scope/g", dist.Normal(0.0, 1.0))
    with pyro.plate("cells", len(x)):
        pyro.sample("w", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
        pyro.sample("one", dist.Normal(torch.zeros(len(x)), 1.0))


class Factors:
    model = guide = staticmethod(factors_model)


def factors(**kwargs):
    return run(Factors, torch.zeros(5), obs_plate="cells", batch_size=2, num_samples=4, **kwargs)


# --------------------------------------------------------------------------------------------- xarray


def test_xarray_has_every_result_with_dims_of_plates(posterior, held):
    pytest.importorskip("xarray")
    from pyro_posterior.exports.xarray import to_xarray

    tree = to_xarray(posterior, coords={"obs": NAMES})
    assert set(tree.children) == {*held, "observed_data"}
    np.testing.assert_array_equal(tree["observed_data"]["y"], ConjugateNormal().y)
    assert set(tree["posterior_samples"].data_vars) == {*held.sites} - {"y"}
    for result, arrays in held.items():
        draws = result == "posterior_samples"
        for name, site in held.sites.items():
            if draws and name == "y":
                continue
            array = tree[result][name]
            local = ("obs",) if site.scope == "local" else ()
            assert array.dims == (("chain", "draw") if draws else ()) + local
            np.testing.assert_array_equal(array[0] if draws else array, arrays[name])
    draws = tree["posterior_samples"]["z"]
    assert draws.sizes == {"chain": 1, "draw": 400, "obs": 22}
    expected = held["posterior_samples"]["z"][7, 4]
    assert draws.sel(chain=0, draw=7, obs="cell 4").item() == expected
    assert tree.attrs["seed"] == "1"
    assert tree.attrs["inference_library"] == "pyro"


def test_draws_on_disk_are_not_read_by_xarray(tmp_path, monkeypatch):
    pytest.importorskip("xarray")
    pytest.importorskip("zarr")
    from pyro_posterior.exports.xarray import to_xarray
    from pyro_posterior.stores.array import StoredArray

    held, stored = factors(), factors(store=tmp_path / "s.zarr")
    read, get = [], StoredArray.__getitem__

    def watched(self, selection):
        part = get(self, selection)
        read.append(part.size)
        return part

    monkeypatch.setattr(StoredArray, "__getitem__", watched)
    draws = to_xarray(stored)["posterior_samples"]["w"]
    assert read == []
    part = draws.isel(chain=0, cells=[4, 0], draw=slice(1, 3)).values
    np.testing.assert_array_equal(part, held["posterior_samples"]["w"][1:3][:, [4, 0]])
    assert 0 < sum(read) <= 2 * 5 * 2
    pytest.importorskip("dask")
    np.testing.assert_allclose(
        draws.chunk({"draw": 2}).mean("draw")[0], held["post_sample_means"]["w"], rtol=1e-5
    )


def test_names_of_axes_without_a_plate_and_of_scopes():
    pytest.importorskip("xarray")
    from pyro_posterior.exports.xarray import to_dataset

    posterior = factors()
    plain = to_dataset(posterior, "post_sample_means")
    assert plain["w"].dims == ("cells", "w_dim_1")
    assert plain["scope.g"].dims == ("genes",)
    named = to_dataset(
        posterior,
        "post_sample_means",
        dims={"w": ["factor"]},
        coords={"factor": ["a", "b"], "genes": ["x", "y", "z"]},
    )
    assert named["w"].dims == ("cells", "factor")
    assert named["factor"].values.tolist() == ["a", "b"]
    assert named["genes"].values.tolist() == ["x", "y", "z"]
    some = to_dataset(posterior, "post_sample_stds", sites=["one"])
    assert list(some) == ["one"]


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"coords": {"cells": ["a"]}}, "1 labels for dimension 'cells', which is of length 5"),
        ({"coords": {"spots": ["a"]}}, "dimension 'spots', which is unknown"),
        ({"dims": {"v": ["k"]}}, "dims names the site 'v'"),
        ({"dims": {"one": ["a", "b"]}}, "one draw of which has 1 axes"),
        ({"coords": {"cells": "abcde"}}, "give one label for every position"),
        ({"coords": {"cells": np.zeros((5, 2))}}, "give one label for every position"),
        ({"coords": ["a"]}, "coords must be a dict"),
        ({"dims": ["a"]}, "dims must be a dict"),
        ({"dims": {"one": 3}}, "give a list"),
        ({"sites": ["v"]}, "the posterior has no site 'v'"),
        ({"result": "posterior_samples"}, "draw with return_samples=True"),
    ],
)
def test_names_that_do_not_fit(kwargs, match):
    pytest.importorskip("xarray")
    from pyro_posterior.exports.xarray import to_dataset

    posterior = factors(return_samples=False)
    with pytest.raises(RequestError, match=match):
        to_dataset(posterior, **{"result": "post_sample_means", **kwargs})


def test_labels_of_the_host_are_used_and_kept(tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("zarr")
    from pyro_posterior.exports.xarray import to_dataset

    posterior = factors()
    posterior.coords = {"obs": np.array(list("abcde"), object), "var": np.arange(7)}
    dataset = to_dataset(posterior, "post_sample_means")
    assert dataset["cells"].values.tolist() == list("abcde")
    assert "var" not in dataset.coords
    given = to_dataset(posterior, "post_sample_means", coords={"obs": range(5)})
    assert given["cells"].values.tolist() == [0, 1, 2, 3, 4]
    assert isinstance(dataset, xarray.Dataset)


def test_a_summary_of_two_numbers_gets_an_axis_of_its_own():
    pytest.importorskip("xarray")
    from pyro_posterior.exports.pandas import to_pandas
    from pyro_posterior.exports.xarray import to_dataset

    posterior = factors(summary_fun={"ends": lambda x, axis: np.stack([x.min(axis), x.max(axis)])})
    array = to_dataset(posterior, "post_sample_ends")["w"]
    assert array.dims == ("w_post_sample_ends_0", "cells", "w_dim_1")
    table = to_pandas(posterior, "w")
    assert list(table) == ["cells", "w_dim_1", "ends_0", "ends_1"]
    np.testing.assert_array_equal(table["ends_1"], array[1].values.ravel())


# ---------------------------------------------------------------------------------------------- arviz


def test_arviz_summary_of_a_global_site_agrees(posterior):
    az = pytest.importorskip("arviz")
    from pyro_posterior.exports.arviz import to_arviz

    data = to_arviz(posterior, coords={"obs": NAMES})
    table = az.summary(data, var_names=["mu"], kind="stats", round_to="none")
    draws = np.asarray(posterior["posterior_samples"]["mu"], np.float64)
    assert table.loc["mu", "mean"] == pytest.approx(posterior["post_sample_means"]["mu"], rel=1e-5)
    assert table.loc["mu", "sd"] == pytest.approx(draws.std(ddof=1), rel=1e-5)
    assert table.loc["mu", "sd"] == pytest.approx(
        posterior["post_sample_stds"]["mu"] * (400 / 399) ** 0.5, rel=1e-4
    )
    kept = {key: {"mu": posterior[key]["mu"]} for key in posterior}
    assert_normal(Posterior(kept, posterior.plan), {"mu": ConjugateNormal().exact()["mu"]})


def test_arviz_groups_and_attributes(posterior):
    az = pytest.importorskip("arviz")
    from pyro_posterior.exports.arviz import to_arviz

    data = to_arviz(posterior)
    if int(az.__version__.split(".")[0]) == 0:
        assert isinstance(data, az.InferenceData)
    assert set(data["posterior"].data_vars) == {"mu", "twice_mu", "z", "mu_times_y", "sum"}
    assert data["posterior"]["z"].dims == ("chain", "draw", "obs")
    np.testing.assert_array_equal(data["observed_data"]["y"], ConjugateNormal().y)
    for name in ("created_at", "creation_library", "inference_library", "sampling_time"):
        assert name in data["posterior"].attrs
    assert az.summary(data, var_names=["z"], kind="stats").shape[0] == 22


def test_arviz_without_inference_data_gets_a_tree(posterior, monkeypatch):
    arviz = pytest.importorskip("arviz")
    xarray = pytest.importorskip("xarray")
    from pyro_posterior.exports.arviz import to_arviz

    def as_in_1_x(name):
        assert name == "InferenceData"
        warnings.warn("moved", stacklevel=1)
        return xarray.DataTree

    if "InferenceData" in vars(arviz):
        monkeypatch.delattr(arviz, "InferenceData")
        monkeypatch.setattr(arviz, "__getattr__", as_in_1_x, raising=False)
    tree = to_arviz(posterior)
    assert isinstance(tree, xarray.DataTree)
    assert set(tree.children) == {"posterior", "observed_data"}
    assert tree["posterior"]["z"].dims == ("chain", "draw", "obs")


def test_arviz_1_takes_the_tree(posterior, tmp_path):
    az = pytest.importorskip("arviz", "1.0")  # needs Python 3.12
    from pyro_posterior.exports.arviz import to_arviz

    tree = to_arviz(posterior, coords={"obs": NAMES})
    draws = np.asarray(posterior["posterior_samples"]["z"])
    table = az.summary(tree, var_names=["z"], kind="stats", ci_kind="eti", round_to="none")
    np.testing.assert_allclose(table["mean"], posterior["post_sample_means"]["z"], rtol=1e-5)
    assert table.index[4] == "z[cell 4]"
    interval = az.eti(tree, var_names=["z"], prob=0.9)["z"].values
    np.testing.assert_allclose(interval, np.quantile(draws, [0.05, 0.95], axis=0).T, rtol=1e-4)


def test_arviz_needs_draws():
    pytest.importorskip("arviz")
    from pyro_posterior.exports.arviz import to_arviz

    with pytest.raises(RequestError, match="draw with return_samples=True"):
        to_arviz(factors(return_samples=False))


# --------------------------------------------------------------------------------------------- pandas


def test_pandas_table_of_one_site(posterior, held):
    pytest.importorskip("pandas")
    from pyro_posterior.exports.pandas import to_pandas

    table = to_pandas(posterior, "z", coords={"obs": NAMES})
    assert list(table) == ["obs", "means", "stds", "q05", "q95"]
    assert table["obs"].tolist() == NAMES
    np.testing.assert_array_equal(table["q05"], held["post_sample_q05"]["z"])
    wide = to_pandas(factors(), "w", dims={"w": ["factor"]})
    assert wide[["cells", "factor"]].to_numpy().tolist() == [
        [c, f] for c in range(5) for f in (0, 1)
    ]


def test_pandas_table_of_scalars_and_of_draws(posterior, held):
    pytest.importorskip("pandas")
    from pyro_posterior.exports.pandas import to_pandas

    table = to_pandas(posterior).set_index("site")
    assert table.index.tolist() == ["mu", "twice_mu"]
    assert table.loc["mu", "stds"] == held["post_sample_stds"]["mu"]
    draws = to_pandas(posterior, "z", draws=True)
    assert list(draws) == ["draw", "obs", "value"]
    assert (
        draws.query("draw == 5 and obs == 3")["value"].item()
        == (held["posterior_samples"]["z"][5, 3])
    )
    long = to_pandas(posterior, draws=True)
    assert len(long) == 2 * 400
    assert list(long) == ["site", "draw", "value"]


def test_pandas_refusals():
    pytest.importorskip("pandas")
    from pyro_posterior.exports.pandas import to_pandas

    posterior = factors(return_samples=False)
    with pytest.raises(RequestError, match="the posterior has no site 'v'"):
        to_pandas(posterior, "v")
    with pytest.raises(RequestError, match="draw with return_samples=True"):
        to_pandas(posterior, "w", draws=True)
    assert len(to_pandas(posterior)) == 0


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("xarray", "xarray import to_xarray as f"),
        ("arviz", "arviz import to_arviz as f"),
        ("pandas", "pandas import to_pandas as f"),
    ],
)
def test_an_absent_package_is_named(package, call):
    code = (
        f"import sys; sys.modules['{package}'] = None\n"
        f"from pyro_posterior.exports.{call}\n"
        "from pyro_posterior import Posterior\n"
        "try:\n    f(Posterior({}, None))\n"
        "except ImportError as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(MissingPackageError.__name__)
    assert f"needs the package '{package}'" in done.stdout
    assert "pip install 'pyro-posterior[arviz]'" in done.stdout
