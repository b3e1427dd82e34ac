"""Stratified draws keep the contracts: the same numbers in both engines, any chunks, any minibatches."""

from __future__ import annotations

import re

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior import sample_posterior
from pyro_posterior.sliced import sizes

ROWS = 11


def model(y: torch.Tensor, index: torch.Tensor) -> None:
    scale = pyro.sample("scale", dist.Gamma(torch.tensor([2.0, 30.0]), 2.0).to_event(1))
    with pyro.plate("obs", ROWS, subsample=index):
        z = pyro.sample("z", dist.StudentT(5.0, y, scale[0]))
        flag = pyro.sample("flag", dist.Bernoulli(0.3))
        kind = pyro.sample("kind", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
        pyro.deterministic("all", z * flag + kind + scale.sum())


DATA = (torch.linspace(0.0, 1.0, ROWS), torch.arange(ROWS))


def run(**options):
    options = {"num_samples": 37, "batch_size": 4, "engine": "sliced", **options}
    return sample_posterior(
        model, model, DATA, seed=3, return_samples=True, show_progress=False, **options
    )


def assert_equal(one, other, rtol=0.0):
    for name, draws in one["posterior_samples"].items():
        np.testing.assert_allclose(draws, other["posterior_samples"][name], rtol, 1e-6 * rtol)


@pytest.mark.parametrize("mcse", [False, True], ids=["one hypercube", "eight"])
def test_both_engines_give_the_same_draws(mcse):
    """Hypercubes of 4 and 5 draws end within chunks."""
    assert_equal(run(engine="loop", mcse=mcse), run(mcse=mcse), rtol=1e-4)


@pytest.mark.parametrize("size", [1, 1 << 30])
def test_chunks_do_not_matter(size, monkeypatch):
    plain = run()
    monkeypatch.setattr(sizes, "chunk_bytes", lambda device: size)
    assert_equal(plain, run(), rtol=1e-5)


def test_globals_do_not_depend_on_the_minibatches():
    one, other = run(), run(batch_size=5)
    np.testing.assert_array_equal(
        one["posterior_samples"]["scale"], other["posterior_samples"]["scale"]
    )
    z, w = (found["posterior_samples"]["z"] for found in (one, other))
    np.testing.assert_array_equal(z[:, :4], w[:, :4])  # the first minibatch


@pytest.mark.parametrize("engine", ["sliced", "loop"])
def test_the_result_says_how_draws_are_spread(engine):
    stratified, independent = run(engine=engine), run(engine=engine, draws="independent")
    assert "stratified draws, hypercubes of 37" in stratified.program
    assert "independent draws" in independent.program
    assert (stratified.plan.cubes, independent.plan.cubes) == ((37,), ())
    if engine == "sliced":
        for line in (
            "scale #0: _standard_gamma, partly stratified",
            "flag #0: bernoulli, stratified",
            "kind #0: multinomial, stratified",
        ):
            assert line in stratified.program
        assert re.search(r"z #0: normal\w*, stratified", stratified.program)


def test_frequencies_are_as_even_as_they_can_be():
    draws = run(num_samples=100)["posterior_samples"]
    assert set(draws["flag"].sum(0)) == {30.0}
    for kind, share in enumerate((20, 30, 50)):
        assert set((draws["kind"] == kind).sum(0)) == {share}


def test_an_unknown_way_to_draw_is_refused():
    with pytest.raises(Exception, match="draws='even' is unknown: choose 'stratified' or"):
        run(draws="even")
