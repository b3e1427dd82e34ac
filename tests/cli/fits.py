"""Small fits that the command line is pointed at."""

from __future__ import annotations

import os
import time

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoNormal


def _plate(x):
    return pyro.plate("cells", 40, subsample=x.long())  # x numbers its rows


def model(x):
    g = pyro.sample("g", dist.Normal(0.0, 1.0))
    pyro.sample("w", dist.Normal(torch.zeros(4), 1.0).to_event(1))
    with _plate(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(z + g, 1.0), obs=x)


def fitted():
    """Model, guide and data, as a tuple."""
    x = torch.arange(40.0)
    guide = AutoNormal(model, create_plates=_plate)
    guide(x)
    return model, guide, x


def in_batches():
    """As arguments of `sample_posterior`."""
    fit = dict(zip(("model", "guide", "data"), fitted(), strict=True))
    return {**fit, "num_samples": 24, "batch_size": 10, "engine": "loop"}


def slow():
    """In many minibatches, each taking as long as the environment says."""

    def slow_guide(x):
        time.sleep(float(os.environ.get("SECONDS_PER_DRAW", "0")))
        return guide(x)

    plain, guide, x = fitted()
    return {
        "model": plain,
        "guide": slow_guide,
        "data": x,
        "batch_size": 1,
        "num_samples": 8,
        "engine": "loop",
    }


def broken():
    """A model that cannot run."""

    def bad(x):
        raise ZeroDivisionError("the model's own mistake")

    return bad, fitted()[1], torch.ones(4)


def two_things():
    return 1, 2


def misspelt():
    return {**in_batches(), "num_sample": 3}


def halves(batch):
    return (batch,), {}


def first_draw(x, axis):
    return x.take(0, axis=axis)


def raises():
    """A fit that cannot be loaded."""
    raise KeyError("counts")


def takes_something(path):
    return path


def never_run():
    """A guide that was not fitted, and whose parameters are nowhere."""
    arguments = in_batches()
    pyro.clear_param_store()
    return {**arguments, "guide": AutoNormal(model, create_plates=_plate)}
