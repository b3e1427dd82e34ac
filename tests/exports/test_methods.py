"""The methods of a posterior: table, folder, notebook's view; the exports have tests of their own."""

from __future__ import annotations

import re

import numpy as np
import pytest

from exports.made import made
from pyro_posterior import Posterior
from pyro_posterior.errors import RequestError, StoreError
from pyro_posterior.exports.sketches import sketch

NASTY = "<img src=x onerror=alert(1)>"


def small(**options):
    rng = np.random.default_rng(0)
    draws = {
        "scale": rng.gamma(2.0, size=200),
        NASTY: rng.normal(size=(200, 3)),
        "w": rng.normal(size=(200, 4, 2)),
        "wide": rng.normal(size=(200, 4, 600)),
    }
    return made(draws, local=("w", "wide"), num_obs=4, **options)


def test_the_table_has_arvizs_numbers():
    az = pytest.importorskip("arviz")
    posterior = small(keep=True, coords={"obs": list("abcd")})
    table = posterior.summary()
    theirs = az.summary(posterior.to_arviz(), kind="stats", round_to="none")
    assert table.loc["w[b, 1]", "mean"] == pytest.approx(theirs.loc["w[b, 1]", "mean"])
    numbers = ["mean", "sd", "eti_5%", "eti_95%"]
    assert list(table) == [*numbers, *(f"mcse_{name}" for name in numbers)]
    for name in ("scale", "w[d, 0]", f"{NASTY}[2]"):
        assert table.loc[name, "mean"] == pytest.approx(theirs.loc[name, "mean"], rel=1e-6)
        assert table.loc[name, "sd"] == pytest.approx(
            theirs.loc[name, "sd"] * np.sqrt(199 / 200), rel=1e-6
        )
    assert table.loc["w[c, 0]", "eti_95%"] == posterior.q95["w"][2, 0]


def test_errors_are_those_of_independent_draws_and_the_table_says_so():
    az = pytest.importorskip("arviz")
    posterior = small(keep=True)
    table = posterior.summary("w")
    assert "upper bound" in table.attrs["mcse"]
    theirs = az.summary(posterior.to_arviz(), kind="all", round_to="none")
    for name in ("mcse_mean", "mcse_sd"):  # with the number of draws that it takes them to be worth
        ratio = table[name] / theirs.loc[table.index, name].astype(float)
        assert ratio.median() == pytest.approx(1, abs=0.15)
    assert list(small().summary("w")) == ["mean", "sd", "eti_5%", "eti_95%", "mcse_mean"]


def test_a_large_site_is_one_row_unless_asked_for():
    pytest.importorskip("pandas")
    posterior = small()
    row = posterior.summary().loc["wide (4 × 600 values: summary('wide'))"]
    assert row.isna().all()
    assert len(posterior.summary("wide")) == 2400
    assert len(posterior.summary(["w", "scale"])) == 9
    with pytest.raises(KeyError, match="no site 'v'"):
        posterior.summary("v")


def test_other_summaries_and_their_errors_are_named_as_what_they_are():
    pytest.importorskip("pandas")
    posterior = small()
    for name, error in (("means", 0.25), ("q05", 0.5)):
        posterior[f"post_sample_{name}_mcse"] = {
            site: np.full(np.shape(array), error) for site, array in posterior.means.items()
        }
    table = posterior.summary("w")
    assert (table["mcse_mean"] == 0.25).all()
    assert (table["mcse_eti_5%"] == 0.5).all()
    posterior.clear()
    posterior["post_sample_sd"] = {"w": np.ones((4, 2))}
    assert list(posterior.summary("w")) == ["sd"]


@pytest.mark.parametrize("keep", [False, True])
def test_saving_and_opening_give_it_back(keep, tmp_path):
    pytest.importorskip("zarr")
    posterior = small(keep=keep, coords={"obs": list("abcd")}, nonfinite={"w": 3, "scale": 1})
    assert posterior.save(tmp_path / "s") == tmp_path / "s"
    again = Posterior.open(tmp_path / "s")
    assert list(again) == list(posterior)
    for name, arrays in posterior.items():
        for site, array in arrays.items():
            np.testing.assert_array_equal(np.asarray(again[name][site]), array)
    assert again.coords["obs"].tolist() == list("abcd")
    assert again.nonfinite == posterior.nonfinite
    assert again.info == posterior.info
    again.save(tmp_path / "t")
    with pytest.raises(StoreError, match="holds something already"):
        again.save(tmp_path / "t")
    posterior.save(tmp_path / "t", overwrite=True)
    if keep:
        with pytest.raises(RequestError, match="is read from"):
            again.save(tmp_path / "s", overwrite=True)
        np.testing.assert_array_equal(np.asarray(again.draws["w"]), posterior.draws["w"])


def test_a_notebook_shows_sites_dims_and_pictures():
    posterior = small(keep=True, coords={"obs": list("abcd")}, nonfinite={"w": 3})
    page = posterior._repr_html_()
    assert "<img" not in page
    assert "&lt;img src=x" in page
    assert "cells: 4, wide_dim_1: 600" in page
    assert "3 not finite" in page
    assert page.count("<svg") == 4
    assert len(page) < 60_000
    low, high = posterior.means["w"].min(), posterior.means["w"].max()
    assert f"{low:.4g} to {high:.4g}" in page


def test_sketches_hold_the_values():
    bars = re.findall(r'height="([\d.]+)"/>', sketch(np.array([1.0, 2.0, 4.0])))
    assert [float(x) for x in bars] == [7.0, 14.0, 28.0]
    assert sketch(np.array([1.0, np.nan, 2.0])).count("<rect") == 2
    shades = re.findall(r'opacity="([\d.]+)"', sketch(np.array([[0.0, 1.0], [2.0, np.nan]])))
    assert shades == ["0.05", "0.53", "1.00"]
    assert sketch(np.ones((3000, 500))).count("<rect") == 14 * 40
    assert sketch(np.ones(5000)).count("<rect") == 60


def test_a_picture_needs_to_know_of_what():
    with pytest.raises(RequestError, match="plot needs one site, found None"):
        small().plot()


def test_a_folder_is_not_named_like_a_file(tmp_path):
    with pytest.raises(RequestError, match="to_netcdf"):
        small().save(tmp_path / "run.nc")
    assert not list(tmp_path.iterdir())
