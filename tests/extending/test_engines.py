"""All extensions at once: both engines, minibatches of any size, stores; each number checked."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from extending.cases import LABELS, Y, guide, model
from pyro_posterior import sample_posterior
from pyro_posterior.posterior import Posterior

ASKED = {
    "predictive": True,
    "expected": True,
    "log_likelihood": True,
    "derived": {
        "share": lambda s: s["w"] / s["w"].sum(-1, keepdim=True),
        "product": lambda s: s["z"] * s["mu"],
    },
    "grouped": {
        "z_by": ("z", LABELS, "mean"),
        "y_by": ("y", LABELS, "sum"),
        "product_by": ("product", [None, *LABELS[1:]], "mean"),
    },
}
draw = functools.partial(
    sample_posterior,
    model,
    guide,
    (Y,),
    num_samples=64,
    seed=1,
    obs_plate="obs",
    show_progress=False,
    return_samples=True,
    **ASKED,
)


@pytest.fixture(scope="module")
def reference() -> Posterior:
    return draw(batch_size=7, engine="loop")


@pytest.mark.parametrize(
    ("engine", "batch_size"), [("loop", 7), ("sliced", 7), ("sliced", 1), ("sliced", None)]
)
def test_every_number_follows_from_the_draws(engine, batch_size):
    posterior = draw(engine=engine, batch_size=batch_size)
    drawn = {name: torch.as_tensor(np.array(x)).double() for name, x in posterior.draws.items()}
    mu, w, z = drawn["mu"], drawn["w"], drawn["z"]
    close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)
    close(drawn["share"], w / w.sum(-1, keepdim=True))
    close(drawn["product"], z * mu[:, None])
    close(drawn["y_expected"], z)
    close(drawn["y_observed"], Y.double().expand(64, -1))
    for number, label in enumerate("abc"):
        mine = label == LABELS
        close(drawn["z_by"][:, number], z[:, mine].mean(1))
        close(drawn["y_by"][:, number], drawn["y"][:, mine].sum(1))
        mine = mine & (np.arange(len(mine)) > 0)
        close(drawn["product_by"][:, number], drawn["product"][:, mine].mean(1))
    normal, log_normal = torch.distributions.Normal, torch.distributions.LogNormal
    likelihood = normal(z, 0.7).log_prob(Y.double())
    close(posterior.log_likelihood, likelihood)
    log_p = normal(0.0, 1.0).log_prob(mu) + log_normal(0.0, 1.0).log_prob(w).sum(1)
    log_p += normal(mu[:, None], 0.5).log_prob(z).sum(1) + likelihood.sum(1)
    log_q = normal(1.2, 0.2).log_prob(mu) + log_normal(0.0, 1.0).log_prob(w).sum(1)
    log_q += normal(0.5 * Y.double() + 0.5, 0.4).log_prob(z).sum(1)
    close(posterior.log_p, log_p)
    close(posterior.log_q, log_q)
    assert {site.name: site.kind for site in posterior.plan.sites} == {
        "mu": "latent",
        "w": "latent",
        "z": "latent",
        "y": "predicted",
        "y_expected": "predicted",
        "y_observed": "observed",
        "share": "derived",
        "product": "derived",
        "z_by": "derived",
        "y_by": "derived",
        "product_by": "derived",
    }
    np.testing.assert_array_equal(posterior.coords["z_by_group"], ["a", "b", "c"])


def test_engines_agree(reference):
    sliced = draw(batch_size=7, engine="sliced")
    assert sliced.plan.engine == "batched slice"
    for name, values in reference.draws.items():
        np.testing.assert_allclose(sliced.draws[name], values, rtol=1e-5, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(sliced.log_p, reference.log_p, rtol=1e-6)
    np.testing.assert_allclose(sliced.khat().pointwise, reference.khat().pointwise, atol=1e-3)


def test_asking_for_more_changes_no_other_draw(reference):
    plain = sample_posterior(
        model,
        guide,
        (Y,),
        num_samples=64,
        seed=1,
        obs_plate="obs",
        batch_size=7,
        engine="loop",
        show_progress=False,
        return_samples=True,
    )
    for name, values in plain.draws.items():
        np.testing.assert_array_equal(reference.draws[name], values)


def test_what_is_needed_is_drawn_though_not_returned():
    posterior = draw(
        return_sites=["mu"],
        log_likelihood=False,
        predictive=False,
        expected=False,
        grouped={"z_by": ("z", LABELS, "mean")},
        batch_size=7,
    )
    assert list(posterior.sites) == ["mu", "share", "product", "z_by"]


def test_a_store_gives_the_same_back(tmp_path, reference):
    pytest.importorskip("zarr")
    path = tmp_path / "run.zarr"
    for posterior in (draw(batch_size=7, engine="loop", store=path), Posterior.open(path)):
        for result, arrays in reference.items():
            for name, values in arrays.items():
                np.testing.assert_array_equal(np.asarray(posterior[result][name]), values)
        np.testing.assert_array_equal(posterior.log_p, reference.log_p)
        np.testing.assert_array_equal(posterior.log_likelihood, reference.log_likelihood)
        np.testing.assert_array_equal(posterior.khat().pointwise, reference.khat().pointwise)
        assert repr(posterior.contrast("z_by", "a", "b")) == repr(
            reference.contrast("z_by", "a", "b")
        )
