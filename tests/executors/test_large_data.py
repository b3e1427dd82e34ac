"""Data that stay on the disk: shares of a run and workers of Dask read what they need themselves."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from store_helpers import assert_same_bytes
from toy_models import assert_same, sample

pytest.importorskip("zarr")

X = np.random.default_rng(0).poisson(3.0, (18, 4)).astype(np.float32)


def model(x):
    with pyro.plate("rows", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def guide(x):
    with pyro.plate("rows", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x / 2, 0.5).to_event(1))


def dense(table):
    """The counts of some rows of an AnnData, as arguments of the model."""
    return (torch.as_tensor(np.asarray(table.X)),), {}


def in_memory(folder):
    return X, None


def zarr_array(folder):
    import zarr

    path = str(folder / "x.zarr")
    zarr.create_array(path, data=X, chunks=(5, 4))
    return lambda: zarr.open_array(path, mode="r"), None


def hdf5(folder):
    h5py = pytest.importorskip("h5py")
    path = str(folder / "x.h5")
    with h5py.File(path, "w") as file:
        file["x"] = X
    return lambda: h5py.File(path, "r")["x"], None


def dask_array(folder):
    dask = pytest.importorskip("dask.array")
    return lambda: dask.from_array(X, chunks=(5, 4)), None


def backed_anndata(folder):
    anndata = pytest.importorskip("anndata")
    path = str(folder / "x.h5ad")
    anndata.AnnData(X).write_h5ad(path)
    return lambda: anndata.read_h5ad(path, backed="r"), dense


KINDS = [zarr_array, hdf5, dask_array, backed_anndata]


def draw(given, **kwargs):
    data, to_args = given
    options = {"to_args": to_args, "batch_size": 4, "obs_plate": "rows", "num_samples": 7}
    return sample(model, guide, data, **options, **kwargs)


@pytest.mark.filterwarnings("ignore::UserWarning:anndata")
@pytest.mark.parametrize("kind", KINDS)
def test_shares_of_data_on_disk_make_the_store_of_data_in_memory(tmp_path, kind):
    whole = draw(in_memory(tmp_path))
    given = kind(tmp_path)
    draw(given, store=tmp_path / "whole.zarr")
    for index in (1, 0):
        part = draw(given, store=tmp_path / "s.zarr", shard=(index, 2))
    assert_same(whole, part)
    assert_same_bytes(tmp_path / "whole.zarr", tmp_path / "s.zarr")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:anndata")
@pytest.mark.parametrize("kind", KINDS)
def test_workers_open_data_on_disk_themselves(tmp_path, client, kind):
    given = kind(tmp_path)
    whole = draw(given, store=tmp_path / "whole.zarr")
    there = draw(given, store=tmp_path / "there.zarr", client=client)
    assert_same(whole, there)
    assert_same_bytes(tmp_path / "whole.zarr", tmp_path / "there.zarr")
