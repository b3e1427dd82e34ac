"""The result is a dict with the documented keys that also knows where it comes from."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pyro
import torch

from toy_models import ConjugateNormal, assert_same, sample


def _posterior(engine="loop", **options):
    toy = ConjugateNormal(10)
    return sample(
        toy.model, toy.guide, toy.data, num_samples=3, batch_size=4, engine=engine, **options
    )


def test_it_is_a_dict_that_knows_its_run(engine):
    posterior = _posterior(engine)
    assert isinstance(posterior, dict)
    assert posterior.seed == 1
    assert posterior.plan.num_samples == 3
    assert posterior.plan.num_obs == 10
    assert posterior.plan.obs_plate == "obs"
    assert posterior.plan.engine in ("loop", "batched slice", "unbatched slice")
    assert list(posterior.sites) == ["mu", "twice_mu", "z", "mu_times_y", "sum"]
    assert posterior.nonfinite == {}
    assert posterior.program
    assert posterior.info["seconds"] > 0
    assert posterior.info["versions"]["torch"] == torch.__version__
    assert posterior.info["versions"]["pyro-ppl"] == pyro.__version__


def test_it_reads_as_text():
    text = repr(_posterior())
    assert text.startswith("Posterior of 10 observations, 3 draws, seed 1, engine loop")
    assert "z  latent, local  (10,)" in text
    assert "mu  latent, global  ()" in text


def test_it_survives_pickling_and_copying():
    posterior = _posterior(return_samples=True)
    for other in (
        pickle.loads(pickle.dumps(posterior)),
        copy.deepcopy(posterior),
        copy.copy(posterior),
    ):
        assert type(other) is type(posterior)
        assert_same(other, posterior)
        assert other.plan == posterior.plan
        assert other.info == posterior.info


def test_arrays_can_be_written_to():
    """Users take the arrays and go on with them."""
    posterior = _posterior(return_samples=True)
    for arrays in posterior.values():
        for name, array in arrays.items():
            assert array.flags.writeable, name
            assert isinstance(array, np.ndarray)
