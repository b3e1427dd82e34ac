import sys

import numpy as np
import pytest

from exports.made import made
from pyro_posterior.errors import MissingPackageError, RequestError
from pyro_posterior.exports.plots import plot_site

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")


@pytest.fixture(autouse=True)
def _closed():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture
def posterior():
    rng = np.random.default_rng(0)
    draws = {
        "scalar": rng.normal(size=200),
        "few": rng.normal(size=(200, 5)),
        "long": rng.normal(size=(200, 900)),
        "many": rng.normal(size=(200, 60, 20)),
        "positive": rng.gamma(2.0, size=(200, 60, 20)),
    }
    return made(draws, keep=True)


def test_histogram(posterior):
    ax = plot_site(posterior, "scalar")
    heights = ax.patches[0].get_data().values
    assert heights.sum() == 200
    lines = [line.get_xdata()[0] for line in ax.lines]
    draws = posterior["posterior_samples"]["scalar"]
    np.testing.assert_allclose(lines, [draws.mean(), *np.quantile(draws, [0.05, 0.95])])


def test_forest_has_a_line_and_a_dot_a_row(posterior):
    ax = plot_site(posterior, "few")
    (rods,) = ax.collections
    ends = np.array([segment[:, 0] for segment in rods.get_segments()])
    np.testing.assert_array_equal(ends[:, 0], posterior["post_sample_q05"]["few"])
    np.testing.assert_array_equal(ends[:, 1], posterior["post_sample_q95"]["few"])
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), posterior["post_sample_means"]["few"])
    assert [text.get_text() for text in ax.get_yticklabels()] == list("01234")
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row on top


def test_profile(posterior):
    ax = plot_site(posterior, "long")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), posterior["post_sample_means"]["long"])
    assert len(ax.collections) == 1


def test_heat_map_of_means_and_widths(posterior):
    ax = plot_site(posterior, "many")
    np.testing.assert_array_equal(ax.images[0].get_array(), posterior["post_sample_means"]["many"])
    assert ax.images[0].get_cmap().name == "RdBu_r"
    assert plot_site(posterior, "positive").images[0].get_cmap().name == "viridis"
    width = posterior["post_sample_q95"]["many"] - posterior["post_sample_q05"]["many"]
    np.testing.assert_array_equal(
        plot_site(posterior, "many", show="width").images[0].get_array(), width
    )


def test_down_sampling_is_said_in_the_title(posterior):
    assert (
        "Down-sampled to 10 × 10 blocks" in plot_site(posterior, "many", max_cells=100).get_title()
    )


def test_draws_on_the_axes_given(posterior):
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    assert plot_site(posterior, "few", ax) is ax
    assert len(plt.get_fignums()) == 1


def test_bad_requests(posterior):
    with pytest.raises(RequestError, match="show='sd' is unknown"):
        plot_site(posterior, "many", show="sd")
    with pytest.raises(RequestError, match="'few' is drawn as a forest"):
        plot_site(posterior, "few", show="width")
    with pytest.raises(RequestError, match="no site 'nope'"):
        plot_site(posterior, "nope")


def test_without_matplotlib(posterior, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'pyro-posterior\[plot\]'"):
        plot_site(posterior, "few")
