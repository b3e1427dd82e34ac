"""A call inside whatever else is going on gives what it gives outside, and leaves that going on."""

from __future__ import annotations

import os
import threading

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.poutine.runtime import _DIM_ALLOCATOR, _ENUM_ALLOCATOR, _PYRO_STACK

from pyro_posterior import PyroSampleMixin
from toy_models import ConjugateNormal, assert_same, sample

TOY = ConjugateNormal(9)


class Host(PyroSampleMixin):
    """The same fit as a host."""

    class Module:
        model, guide = TOY.model, TOY.guide

        @staticmethod
        def _get_fn_args_from_batch(batch):
            return tuple(batch), {}

    module = Module()


def by_function(engine, batch_size=None):
    return sample(
        TOY.model,
        TOY.guide,
        TOY.data,
        batch_size=batch_size,
        num_samples=5,
        return_samples=True,
        engine=engine,
    )


def by_mixin(engine, batch_size=None):
    rows = TOY.data[1].split(batch_size or 9)
    return Host().sample_posterior(
        input_dl=[(TOY.y[row], row) for row in rows],
        num_samples=5,
        return_samples=True,
        engine=engine,
        seed=1,
        accelerator="cpu",
        show_progress=False,
    )


SURROUNDINGS = {
    "plate": lambda: pyro.plate("outer", 3, dim=-3),
    "plate without a dim": lambda: pyro.plate("outer", 3),
    "plate of the model's name": lambda: pyro.plate("obs", 3),
    "trace": poutine.trace,
    "condition": lambda: poutine.condition(data={"mu": torch.tensor(5.0)}),
    "do": lambda: poutine.do(data={"mu": torch.tensor(5.0)}),
    "mask": lambda: poutine.mask(mask=False),
    "scale": lambda: poutine.scale(scale=0.5),
    "block": lambda: poutine.block(hide=["mu"]),
    "seed": lambda: poutine.seed(rng_seed=3),
    "replay": lambda: poutine.replay(
        trace=poutine.trace(TOY.guide).get_trace(*(x + 0 for x in TOY.data))
    ),
    "validation": lambda: pyro.validation_enabled(True),
    "gradients": torch.enable_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize(("call", "batch_size"), [(by_function, 4), (by_mixin, None)])
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_the_same_within_as_outside(name, call, batch_size, engine):
    expected = call(engine, batch_size)
    surroundings = SURROUNDINGS[name]()
    with surroundings:
        before = (_PYRO_STACK[:], _DIM_ALLOCATOR._stack[:], dict(vars(_ENUM_ALLOCATOR)))
        found = call(engine, batch_size)
        assert before == (_PYRO_STACK, _DIM_ALLOCATOR._stack, vars(_ENUM_ALLOCATOR))
    assert_same(found, expected)


def test_a_trace_around_sees_nothing_of_it(engine):
    with poutine.trace() as seen:
        by_function(engine)
        pyro.sample("own", dist.Normal(0.0, 1.0))
    assert list(seen.trace.nodes) == ["own"]


def test_handlers_are_put_back_after_an_error(engine):
    def broken(y, index):
        with pyro.plate("obs", 9, subsample=index):
            raise KeyError("broken")

    with pyro.plate("outer", 3), pytest.raises(KeyError, match="broken"):
        sample(broken, TOY.guide, TOY.data, engine=engine)
    assert not _PYRO_STACK
    assert not _DIM_ALLOCATOR._stack


def test_threads_go_one_after_the_other(engine):
    expected = by_function(engine, 4)
    found, errors = [], []
    start = threading.Barrier(3)

    def draw():
        start.wait()
        try:
            found.append(by_function(engine, 4))
        except BaseException as error:
            errors.append(error)

    checks = torch.distributions.Distribution._validate_args, dist.is_validation_enabled()
    threads = [threading.Thread(target=draw) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(found) == 3
    for posterior in found:
        assert_same(posterior, expected)
    assert (torch.distributions.Distribution._validate_args, dist.is_validation_enabled()) == checks
    with pytest.raises(ValueError, match="scale"):
        dist.Normal(0.0, -1.0)


def test_a_call_within_a_call(engine):
    """A summary function may draw itself: it is not another thread."""
    inner = []

    def mean(x, axis):
        inner.append(by_function(engine))
        return x.mean(axis)

    outer = sample(
        TOY.model, TOY.guide, TOY.data, num_samples=5, engine=engine, summary_fun={"means": mean}
    )
    assert_same(inner[0], by_function(engine))
    assert outer["post_sample_means"]["z"].shape == (9,)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_a_thread_draws_can_draw():
    drawing, go_on = threading.Event(), threading.Event()

    def model(y, index):
        drawing.set()
        go_on.wait()
        TOY.model(y, index)

    thread = threading.Thread(
        target=lambda: sample(model, TOY.guide, TOY.data, num_samples=1, engine="loop")
    )
    thread.start()
    drawing.wait()
    child = os.fork()
    if child == 0:
        from pyro_posterior.session import one_at_a_time

        with one_at_a_time():
            os._exit(7)
    _, status = os.waitpid(child, 0)
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 7
