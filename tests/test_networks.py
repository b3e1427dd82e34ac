"""Networks are in eval mode for one call however model and guide reach them, and then as they were."""

from __future__ import annotations

import collections
import dataclasses
import functools
import sys
import threading
import types
import weakref

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyro_posterior import PyroSampleMixin
from pyro_posterior.errors import RequestError
from pyro_posterior.networks import evaluating, modules_of, placed
from toy_models import sample

X = torch.linspace(-1.0, 2.0, 18).reshape(6, 3)


class Net(nn.Module):
    """Batch norm that was fitted to other data than ``X``, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.drop = nn.BatchNorm1d(3), nn.Dropout(0.5)
        for step in range(5):
            self.bn(X * step + step)
        self.train()

    def forward(self, x):
        return self.drop(self.bn(x))

    def plain(self, x):
        """Not by way of ``__call__``."""
        return nn.functional.dropout(self.bn(x), 0.5, training=self.training)

    def right(self, x):
        bn = self.bn
        values = (x - bn.running_mean) / (bn.running_var + bn.eps).sqrt() * bn.weight + bn.bias
        return values.detach().numpy()


@dataclasses.dataclass
class Holder:
    net: nn.Module

    def __call__(self, x):
        return self.net(x)


class Slots:
    __slots__ = ("net",)

    def __init__(self, net):
        self.net = net


GLOBAL: nn.Module = Net()
HELD = types.SimpleNamespace(nets=[{"a": (Net(),)}])


class Registry:
    net = Net()


def by_global(x):
    return GLOBAL(x)


def helper(x):
    return by_global(x)


def reached(way):
    """The network, and a plain function that runs it."""
    net = Net()
    if way == "global":
        return GLOBAL, by_global
    if way == "function of a function":
        return GLOBAL, lambda x: helper(x)
    if way == "containers of a namespace":
        return HELD.nets[0]["a"][0], lambda x: HELD.nets[0]["a"][0](x)
    if way == "class":
        return Registry.net, lambda x: Registry.net(x)
    if way == "module of globals":
        module = sys.modules["nets_of_a_user"] = types.ModuleType("nets_of_a_user")
        module.net = net

        def found_when_it_runs(x):
            import nets_of_a_user

            return nets_of_a_user.net(x)

        return net, found_when_it_runs
    slots, weak = Slots(net), weakref.ref(net)
    default = functools.lru_cache(lambda: net)
    ways = {
        "closure": lambda x: net(x),
        "plain method": lambda x: net.plain(x),
        "partial": functools.partial(lambda n, x: n(x), net),
        "partial by keyword": functools.partial(lambda x, n: n(x), n=net),
        "default": lambda x, n=net: n(x),
        "bound method": net.forward,
        "callable object": Holder(net),
        "slots": lambda x: slots.net(x),
        "deque": functools.partial(lambda nets, x: nets[0](x), collections.deque([net])),
        "decorated": torch.no_grad()(lambda x: net(x)),
        "weak reference": lambda x, keep=net: weak()(x),
        "cached function": lambda x: default()(x),
    }
    return net, ways[way]


WAYS = [
    *("global", "function of a function", "containers of a namespace", "class"),
    *("module of globals", "closure", "plain method", "partial", "partial by keyword", "default"),
    *("bound method", "callable object", "slots", "deque", "decorated", "weak reference"),
    "cached function",
]


def fit_of(run):
    def model(x, index):
        with pyro.plate("rows", len(X), subsample=index):
            pyro.sample("z", dist.Normal(x.new_zeros(len(x), 3), 1.0).to_event(1))

    def guide(x, index):
        with pyro.plate("rows", len(X), subsample=index):
            pyro.sample("z", dist.Normal(run(x), 1e-6).to_event(1))

    return model, guide


def by_function(model, guide, engine, batch_size):
    data = (X, torch.arange(len(X)))
    return sample(model, guide, data, num_samples=3, engine=engine, batch_size=batch_size)


def by_mixin(model, guide, engine, batch_size):
    module = types.SimpleNamespace(
        model=model, guide=guide, _get_fn_args_from_batch=lambda batch: (batch, {})
    )
    host = type("Host", (PyroSampleMixin,), {"module": module})()
    rows = torch.arange(len(X)).split(batch_size or len(X))
    return host.sample_posterior(
        input_dl=[(X[row], row) for row in rows],
        num_samples=3,
        engine=engine,
        accelerator="cpu",
        show_progress=False,
    )


def state_of(net):
    return {name: value.clone() for name, value in net.state_dict().items()}, [
        part.training for part in net.modules()
    ]


@pytest.mark.parametrize(("call", "batch_size"), [(by_function, 4), (by_mixin, None)])
@pytest.mark.parametrize("way", WAYS)
def test_reached_in_any_way(way, call, batch_size, engine):
    net, run = reached(way)
    values, modes = state_of(net)
    assert all(modes)
    found = call(*fit_of(run), engine, batch_size)
    np.testing.assert_allclose(found["post_sample_means"]["z"], net.right(X), atol=1e-5)
    after, modes_after = state_of(net)
    assert modes_after == modes
    for name, value in values.items():
        assert torch.equal(after[name], value), name


def test_a_training_loop_in_another_thread_is_left_alone():
    other = Net()
    with evaluating([]):
        thread = threading.Thread(target=other, args=(X,))
        before = other.bn.num_batches_tracked.item()
        thread.start()
        thread.join()
    assert other.training
    assert other.bn.num_batches_tracked.item() == before + 1


def test_buffers_that_a_network_changes_by_itself_are_put_back(engine):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.register_buffer("latest", torch.zeros(3))

        def forward(self, x):
            self.calls += 1
            self.latest = x[0].clone()
            return x

    net = Counting()
    buffers = net.calls, net.latest
    by_function(*fit_of(lambda x: net(x)), "loop" if engine == "loop" else "auto", 4)
    assert (net.calls is buffers[0], net.latest is buffers[1]) == (True, True)
    assert net.calls.item() == 0
    assert torch.equal(net.latest, torch.zeros(3))


def test_modes_and_hooks_are_put_back_after_an_error():
    net = Net()
    hooks = len(nn.modules.module._global_forward_pre_hooks)

    def within():
        with evaluating([]), placed([net], torch.device("cpu")):
            net(X)
            assert not net.bn.training
            raise KeyError

    with pytest.raises(KeyError):
        within()
    assert net.bn.training
    assert len(nn.modules.module._global_forward_pre_hooks) == hooks


def test_what_holds_data_is_not_searched():
    many = {index: Net() if index == 0 else index for index in range(10_001)}
    assert modules_of(lambda x: many) == []


def test_a_part_reached_before_its_whole_is_not_listed_twice():
    whole = nn.Sequential(Net(), Net())
    part = whole[0]
    assert modules_of(lambda x: part(x), functools.partial(print, [[whole]])) == [whole]


@pytest.mark.parametrize("base", [nn.Dropout, nn.BatchNorm1d])
@pytest.mark.parametrize("engine", ["auto", "loop"])
def test_what_stays_in_training_mode_is_an_error(base, engine):
    class Always(base):
        def train(self, mode=True):
            return super().train(True)

    net = Always(3) if base is nn.BatchNorm1d else Always(0.5)
    before = state_of(net)[0]
    with pytest.raises(RequestError, match="a Always stays in training mode .*pyro.sample"):
        by_function(*fit_of(lambda x: net(x)), engine, 4)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize(("call", "batch_size"), [(by_function, 4), (by_mixin, None)])
@pytest.mark.parametrize("engine", ["auto", "loop"])
@pytest.mark.parametrize("bare", [True, False])
def test_running_statistics_that_a_function_would_change_are_an_error(
    bare, engine, call, batch_size
):
    """No module is run that could be put in eval mode: the statistics are given by hand."""
    net = Net()
    own = (net.bn.running_mean, net.bn.running_var)
    mean, variance = (torch.zeros(3), torch.ones(3)) if bare else own
    before = mean.clone()

    def run(training):
        return lambda x: nn.functional.batch_norm(x, mean, variance, training=training)

    with pytest.raises(RequestError, match="change the running statistics.*training=False"):
        call(*fit_of(run(True)), engine, batch_size)
    assert torch.equal(mean, before)
    found = call(*fit_of(run(False)), engine, batch_size)["post_sample_means"]["z"]
    right = (X - mean) / (variance + 1e-5).sqrt()
    np.testing.assert_allclose(found, right, atol=1e-5)


def test_a_layer_that_gets_a_false_eval_is_met_by_itself(engine):
    class Deaf(Net):
        def train(self, mode=True):
            return self

    net = Deaf()
    net.bn.train()
    net.drop.train()
    found = by_function(*fit_of(lambda x: net(x)), engine, 4)
    np.testing.assert_allclose(found["post_sample_means"]["z"], net.right(X), atol=1e-5)
    assert net.bn.training


TRAINING = {
    "dropout": lambda h: F.dropout(h),
    "dropout in place": lambda h: F.dropout(h * 1, 0.5, inplace=True),
    "dropout1d": lambda h: F.dropout1d(h[None, None], 0.5)[0, 0],
    "alpha_dropout": lambda h: F.alpha_dropout(h, 0.5, True),
    "torch.dropout": lambda h: torch.dropout(h, 0.5, True),
    "rrelu": lambda h: F.rrelu(h, training=True),
}
NOT_TRAINING = {
    "eval": lambda h: F.dropout(h, 0.5, training=False),
    "nothing": lambda h: F.dropout(h, 0.0),
    "alpha_dropout": lambda h: F.alpha_dropout(h, 0.5),
    "rrelu": lambda h: F.rrelu(h),
    "torch.dropout": lambda h: torch.dropout(h, 0.5, False),
}


def _body(layer):
    def body(y):
        with pyro.plate("rows", len(y)):
            pyro.sample("z", dist.Normal(layer(y), 0.001))

    return body


@pytest.mark.parametrize("name", TRAINING)
def test_functions_that_draw_in_training_are_refused(engine, name):
    body = _body(TRAINING[name])
    for batches in ([(torch.ones(6),)], [(torch.ones(3),), (2 * torch.ones(3),)]):
        with pytest.raises(RequestError, match=r"calls \w+ with training=True.*pyro\.sample"):
            sample(body, body, batches, engine=engine, num_samples=5)


@pytest.mark.parametrize("name", NOT_TRAINING)
def test_the_same_functions_while_they_draw_nothing(engine, name):
    body = _body(NOT_TRAINING[name])
    found = sample(body, body, [(torch.ones(6),)], engine=engine, num_samples=5)
    np.testing.assert_allclose(found["post_sample_means"]["z"], 1.0, atol=0.01)
