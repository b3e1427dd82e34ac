"""Data of every kind mean the same rows; what cannot be told is an error that says what to give."""

from __future__ import annotations

import types
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior import PyroSampleMixin
from pyro_posterior.batches import open_batches
from pyro_posterior.data.kinds import as_tensor, cut, length
from pyro_posterior.errors import RequestError
from toy_models import assert_same, sample

VALUES = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 3.0], [4.0, 0.0], [0.0, 5.0]])
pandas = pytest.importorskip("pandas")
sparse = pytest.importorskip("scipy.sparse")
xarray = pytest.importorskip("xarray")


def model(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    dense = x.to_dense() if x.layout != torch.strided else x
    with pyro.plate("rows", len(x)):
        pyro.sample("z", dist.Normal(mu + dense.sum(-1), 1.0))


def read_only():
    array = VALUES.numpy().copy()
    array.flags.writeable = False
    return array


def compressed(layout):
    with warnings.catch_warnings(action="ignore"):  # torch calls these layouts beta
        return VALUES.to_sparse(layout=layout)


FULL = {
    "array": VALUES.numpy,
    "read-only array": read_only,
    "reversed array": lambda: np.ascontiguousarray(VALUES.numpy()[::-1])[::-1],
    "big-endian array": lambda: VALUES.numpy().astype(">f4"),
    "DataFrame": lambda: pandas.DataFrame(VALUES.numpy(), index=list("edcba")),
    "DataArray": lambda: xarray.DataArray(VALUES.numpy(), dims=("cell", "gene")),
    "csr matrix": lambda: sparse.csr_matrix(VALUES.numpy()),
    "csc array": lambda: sparse.csc_array(VALUES.numpy()),
    "coo array": lambda: sparse.coo_array(VALUES.numpy()),
    "sparse tensor": VALUES.to_sparse,
    "csr tensor": lambda: compressed(torch.sparse_csr),
    "tuple of a DataFrame": lambda: (pandas.DataFrame(VALUES.numpy()),),
    "dict of a csr matrix": lambda: {"x": sparse.csr_matrix(VALUES.numpy())},
    "Dataset": lambda: xarray.Dataset({"x": (("cell", "gene"), VALUES.numpy())}),
}


def by_mixin(data, engine):
    """A host's own function makes the arguments; here from whatever its loader gives."""
    module = types.SimpleNamespace(
        model=model, guide=model, _get_fn_args_from_batch=lambda batch: ((as_tensor(batch),), {})
    )
    host = type("Host", (PyroSampleMixin,), {"module": module})()
    return host.sample_posterior(
        input_dl=[cut(data, 0, 2), cut(data, 2, 4), cut(data, 4, 6)],
        num_samples=4,
        return_samples=True,
        seed=1,
        engine=engine,
        accelerator="cpu",
        show_progress=False,
    )


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("name", FULL)
def test_full_data(name, batch_size, engine):
    """Of a sparse tensor the model gets a sparse one, of SciPy's a dense one."""
    options = {"num_samples": 4, "return_samples": True, "engine": engine, "obs_plate": "rows"}
    if "tensor" in name and engine == "sliced":
        options["engine"] = "auto"  # where sparse ones are taken as far as they can be
    found = sample(model, model, FULL[name](), batch_size=batch_size, **options)
    expected = sample(model, model, VALUES, batch_size=batch_size, **options)
    for site in ("mu", "z"):
        np.testing.assert_allclose(found.draws[site], expected.draws[site], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["array", "DataFrame", "DataArray", "csr matrix"])
def test_in_the_mixin(name, engine):
    assert_same(by_mixin(FULL[name](), engine), by_mixin(VALUES, engine))


def test_a_series_is_one_argument():
    found = open_batches(pandas.Series([1.0, 2.0, 3.0]), 2, None, torch.device("cpu"))
    assert [x.args[0].tolist() for x in found] == [[1.0, 2.0], [3.0]]


def test_to_args_gets_tables_as_they_are():
    table = pandas.DataFrame({"kind": list("abbab"), "value": VALUES[:, 0].numpy()})

    def to_args(rows):
        codes = torch.tensor((rows["kind"] == "b").to_numpy())
        return (torch.tensor(rows["value"].to_numpy()) * codes,), {}

    batches = open_batches(table, 3, to_args, torch.device("cpu"))
    assert [x.args[0].tolist() for x in batches] == [[0.0, 2.0, 0.0], [0.0, 0.0]]
    assert not batches.fixed
    assert open_batches(VALUES, 3, None, torch.device("cpu")).fixed


def test_an_anndata_needs_to_args():
    anndata = pytest.importorskip("anndata")
    adata = anndata.AnnData(sparse.csr_matrix(VALUES.numpy()))
    with pytest.raises(RequestError, match=r"AnnData.*to_args=.*scvi.sample_posterior"):
        sample(model, model, adata)
    found = sample(
        model,
        model,
        adata,
        batch_size=2,
        obs_plate="rows",
        num_samples=3,
        return_samples=True,
        to_args=lambda part: ((torch.tensor(part.X.toarray()),), {}),
    )
    expected = sample(
        model, model, VALUES, batch_size=2, obs_plate="rows", num_samples=3, return_samples=True
    )
    assert_same(found, expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pandas.DataFrame({"a": ["x", "y"]}), "DataFrame of object where .* numbers.*to_args="),
        (pandas.Series(["x", "y"]).astype("category"), "Series of object .*codes of categories"),
        (np.array(["x", "y"]), "ndarray of <U1 where the model needs numbers"),
        (pandas.Series([], dtype=float), "data holds no observations"),
        (sparse.csr_matrix((0, 3)), "data holds no observations"),
        (VALUES[:0].to_sparse(), "data holds no observations"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "1 masked values.*array.filled"),
        ([np.ma.masked_array([1.0, 2.0], [True, False])], "1 masked values.*array.filled"),
        (torch.nested.nested_tensor([VALUES[0], VALUES[0]]), "nested tensor.*to_padded_tensor"),
        ([torch.nested.nested_tensor([VALUES[0], VALUES[0]])], "nested tensor.*to_padded_tensor"),
        ([[1.0, 2.0], [3.0, 4.0]], "list of lists of numbers.*torch.tensor"),
    ],
)
def test_what_holds_no_numbers(data, message):
    with pytest.raises(RequestError, match=message):
        sample(model, model, data)


def test_parts():
    assert length(3) is None
    assert length(torch.tensor(1.0)) is None
    assert length(np.float64(1.0)) is None
    assert length(VALUES.to_sparse()) == 5
    assert cut("text", 0, 2) == "text"
    assert torch.equal(cut(VALUES.to_sparse(), 4, 9).to_dense(), VALUES[4:])
