"""Names of axes and labels along them: checked before drawing, kept in memory and on disk."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior import Posterior, PyroSampleMixin, sample_posterior
from pyro_posterior.errors import RequestError
from pyro_posterior.written import pack, unpack

pandas = pytest.importorskip("pandas")
CELLS, FACTORS = 6, 2

KINDS = {
    "text": list("abcdef"),
    "numbers and text": [1, "1", 2.5, True, None, "x"],
    "numbers": np.arange(CELLS) * 0.5,
    "times": pandas.date_range("2020-03-27", periods=CELLS),
    "times in a zone": pandas.date_range("2020-03-27", periods=CELLS, tz="Europe/Berlin"),
    "zone of a list": list(pandas.date_range("2020-03-27", periods=CELLS, tz="UTC+02:00")),
    "durations": pandas.to_timedelta(range(CELLS), "h"),
    "periods": pandas.period_range("2020-01", periods=CELLS, freq="Q"),
    "intervals": pandas.interval_range(0.0, 3.0, CELLS, closed="left"),
    "ordered": pandas.Categorical(list("abcabc"), categories=list("cbad"), ordered=True),
    "levels": pandas.MultiIndex.from_product([["x", "y"], range(3)], names=["batch", "number"]),
    "levels of kinds": pandas.MultiIndex.from_arrays(
        [pandas.Categorical(list("abcabc")), pandas.period_range("2020", periods=6, freq="Y")]
    ),
    "text with gaps": pandas.array(["a", None, "c", "d", "e", "f"], dtype="string"),
    "yes, no and unknown": pandas.array([True, None, False] * 2, dtype="boolean"),
    "half a float": np.arange(CELLS, dtype=np.float16),
    "long floats": np.arange(CELLS, dtype=np.longdouble),
    "text of NumPy's own": np.array(list("abcdef"), np.dtypes.StringDType()),
    "Int64": pandas.array(range(CELLS), dtype="Int64"),
    "series": pandas.Series(list("abcdef"), dtype="string"),
}


#: Labels of these kinds are held as others that are equal.
HELD_IN_ANOTHER_WAY = {
    "Int64": range(CELLS),
    "series": list("abcdef"),
    "text with gaps": pandas.Series(["a", None, "c", "d", "e", "f"], dtype=object),
    "yes, no and unknown": pandas.Series([True, None, False] * 2, dtype=object),
    "half a float": np.arange(CELLS, dtype=np.float32),
    "long floats": np.arange(CELLS, dtype=np.float64),
    "text of NumPy's own": list("abcdef"),
}


def index_of(labels):
    return labels if isinstance(labels, pandas.Index) else pandas.Index(labels)


def model(x):
    pyro.sample("level", dist.Normal(torch.zeros(FACTORS), 1.0).to_event(1))
    with pyro.plate("cells", CELLS, subsample_size=len(x)):
        pyro.sample("w", dist.Normal(torch.zeros(len(x), FACTORS), 1.0).to_event(1))


def drawn(**options):
    data = [torch.zeros(4), torch.zeros(2)]
    return sample_posterior(
        model, model, data, obs_plate="cells", num_samples=4, seed=1, engine="loop",
        show_progress=False, **options,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_labels_come_back_from_their_written_form(kind):
    given = index_of(HELD_IN_ANOTHER_WAY.get(kind, KINDS[kind]))
    found = unpack(pack({"obs": KINDS[kind]}))["obs"]
    assert all(array.dtype.kind in "biufO" for array in pack({"obs": KINDS[kind]}).values())
    back = index_of(found)
    assert back.tolist() == given.tolist()
    assert [*map(type, back.tolist())] == [*map(type, given.tolist())]
    if kind not in HELD_IN_ANOTHER_WAY:
        assert back.equals(given)
        assert back.dtype == given.dtype


def test_what_has_no_written_form_is_refused_before_drawing(tmp_path):
    pytest.importorskip("zarr")
    labels = [object() for _ in range(CELLS)]
    assert len(drawn(coords={"obs": labels}).coords["obs"]) == CELLS
    with pytest.raises(RequestError, match="that a store cannot hold.*or draw without store="):
        drawn(coords={"obs": labels}, store=tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("kind", ["levels", "ordered", "intervals", "periods", "times in a zone"])
def test_a_store_and_xarray_keep_the_kind(kind, tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("zarr")
    labels = index_of(KINDS[kind])
    drawn(coords={"cells": labels}, dims={"w": ["factor"]}, store=tmp_path / "s")
    posterior = Posterior.open(tmp_path / "s")
    found = posterior.to_dataset()["w"]
    assert found.dims == ("cells", "factor")
    coords = (
        xarray.Coordinates.from_pandas_multiindex(labels, "cells")
        if kind == "levels"
        else {"cells": labels}
    )
    plain = xarray.DataArray(posterior.means["w"], coords, ("cells", "factor"))
    xarray.testing.assert_identical(found.drop_attrs(), plain.rename("w"))
    choice = {
        "levels": {"batch": "y", "number": 1},
        "ordered": {"cells": "b"},
        "intervals": {"cells": 1.2},
        "periods": {"cells": "2020Q3"},
        "times in a zone": {"cells": labels[2]},
    }[kind]
    np.testing.assert_array_equal(found.sel(choice), plain.sel(choice))
    assert found.sel(choice).size in (FACTORS, 2 * FACTORS)


def test_columns_of_tables_keep_categories_and_levels():
    table = drawn(coords={"obs": KINDS["ordered"]}).to_pandas("w")
    assert table["cells"].cat.ordered
    assert table["cells"].tolist() == [x for x in "abcabc" for _ in range(FACTORS)]
    table = drawn(coords={"obs": KINDS["levels"]}).to_pandas("w")
    assert list(table)[:2] == ["batch", "number"]
    assert table["number"].tolist() == [n for n in (0, 1, 2, 0, 1, 2) for _ in range(FACTORS)]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"coords": {"cells": ["a"]}}, "1 labels for dimension 'cells', which is of length 6"),
        ({"coords": {"spots": ["a"]}}, "'spots', which is unknown. The dimensions are .*'cells'"),
        ({"coords": {"cells": [("a", i) for i in range(6)]}}, "as a pandas.MultiIndex"),
        ({"dims": {"v": ["k"]}}, "dims names the site 'v'; the sites are"),
        ({"dims": {"w": ["k", "k"]}}, "dims gives one name to two axes of site 'w'"),
        ({"dims": {"w": ["k"], "level": ["cells"]}}, None),
        ({"dims": {"w": ["k", "f"], "level": ["k"]}}, "length 6 of site 'w' and .* length 2"),
        ({"dims": {"w": ["level"]}}, "'level' to an axis of site 'w', which is the name of a site"),
        ({"dims": {"w": ["draw"]}}, "the name of an axis of draws"),
        ({"dims": {"w": [3]}}, "gives 3 as a name"),
        ({"dims": {"w": ["a/b"]}}, "a text without slashes"),
        ({"dims": {"w": "k"}}, "give a list with at most that many names"),
        ({"dims": {"w": ["a", "b", "c"]}}, "one draw of which has 2 axes"),
        (
            {"coords": {"cells": KINDS["levels"].set_names(["cells", "number"])}},
            "a level 'cells', which is the name of another level, of a dimension or of a site",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_drawing(options, match):
    if match is None:  # one plate's name for another length: the plate's own gives way
        assert drawn(**options).sites["level"].dims == ("cells",)
        return
    calls = []

    def counted(draws, axis):
        calls.append(1)
        return draws.mean(axis)

    with pytest.raises(RequestError, match=match):
        drawn(**options, summary_fun={"means": counted})
    assert not calls


class Host(PyroSampleMixin):
    """A host with an AnnData and names of factors."""

    def __init__(self, adata, factors):
        class Module:
            def __init__(self):
                self.model = self.guide = model
                self.list_obs_plate_vars = {"name": "cells"}

            def _get_fn_args_from_batch(self, batch):
                return (batch,), {}

        self.module, self.adata, self.factor_names_ = Module(), adata, factors

    def _make_data_loader(self, batch_size):
        return [torch.zeros(4), torch.zeros(2)]


def test_a_host_names_observations_and_factors_by_itself():
    anndata = pytest.importorskip("anndata")
    adata = anndata.AnnData(np.zeros((CELLS, 5), np.float32))
    adata.obs_names = [f"cell {i}" for i in range(CELLS)]
    host = Host(adata, ["T", "B"])
    posterior = host.sample_posterior(num_samples=2, show_progress=False)
    assert posterior.sites["w"].dims == ("cells", "factor")
    assert posterior.sites["level"].dims == ("factor",)
    named = posterior.to_dataset()["w"]
    assert named.sel(cells="cell 4", factor="B").item() == posterior.means["w"][4, 1]
    own = host.sample_posterior(num_samples=2, show_progress=False, dims={"w": ["k"]})
    assert own.sites["w"].dims == ("cells", "k")
    posterior.to_anndata(adata)
    assert list(adata.obsm["means_w"].columns) == ["T", "B"]


def test_an_axis_that_could_be_of_two_kinds_is_not_named():
    anndata = pytest.importorskip("anndata")
    adata = anndata.AnnData(np.zeros((CELLS, 2), np.float32))
    posterior = Host(adata, ["T", "B"]).sample_posterior(num_samples=2, show_progress=False)
    assert posterior.sites["level"].dims == (None,)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ((c for c in "abcdef"), "a generator"),
        (set("abcdef"), "a set"),
        ("abcdef", "a str"),
        (None, "a NoneType"),
        (np.zeros((CELLS, 2)), r"an array of shape \(6, 2\)"),
        (np.zeros(CELLS, [("a", int), ("b", float)]), "records"),
    ],
)
def test_what_is_no_list_of_labels_is_called_what_it_is(labels, found):
    with pytest.raises(RequestError, match=f"coords gives {found} for dimension 'obs'"):
        drawn(coords={"obs": labels})


@pytest.mark.parametrize("name", ["w", "level", "draw", "chain", "cells"])
def test_a_level_named_as_something_else_is_refused_before_drawing(name):
    levels = pandas.MultiIndex.from_product([["x", "y"], range(3)], names=[name, "number"])
    with pytest.raises(RequestError, match=f"a level '{name}'.*rename it"):
        drawn(coords={"obs": levels})


def test_labels_of_xarray_are_its_values():
    xarray = pytest.importorskip("xarray")
    found = drawn(coords={"obs": xarray.DataArray(list("abcdef"))}).coords["obs"]
    assert found.tolist() == list("abcdef")


def test_a_label_that_is_no_text_of_a_file_is_refused_before_drawing(tmp_path):
    pytest.importorskip("zarr")
    with pytest.raises(RequestError, match="the label .* for dimension 'obs'.*other characters"):
        drawn(coords={"obs": ["\ud800", *"bcdef"]}, store=tmp_path / "s")
    assert not (tmp_path / "s").exists()
