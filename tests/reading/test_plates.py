"""The rows that were asked for come back in that order, or an error says what to give."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoDelta, AutoDiagonalNormal, AutoNormal

from pyro_posterior.errors import RequestError

N = 6
Y = torch.arange(float(N))


def _plate(y, index):
    return pyro.plate("cells", N, subsample=index)


def _model(y, index):
    with _plate(y, index):
        z = pyro.sample("z", dist.Normal(0.0, 10.0))
        pyro.sample("y", dist.Normal(z, 0.1), obs=y)


def _fitted(guide):
    svi = SVI(_model, guide, pyro.optim.Adam({"lr": 0.2}), Trace_ELBO())
    for _ in range(150):
        svi.step(Y, torch.arange(N))
    return guide


def _batches(rows, size):
    rows = torch.tensor(rows)
    return [(Y[part], part) for part in rows.split(size)]


@pytest.mark.parametrize("make", [AutoNormal, AutoDelta, AutoDiagonalNormal])
@pytest.mark.parametrize("options", [{}, {"obs_plate": "cells"}], ids=["found", "named"])
def test_an_autoguide_without_create_plates_gives_its_own_rows_only(face, make, options):
    guide = _fitted(make(_model))
    found = face(_model, guide, _batches(range(N), N), num_samples=50, **options)
    np.testing.assert_allclose(found["post_sample_means"]["z"], Y.numpy(), atol=0.5)
    for rows, size in (([5, 4, 3, 2, 1, 0], 6), ([5, 4, 3, 2, 1, 0], 2), ([4, 2], 2), ([4, 2], 1)):
        with pytest.raises(RequestError, match=r"plate 'cells' .*create_plates="):
            face(_model, guide, _batches(rows, size), num_samples=5, **options)
    with pytest.raises(RequestError, match="create_plates="):
        face(_model, guide, _batches(range(N), 2), num_samples=5, **options)


@pytest.mark.parametrize("options", [{}, {"obs_plate": "cells"}], ids=["found", "named"])
def test_an_autoguide_with_create_plates_gives_the_rows_asked_for(draw, options):
    guide = _fitted(AutoNormal(_model, create_plates=_plate))
    for rows, sizes in (([5, 4, 3, 2, 1, 0], (1, 2, 6)), ([4, 2], (2,)), ([3, 3, 0], (2, 6))):
        for size in sizes:
            found = draw(_model, guide, _batches(rows, size), **options)
            np.testing.assert_allclose(found["post_sample_means"]["z"], rows, atol=0.5)


def test_rows_of_subsample_statements_follow_as_well(draw):
    def body(y, index):
        with _plate(y, index):
            pyro.sample("z", dist.Normal(pyro.subsample(Y, event_dim=0), 0.1))

    for size in (2, 6):
        found = draw(body, body, _batches([5, 0, 4, 1, 3, 2], size))["post_sample_means"]
        np.testing.assert_allclose(found["z"], [5, 0, 4, 1, 3, 2], atol=0.2)


def test_an_autoguide_fitted_to_minibatches_without_create_plates(face):
    """Pyro then lets the guide pick rows at random."""
    guide = AutoNormal(_model)
    guide(Y[:2], torch.arange(2))
    with pytest.raises(RequestError, match=r"'cells' .*create_plates="):
        face(_model, guide, _batches(range(N), 2), num_samples=5)


# --------------------------------------------------------------------------------- rows at random


def _random_genes(given):
    rate = torch.arange(8.0) * 10

    def body(x, index):
        g = pyro.sample("all", dist.Normal(3.0, 0.1))
        with pyro.plate("genes", 8, subsample_size=3, dim=-1) as j:
            gene = pyro.sample("gene", dist.Normal(rate[j] if given else torch.zeros(3), 0.1))
        with pyro.plate("cells", N, subsample=index, dim=-2):
            pyro.sample("c", dist.Normal(x[:, None] if given else g, 0.1))
        pyro.deterministic("mean_gene", gene.mean())

    return body


@pytest.mark.parametrize("size", [N, 2])
@pytest.mark.parametrize("options", [{}, {"obs_plate": "cells"}], ids=["found", "named"])
def test_rows_picked_at_random_are_never_mixed(draw, size, options):
    model, guide, data = _random_genes(False), _random_genes(True), _batches(range(N), size)
    for asked in ({}, {"return_sites": ["gene"]}, {"return_sites": ["mean_gene"]}):
        with pytest.raises(RequestError, match=r"'genes', which picks 3 of its 8 rows at random"):
            draw(model, guide, data, **options, **asked)
    found = draw(model, guide, data, **options, return_sites=["all", "c"])["post_sample_means"]
    np.testing.assert_allclose(found["c"][:, 0], Y.numpy(), atol=0.1)  # rests on none of them
    np.testing.assert_allclose(found["all"], 3.0, atol=0.1)


def test_observations_picked_at_random_are_refused(draw):
    def body(y):
        with pyro.plate("rows", 10, subsample_size=4) as i:
            pyro.sample("z", dist.Normal(y[i], 0.1))

    y = torch.arange(10.0)
    for batches in ([(y,)], [(y,), (y + 1,)]):
        with pytest.raises(RequestError, match=r"picks 4 of its 10 rows at random.*subsample="):
            draw(body, body, batches)


def test_a_plate_that_only_counts_its_rows_is_none_at_random(draw):
    """The idiom of amortised guides: the plate scales the likelihood, its indices go unused."""

    def body(y):
        with pyro.plate("rows", N, subsample_size=len(y)):
            pyro.sample("z", dist.Normal(y, 0.1))

    for size in (1, 2, 4, 6):
        found = draw(body, body, [(y,) for y in Y.split(size)])
        np.testing.assert_allclose(found["post_sample_means"]["z"], Y.numpy(), atol=0.1)
        assert found.sites["z"].dims == ("rows",)


def test_a_guide_and_a_model_with_other_totals_of_the_same_rows(draw):
    """A second model for fewer observations in total than the minibatch, as scvi-tools' calls it."""

    def body(total):
        def run(y):
            with pyro.plate("rows", total, subsample_size=len(y)):
                pyro.sample("z", dist.Normal(y, 0.1))

        return run

    found = draw(body(4), body(N), [(Y,)])["post_sample_means"]
    np.testing.assert_allclose(found["z"], Y.numpy(), atol=0.1)


def test_a_plate_of_no_guide_that_is_picked_at_random(draw):
    def model(y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 10, subsample_size=4) as i:
            pyro.sample("y", dist.Normal(m, 1.0), obs=y[i])
            pyro.deterministic("gap", y[i] - m)

    def guide(y):
        pyro.sample("m", dist.Normal(2.0, 0.1))

    data = [(torch.arange(10.0),)]
    with pytest.raises(RequestError, match=r"'gap' rests on plate 'rows', which picks 4 of its 10"):
        draw(model, guide, data)
    found = draw(model, guide, data, return_sites=["m"])["post_sample_means"]
    np.testing.assert_allclose(found["m"], 2.0, atol=0.1)
