"""ArviZ's pictures, through `Posterior.plot`."""

from __future__ import annotations

import numpy as np
import pytest

from exports.made import made
from pyro_posterior.errors import RequestError

pytest.importorskip("arviz")
pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture
def posterior():
    rng = np.random.default_rng(0)
    draws = {"a/b": rng.normal(size=100), "c": rng.normal(3.0, size=(100, 2))}
    yield made(draws, keep=True, coords={"c_dim_0": ["left", "right"]})
    pyplot.close("all")


def texts(_):
    """Words in the figure drawn last."""
    return " ".join(text.get_text() for text in pyplot.gcf().findobj(pyplot.Text))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("forest", ["a.b", "c[left]", "[right]"]),
        ("posterior", ["a.b", "left"]),
        ("pair", ["a.b", "left", "right"]),
        ("trace", ["a.b", "c"]),
    ],
)
def test_arvizs_pictures_have_the_names(posterior, kind, words):
    shown = texts(posterior.plot(kind=kind))
    for word in words:
        assert word in shown
    assert "a.b" not in texts(posterior.plot("c", kind=kind))
    assert "a.b" in texts(posterior.plot(["c", "a/b"], kind=kind))


def test_unknown_kinds_and_sites_are_said(posterior):
    with pytest.raises(RequestError, match=r"kind='violin' is unknown: choose one of \['forest'"):
        posterior.plot(kind="violin")
    with pytest.raises(KeyError, match="no site 'd'"):
        posterior.plot("d", kind="forest")
    with pytest.raises(RequestError, match="plot needs one site, found .*kind='forest'"):
        posterior.plot(["a/b", "c"])
    del posterior["posterior_samples"]
    with pytest.raises(KeyError, match="return_samples=True"):
        posterior.plot("c", kind="forest")
