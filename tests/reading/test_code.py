"""Code that differs in anything it can get at has other words; the same code has the same words."""

from __future__ import annotations

import collections
import dataclasses
import decimal
import enum
import fractions
import functools
import operator
import types

import numpy as np
import pytest
import scipy.stats
import torch

from pyro_posterior.reading.code import code_words


@dataclasses.dataclass
class Settings:
    level: object


class Slots:
    __slots__ = ("level",)

    def __init__(self, level):
        self.level = level

    def __call__(self, x):
        return x * self.level


class Called:
    def __init__(self, level):
        self.level = level

    def __call__(self, x):
        return x * self.level


def _reading(held):
    return lambda x: x * held.level


def _module(level):
    module = types.ModuleType("a_users_module")
    module.level = level
    return module


def _class(level, wrap=lambda function: function):
    return type("Class", (), {"level": level if wrap is None else wrap(lambda self: level)})()


def _cached(level):
    @functools.lru_cache
    def number():
        return level

    return lambda x: x * number()


def _buffer(level):
    net = torch.nn.Identity()
    net.register_buffer("level", torch.tensor(level), persistent=False)
    return net


def _function(level):
    def scaled(x):
        return x * scaled.level

    scaled.level = level
    return scaled


def _over(held):
    return lambda x: (x, held)


READ = {
    "number": lambda v: _reading(types.SimpleNamespace(level=v)),
    "tensor": lambda v: _reading(Called(torch.tensor(v))),
    "list": lambda v: _reading(Called([1.0, v])),
    "dataclass": lambda v: _reading(Settings(v)),
    "nested": lambda v: _reading(Called(Settings({"a": [v]}))),
    "slots": lambda v: _reading(Slots(v)),
    "slots called": Slots,
    "called": Called,
    "module": lambda v: _reading(_module(v)),
    "class": lambda v: _reading(_class(v, None)),
    "class list": lambda v: _reading(_class([v], None)),
    "property": lambda v: _reading(_class(v, property)),
    "cached property": lambda v: _reading(_class(v, functools.cached_property)),
    "cached function": _cached,
    "function": _function,
    "buffer": lambda v: _reading(_buffer(v)),
    "dict with attributes": lambda v: _reading(type("D", (dict,), {"level": v})(a=1)),
}

HELD = {
    "set of tuples": lambda v: {("a", v)},
    "enum": lambda v: enum.Enum("E", {"A": v}).A,
    "fraction": lambda v: fractions.Fraction(v),
    "decimal": lambda v: decimal.Decimal(v),
    "deque": lambda v: collections.deque([v]),
    "bytearray": lambda v: bytearray([int(v)]),
    "range": lambda v: range(int(v), 100),
    "getter": lambda v: operator.itemgetter(v),
    "caller": lambda v: operator.methodcaller("var", ddof=v),
    "method of a list": lambda v: [v].__getitem__,
    "method of an array": lambda v: np.array([v]).__mul__,
    "vectorized": lambda v: np.vectorize(_over(v)),
    "polynomial": lambda v: np.polynomial.Polynomial([1.0, v]),
    "distribution of scipy": lambda v: scipy.stats.norm(0.0, v),
    "distribution of torch": lambda v: torch.distributions.Normal(0.0, v),
    "layer": lambda v: torch.nn.Threshold(v, 0.0),
    "objects": lambda v: np.array([v, None], dtype=object),
    "many words": lambda v: np.array(["x"] * 2000 + [str(v)] + ["y"] * 2000),
}


@pytest.mark.parametrize("make", READ.values(), ids=READ)
def test_what_is_read_by_name_counts(make):
    assert code_words(make(1.0)) == code_words(make(1.0)) != code_words(make(2.0))


@pytest.mark.parametrize("make", HELD.values(), ids=HELD)
def test_what_is_closed_over_counts(make):
    one, again, other = (code_words(_over(make(v)), attributes=True) for v in (1.0, 1.0, 2.0))
    assert one == again != other


class Counting:
    """Counts its calls, and holds what its code does not look at."""

    def __init__(self, scale):
        self.scale, self.calls, self.notes = scale, 0, []

    def __call__(self, x):
        self.calls += 1
        return x * self.scale

    def set_scale(self, scale):
        self.scale = scale


def test_what_code_sets_or_never_reads_does_not_count():
    one, other = Counting(1.0), Counting(1.0)
    other(1.0)
    other.notes.append("later")
    assert code_words(one) == code_words(other) != code_words(Counting(2.0))
