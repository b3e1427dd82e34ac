"""Kind, scope, batch axis and dims of every sort of site, and how the obs plate is found."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import RequestError
from pyro_posterior.joint import JointSampler
from pyro_posterior.reading.read import read
from pyro_posterior.reading.result import Reading
from toy_models import sample

TOTAL = 12


def _normal(y, *shape):
    return dist.Normal(y.new_zeros(shape), 1.0)


def _model(y, index=None):
    """One of everything; called with ``y`` of shape ``(rows, 4)``."""
    g = pyro.sample("g", _normal(y))
    pyro.deterministic("g_det", g * 2)
    pyro.sample("w", _normal(y, 3, 2).to_event(1))
    with pyro.plate("genes", 4, dim=-1):
        gene = pyro.sample("gene", _normal(y))
    with pyro.plate("obs", TOTAL, subsample=index, dim=-2):
        rows = y.shape[0]
        pyro.sample("z", _normal(y))
        pyro.sample("z_event", _normal(y, 5).to_event(1))
        x = pyro.sample("x", _normal(y, rows, 1))
        pyro.deterministic("det", x + gene)
        pyro.deterministic("det_event", x[..., None] * y.new_ones(3), event_dim=1)
        pyro.deterministic("of_global", g + 1)
        pyro.deterministic("flat", x.squeeze(-1))
        pyro.deterministic("neighbours", y.reshape(rows * 2, 2) * g)
        pyro.factor("penalty", -(x**2).sum(-1, keepdim=True))
        pyro.sample("helper", _normal(y), infer={"is_auxiliary": True})
        with pyro.plate("genes_in", 4, dim=-1):
            pyro.sample("nested", _normal(y))
            pyro.sample("y", dist.Normal(x + gene, 1.0), obs=y)
    pyro.deterministic("outside", x[:, 0] * g)
    pyro.factor("whole", g)
    pyro.param("parameter", y.new_ones(3))


def _read(model, guide, *batches, obs_plate=None, **options) -> Reading:
    """A reading of minibatches with these arguments."""
    sampler = JointSampler(model, guide, 0, obs_plate)
    minibatches = [Minibatch(i, args) for i, args in enumerate(batches)]
    return read(sampler, minibatches, **options)


def _site(reading, name):
    return next(site for site in reading.sites if site.name == name)


#: A guide for every latent site of `_model`: the prior.
_from_prior = poutine.block(
    _model, hide_fn=lambda msg: msg["type"] != "sample" or msg["is_observed"]
)


Y = torch.arange(TOTAL * 4.0).reshape(TOTAL, 4)
HALVES = [(Y[k : k + 6], torch.arange(k, k + 6)) for k in (0, 6)]


@pytest.fixture(scope="module")
def table() -> Reading:
    return _read(_model, _from_prior, *HALVES)


#: name: kind, scope, shape, batch axis, rows per observation, dims
EXPECTED = {
    "g": ("latent", "global", (), None, 1, ()),
    "g_det": ("deterministic", "global", (), None, 1, ()),
    "w": ("latent", "global", (3, 2), None, 1, (None, None)),
    "gene": ("latent", "global", (4,), None, 1, ("genes",)),
    "z": ("latent", "local", (6, 1), -2, 1, ("obs", None)),
    "z_event": ("latent", "local", (6, 1, 5), -3, 1, ("obs", None, None)),
    "x": ("latent", "local", (6, 1), -2, 1, ("obs", None)),
    "det": ("deterministic", "local", (6, 4), -2, 1, ("obs", None)),
    "det_event": ("deterministic", "local", (6, 1, 3), -3, 1, ("obs", None, None)),
    "of_global": ("deterministic", "global", (), None, 1, ()),
    "flat": ("deterministic", "local", (6,), -1, 1, ("obs",)),
    "neighbours": ("deterministic", "local", (12, 2), -2, 2, (None, None)),
    "nested": ("latent", "local", (6, 4), -2, 1, ("obs", "genes_in")),
    "y": ("observed", "local", (6, 4), -2, 1, ("obs", "genes_in")),
    "outside": ("deterministic", "local", (6,), -1, 1, ("obs",)),
}


def test_all_sites_are_there_in_the_models_order(table):
    assert [site.name for site in table.sites] == list(EXPECTED)
    assert table.obs_plate == "obs"
    assert table.sizes == (6, 6)
    assert table.choice.missing == frozenset()
    assert table.choice.unclear == {}


@pytest.mark.parametrize("name", EXPECTED)
def test_site(table, name):
    site = _site(table, name)
    found = (site.kind, site.scope, site.shape, site.batch_axis, site.rows_per_obs, site.dims)
    assert found == EXPECTED[name]


def test_minibatches_are_laid_behind_each_other_along_each_sites_own_axis(engine):
    y = torch.arange(TOTAL * 4.0).reshape(TOTAL, 4) / 10
    options = {"num_samples": 3, "return_samples": True, "return_observed": True}
    posterior = sample(
        _model, _from_prior, (y, torch.arange(TOTAL)), batch_size=5, engine=engine, **options
    )
    draws = posterior["posterior_samples"]
    for name, (_, scope, shape, axis, per_obs, _) in EXPECTED.items():
        shape = list(shape)
        if scope == "local":
            shape[axis] = TOTAL * per_obs
        assert draws[name].shape == (3, *shape), name
        assert posterior["post_sample_means"][name].shape == tuple(shape), name
    np.testing.assert_array_equal(draws["y"][0], y.numpy())
    g, x = draws["g"], draws["x"]
    np.testing.assert_array_equal(draws["det"], x + draws["gene"][:, None, :])
    np.testing.assert_array_equal(draws["flat"], x[..., 0])
    np.testing.assert_array_equal(draws["outside"], x[..., 0] * g[:, None])
    np.testing.assert_array_equal(draws["det_event"], np.repeat(x[..., None], 3, axis=-1))
    np.testing.assert_array_equal(
        draws["neighbours"], y.numpy().reshape(TOTAL * 2, 2) * g[:, None, None]
    )


# --------------------------------------------------------------------------------------- finding it


def _plain(plate):
    """A model and guide with ``z`` in whatever plate ``plate(y, index)`` makes."""

    def model(y, index=None):
        with plate(y, index):
            z = pyro.sample("z", _normal(y))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def guide(y, index=None):
        with plate(y, index):
            pyro.sample("z", dist.Normal(y, 1.0))

    return model, guide


def test_a_plate_that_subsamples_is_the_obs_plate():
    model, guide = _plain(lambda y, index: pyro.plate("rows", 100, subsample=index))
    table = _read(model, guide, (torch.ones(5), torch.arange(5)))
    assert (table.obs_plate, table.sites[0].batch_axis, table.sizes[0]) == ("rows", -1, 5)


def test_a_plate_that_subsamples_by_indices_that_happen_to_be_all():
    model, guide = _plain(lambda y, index: pyro.plate("rows", 5, subsample=index))
    assert _read(model, guide, (torch.ones(5), torch.arange(5))).obs_plate == "rows"


def test_a_plate_that_merely_follows_the_minibatch():
    model, guide = _plain(lambda y, index: pyro.plate("rows", len(y)))
    table = _read(model, guide, (torch.ones(5),))
    assert (table.obs_plate, table.sites[0].scope) == ("rows", "local")


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_small_minibatches(rows):
    model, guide = _plain(lambda y, index: pyro.plate("rows", len(y)))
    table = _read(model, guide, (torch.ones(rows),))
    assert (table.obs_plate, table.sites[0].batch_axis, table.sizes[0]) == ("rows", -1, rows)


def test_a_named_plate_wins():
    def model(y):
        with pyro.plate("other", 4, dim=-2), pyro.plate("rows", len(y), dim=-1):
            pyro.sample("z", _normal(y))

    table = _read(model, model, (torch.ones(5),), obs_plate="rows")
    assert (table.obs_plate, table.sites[0].dims) == ("rows", ("other", "rows"))


def test_of_two_plates_that_follow_the_one_with_more_sites_is_taken():
    def model(y):
        with pyro.plate("inner", len(y)):
            pyro.sample("a", _normal(y))
        with pyro.plate("rows", len(y)):
            pyro.sample("b", _normal(y))
            pyro.sample("c", _normal(y))

    table = _read(model, model, (torch.ones(5),))
    assert table.obs_plate == "rows"
    assert {site.scope for site in table.sites} == {"local"}


def test_full_data_without_a_plate(engine):
    """A site of one value per row without any plate: its rows are found all the same."""

    def model(y):
        z = pyro.sample("z", _normal(y, len(y)).to_event(1))
        pyro.sample("y", dist.Normal(z, 1.0).to_event(1), obs=y)

    def guide(y):
        pyro.sample("z", dist.Normal(y, 0.1).to_event(1))

    y = torch.arange(7.0)
    options = {"num_samples": 40, "return_samples": True, "engine": engine}
    table = _read(model, guide, (y,))
    assert (table.obs_plate, table.sites[0].scope, table.sites[0].dims) == (None, "local", ("obs",))
    whole = sample(model, guide, y, **options)
    assert whole["posterior_samples"]["z"].shape == (40, 7)
    parts = sample(model, guide, y, batch_size=3, **options)
    np.testing.assert_allclose(parts["post_sample_means"]["z"], y.numpy(), atol=0.1)
    noise = parts["posterior_samples"]["z"] - y.numpy()
    assert abs(np.corrcoef(noise[:, 0], noise[:, 3])[0, 1]) < 0.6  # not the same in all minibatches


@pytest.mark.parametrize("make", [AutoNormal, AutoDiagonalNormal])
@pytest.mark.parametrize("rows", [2, 3, 7])
def test_full_data_with_a_guide_of_fixed_size(make, rows):
    """The model broadcasts, or refuses, the guide's values at another size: it stays local."""
    model, _ = _plain(lambda y, index: pyro.plate("rows", len(y)))
    guide, y = make(model), torch.ones(rows)
    guide(y)
    table = _read(model, guide, (y,), obs_plate="rows")
    assert (table.sites[0].name, table.sites[0].scope) == ("z", "local")
    assert table.sites[0].dims == ("rows",)


def test_a_guide_of_fixed_size_in_minibatches_is_an_error():
    model, _ = _plain(lambda y, index: pyro.plate("rows", len(y)))
    guide = AutoNormal(model)
    guide(torch.ones(6))
    words = "asks for {} rows of plate 'rows' .* the guide gives 6 rows .*create_plates="
    with pytest.raises(RequestError, match=words.format(4)):
        sample(model, guide, torch.ones(6), batch_size=4)
    with pytest.raises(RequestError, match=words.format(9)):
        sample(model, guide, torch.ones(9))


def test_a_guide_that_gives_a_latent_another_length():
    def model(y):
        with pyro.plate("rows", len(y)):
            z = pyro.sample("z", _normal(y))
        pyro.sample("y", dist.Normal(z.sum(), 1.0), obs=y.sum())

    def guide(y):
        pyro.sample("z", _normal(y, 6).to_event(1))

    with pytest.raises(RequestError, match=r"'z' has shape \(6,\) .*'rows' has 4 rows"):
        sample(model, guide, torch.ones(6), batch_size=4)


def test_no_plate_in_minibatches_with_a_model_that_needs_the_size():
    def model(y):
        if len(y) != 4:
            raise ValueError("only fours")
        with pyro.plate("rows", 4):
            pyro.sample("z", _normal(y))

    with pytest.raises(RequestError, match=r"no plate of the model subsamples.*'rows'"):
        sample(model, model, torch.ones(8), batch_size=4)
    posterior = sample(model, model, torch.ones(8), batch_size=4, obs_plate="rows", num_samples=2)
    assert posterior["post_sample_means"]["z"].shape == (8,)


def test_discrete_sites_keep_their_dtype(engine):
    def model(y):
        with pyro.plate("rows", len(y)):
            k = pyro.sample("k", dist.Categorical(y.new_ones(3)))
            pyro.sample("b", dist.Bernoulli(y.new_tensor(0.5)))
            pyro.deterministic("flag", k > 0)

    draws = sample(
        model, model, torch.ones(5), num_samples=200, return_samples=True, engine=engine
    )["posterior_samples"]
    assert draws["k"].dtype == np.int64
    assert set(np.unique(draws["k"])) == {0, 1, 2}
    assert draws["flag"].dtype == bool
    np.testing.assert_array_equal(draws["flag"], draws["k"] > 0)
