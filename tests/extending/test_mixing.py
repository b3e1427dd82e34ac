"""Derived functions that change what they get, or mix observations, are refused; types do not change."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from extending.cases import NUM_OBS, Y, guide, model
from pyro_posterior import sample_posterior
from pyro_posterior.errors import RequestError

draw = functools.partial(
    sample_posterior,
    model,
    guide,
    (Y,),
    num_samples=6,
    seed=1,
    obs_plate="obs",
    show_progress=False,
    return_samples=True,
)


@pytest.mark.parametrize("engine", ["loop", "auto"])
@pytest.mark.parametrize("site", ["w", "z", "y"])
def test_writing_to_a_site_is_refused_and_leaves_the_data(engine, site):
    before = Y.clone()
    with pytest.raises(
        RequestError, match=f"derived\\['twice'\\] writes to the values of '{site}'"
    ):
        draw(engine=engine, derived={"twice": lambda s: s[site].mul_(2)})
    assert torch.equal(Y, before)


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize(
    "function",
    [
        lambda s: s["z"] - s["z"].mean(),
        lambda s: s["z"].cumsum(0),
        lambda s: s["z"].argsort().argsort(),
        lambda s: (s["w"][:, None] * s["z"]).softmax(-1),
        lambda s: s["y"] - s["y"].mean(),
    ],
)
def test_mixing_observations_is_refused_in_minibatches(batch_size, function):
    with pytest.raises(RequestError, match="'mixed'.*where other observations are beside it"):
        draw(batch_size=batch_size, derived={"mixed": function})
    whole = draw(derived={"mixed": function})
    assert whole.draws["mixed"].shape[-1] == NUM_OBS


def test_rows_by_themselves_are_not_taken_for_mixing():
    got = draw(
        batch_size=8,
        derived={
            "outer": lambda s: s["w"][:, None] * s["z"],
            "share": lambda s: (s["z"][:, None] * s["w"]).softmax(-1),
            "noisy": lambda s: s["z"] + torch.randn_like(s["z"]),
        },
    )
    z, w = got.draws["z"], got.draws["w"]
    np.testing.assert_allclose(got.draws["outer"], w[:, :, None] * z[:, None], rtol=1e-5)


def test_a_type_that_depends_on_the_draw_is_refused():
    with pytest.raises(RequestError, match="site 'positive' is torch.int64.*but torch.float32"):
        draw(engine="loop", derived={"positive": lambda s: 0 if s["mu"] > 1.2 else s["mu"]})


@pytest.mark.parametrize(
    "function", [lambda s: 0 if s["mu"] > 1.2 else s["mu"], lambda s: s["w"][s["w"] > 1]]
)
def test_the_same_of_stored_draws(function):
    with pytest.raises(RequestError, match="one type and shape"):
        draw(num_samples=20).derive({"changing": function})
