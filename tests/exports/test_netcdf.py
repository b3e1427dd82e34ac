"""Files hold every kind of label in a form that comes back."""

from __future__ import annotations

import numpy as np
import pytest

from exports.made import made
from pyro_posterior.errors import OutputError, RequestError
from pyro_posterior.exports.netcdf import write_netcdf

pandas = pytest.importorskip("pandas")
xarray = pytest.importorskip("xarray")
pytest.importorskip("arviz")
pytest.importorskip("h5netcdf")

LABELS = {
    "levels": pandas.MultiIndex.from_product([["x", "y"], [1, 2]], names=["batch", "number"]),
    "ordered": pandas.Categorical(list("abca"), categories=list("cba"), ordered=True),
    "intervals": pandas.interval_range(0, 4),
    "periods": pandas.period_range("2020-01", periods=4, freq="M"),
    "zone": pandas.date_range("2020-03-28", periods=4, tz="Europe/Berlin"),
    "mixed": [1, "1", 2.5, None],
    "text": list("abcd"),
    "numbers": [0.5, 1.5, 2.5, 3.5],
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_come_back(kind, tmp_path):
    draws = np.random.default_rng(0).normal(size=(5, 4))
    posterior = made({"z": draws}, local=("z",), num_obs=4, keep=True)
    posterior.coords = {"obs": LABELS[kind]}
    path = write_netcdf(posterior, tmp_path / "p.nc")
    with xarray.open_dataset(path, group="posterior") as found:
        np.testing.assert_array_equal(found["z"].values[0], draws)
        if kind == "levels":
            again = found.set_index(cells=["batch", "number"])
            np.testing.assert_array_equal(
                again["z"].sel(batch="y", number=1).values[0], draws[:, 2]
            )
        elif kind == "zone":
            times = found.indexes["cells"].tz_localize("UTC").tz_convert("Europe/Berlin")
            assert times.equals(LABELS[kind])
        elif kind == "numbers":
            assert found["cells"].values.tolist() == LABELS[kind]
        else:
            assert found["cells"].values.tolist() == [str(x) for x in list(LABELS[kind])]


def test_an_older_file_stays_where_writing_fails(tmp_path):
    path = tmp_path / "p.nc"
    path.write_text("older")
    with pytest.raises(KeyError, match="return_samples=True"):
        write_netcdf(made({"z": np.zeros((2, 3))}), path)
    assert path.read_text() == "older"
    with pytest.raises(OutputError):
        write_netcdf(made({"z": np.zeros((2, 3))}, keep=True), tmp_path)


@pytest.mark.parametrize("label", ["a\x00b", "\ud800"])
def test_a_label_that_a_file_cannot_hold_is_named(label, tmp_path):
    posterior = made({"z": np.zeros((2, 3))}, keep=True, coords={"z_dim_0": ["a", label, "c"]})
    with pytest.raises(RequestError, match="cannot hold the label .* of dimension 'z_dim_0'"):
        posterior.to_netcdf(tmp_path / "p.nc")
    assert not (tmp_path / "p.nc").exists()
