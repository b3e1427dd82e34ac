import numpy as np
import pytest

from exports.made import made
from pyro_posterior.errors import RequestError
from pyro_posterior.exports import views
from pyro_posterior.exports.views import SiteView


@pytest.fixture
def draws():
    return np.random.default_rng(0).normal(size=(50, 30, 4))


@pytest.mark.parametrize("piece", [1, 13, 10**6])
def test_figures_are_numpys_whatever_the_pieces(draws, piece, monkeypatch):
    monkeypatch.setattr(views, "_PIECE", piece)
    draws[:, 3] = 0.0
    figures = SiteView(made({"z": draws}, nonfinite={"z": 7}), "z").figures()
    means, (low, high) = draws.mean(0), np.quantile(draws, [0.05, 0.95], axis=0)
    assert figures.middle_low == means.min()
    assert figures.middle_high == means.max()
    assert figures.widest == (high - low).max()
    assert figures.zeros == 4 / 120
    assert figures.nonfinite == 7


def test_infinite_and_missing_middles_are_left_out(draws):
    draws[0, 0] = np.inf
    draws[:, 1] = np.nan
    with np.errstate(invalid="ignore"):
        figures = SiteView(made({"z": draws}), "z").figures()
    assert figures.middle_high == draws[:, 2:].mean(0).max()
    assert figures.zeros == 0


def test_only_nan_gives_no_figures():
    figures = SiteView(made({"z": np.full((5, 3), np.nan)}), "z").figures()
    assert (figures.middle_low, figures.widest, figures.zeros) == (None, None, None)


def test_draws_stand_in_for_missing_summaries(draws):
    posterior = made({"z": draws}, keep=True)
    for name in ("means", "q05", "q95"):
        del posterior[f"post_sample_{name}"]
    view = SiteView(posterior, "z")
    assert (view.middle, view.interval) == ("mean", "5 % to 95 %")
    middle, low, high = (np.concatenate(x) for x in zip(*view.pieces(), strict=True))
    np.testing.assert_array_equal(middle, draws.mean(0))
    np.testing.assert_array_equal([low, high], np.quantile(draws, [0.05, 0.95], axis=0))


def test_other_quantiles_give_another_interval(draws):
    posterior = made({"z": draws})
    posterior["post_sample_q025"] = posterior.pop("post_sample_q05")
    posterior["post_sample_q975"] = posterior.pop("post_sample_q95")
    assert SiteView(posterior, "z").interval == "2.5 % to 97.5 %"


def test_one_quantile_is_no_interval(draws):
    posterior = made({"z": draws})
    del posterior["post_sample_q05"]
    view = SiteView(posterior, "z")
    assert view.interval is None
    assert view.figures().widest is None


def test_labels_come_from_the_plate_or_the_host(draws):
    names = [f"cell{i}" for i in range(30)]
    for key in ("cells", "obs"):
        view = SiteView(made({"z": draws}, local=("z",), num_obs=30, coords={key: names}), "z")
        assert list(view.labels(0)) == names
        assert view.labels(1) is None
    view = SiteView(made({"z": draws}, local=("z",), num_obs=30, coords={"obs": names[:3]}), "z")
    assert view.labels(0) is None


def test_unknown_site_names_the_known_ones(draws):
    with pytest.raises(RequestError, match=r"no site 'q'. Its sites are \['z'\]"):
        SiteView(made({"z": draws}), "q")


def test_nothing_shaped_as_the_site_is_an_error(draws):
    posterior = made({"z": draws})
    for name in list(posterior):
        posterior[name] = {"z": posterior[name]["z"].sum()}
    with pytest.raises(RequestError, match="'z' has neither draws nor a summary"):
        SiteView(posterior, "z")


def test_draws_are_read_in_pieces_too(draws, monkeypatch):
    class Lazy:
        shape, largest = draws.shape, 0

        def __len__(self):
            return len(draws)

        def __getitem__(self, index):
            Lazy.largest = max(Lazy.largest, draws[index].size)
            return draws[index]

    monkeypatch.setattr(views, "_PIECE", 1000)
    posterior = made({"z": draws}, keep=True)
    for name in list(posterior):
        del posterior[name]
    posterior["posterior_samples"] = {"z": Lazy()}
    figures = SiteView(posterior, "z").figures()
    assert 0 < Lazy.largest <= 1000
    assert figures.middle_high == draws.mean(0).max()
