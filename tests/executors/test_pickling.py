"""Guides and wrapped models come out of their bytes as they went in, and stay as they were."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDelta, AutoGuideList, AutoMultivariateNormal, AutoNormal

from pyro_posterior.functions import module_of_file
from pyro_posterior.reading.code import code_words

pytest.importorskip("cloudpickle")

from pyro_posterior.executors.pickling import dumps


def model(x):
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    b = pyro.sample("b", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(x)):
        pyro.sample("x", dist.Normal(a + b, 1.0), obs=x)


def _list():
    guide = AutoGuideList(model)
    guide.append(AutoNormal(poutine.block(model, expose=["a"])))
    guide.append(AutoDelta(poutine.block(model, expose=["b"])))
    return guide


@pytest.mark.parametrize(
    "make", [lambda: AutoNormal(model), lambda: AutoMultivariateNormal(model), _list]
)
def test_a_guide_of_pyro_keeps_its_model_here_and_there(make):
    pyro.clear_param_store()
    x, guide = torch.zeros(3), make()
    guide(x)
    code, wrapped = code_words(guide), guide.model
    there = pickle.loads(dumps(guide))
    assert guide.model is wrapped
    assert code_words(there) == code == code_words(guide)
    values = []
    for each in (guide, there):
        pyro.set_rng_seed(0)
        values.append(each(x))
    assert values[0] == values[1]
    assert list(values[0]) == ["a", "b"]
    pyro.clear_param_store()


def test_a_model_that_a_handler_wraps_comes_back_wrapped_as_it_was():
    wrapped = poutine.scale(scale=2.0)(model)
    there = pickle.loads(dumps(wrapped))
    x = torch.zeros(3)
    sums = []
    for each in (wrapped, there):
        pyro.set_rng_seed(0)
        sums.append(poutine.trace(each).get_trace(x).log_prob_sum())
    assert sums[0] == sums[1]
    assert code_words(there) == code_words(wrapped)


@pytest.mark.parametrize("still_known", [True, False])
def test_functions_of_a_file_are_known_where_the_file_is_not(tmp_path, still_known):
    (tmp_path / "only_here.py").write_text("FACTOR = 3\ndef times(x):\n    return FACTOR * x\n")
    times = module_of_file(tmp_path / "only_here.py").times
    if not still_known:
        del sys.modules[times.__module__]
    content = dumps(times)
    import cloudpickle

    assert times.__module__ not in cloudpickle.list_registry_pickle_by_value()
    sys.modules.pop(times.__module__, None)
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer)(14))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], input=content, capture_output=True, check=True
    )
    assert done.stdout.strip() == b"42"
