"""Two models that differ anywhere have digests that differ there; the same one has the same anywhere."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam

from pyro_posterior.contracts import Minibatch
from pyro_posterior.functions import module_of_file
from pyro_posterior.joint import JointSampler
from pyro_posterior.networks import modules_of
from pyro_posterior.reading.code import code_words
from pyro_posterior.reading.identity import model_identity
from pyro_posterior.reading.runs import look

Y = torch.arange(4.0)


def _identity(model, guide):
    if isinstance(guide, AutoNormal):
        guide(Y)
    run = look(JointSampler(model, guide, 0), Minibatch(0, (Y,)))
    return model_identity(model, guide, modules_of(model, guide), run.record)


def _guide(y):
    pyro.sample("m", dist.Normal(0.0, 1.0))


def _closure(scale, table, recorded=True):
    memory = torch.zeros(1)

    def model(y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        if not recorded:
            memory.add_(0.0)  # a write to memory from outside
        pyro.deterministic("scaled", m * scale + torch.as_tensor(table))

    return model


class _Attributes:
    def __init__(self, scale, table):
        self.scale, self.table = scale, table

    def __call__(self, y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        pyro.deterministic("scaled", m * self.scale + torch.as_tensor(self.table))


class _Buffers(PyroModule):
    def __init__(self, scale, table):
        super().__init__()
        self.scale = scale
        self.register_buffer("table", torch.as_tensor(table), persistent=False)

    def forward(self, y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        pyro.deterministic("scaled", m * self.scale + self.table)


def _defaults(scale, table):
    def model(y, scale=scale, table=table):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        pyro.deterministic("scaled", m * scale + torch.as_tensor(table))

    return model


MAKERS = {
    "closure": _closure,
    "closure, not recorded": lambda scale, table: _closure(scale, table, recorded=False),
    "attributes": _Attributes,
    "buffers": _Buffers,
    "defaults": _defaults,
}


@pytest.mark.parametrize("kind", [torch.tensor, np.array], ids=["tensor", "array"])
@pytest.mark.parametrize("make", MAKERS)
def test_numbers_tensors_and_arrays_wherever_they_come_from(make, kind):
    def identity(scale, values):
        return _identity(MAKERS[make](scale, kind(values, dtype=kind([1.0]).dtype)), _guide)

    base = identity(2.0, [1.0, 2.0])
    assert base == identity(2.0, [1.0, 2.0])
    for other in (identity(3.0, [1.0, 2.0]), identity(2.0, [1.0, 2.5])):
        assert other != base
        assert other["guide code"] == base["guide code"]


def test_the_part_that_differs_is_named():
    def changed(one, other):
        return {part for part in one | other if one.get(part) != other.get(part)}

    table = torch.ones(2)
    base = _identity(_Buffers(2.0, table), _guide)
    assert changed(base, _identity(_Buffers(2.0, table + 1), _guide)) == {"constants"}
    assert changed(base, _identity(_Buffers(3.0, table), _guide)) == {"operations"}

    def other_guide(y):
        pyro.sample("m", dist.Normal(1.0, 1.0))

    found = changed(base, _identity(_Buffers(2.0, table), other_guide))
    assert "guide code" in found
    assert "model code" not in found


class _Fitted(PyroModule):
    def __init__(self, loc):
        super().__init__()
        self.loc = PyroParam(torch.tensor(loc))

    def forward(self, y):
        pyro.sample("m", dist.Normal(self.loc, 1.0))


def test_parameters_are_no_constants():
    model = _closure(2.0, torch.ones(2))
    one, other = (_identity(model, _Fitted(loc)) for loc in (0.0, 1.0))
    assert one == other


def test_code_that_the_first_minibatch_does_not_come_by():
    def make(shift):
        namespace: dict = {"pyro": pyro, "dist": dist}
        source = f"""
        def model(y):
            m = pyro.sample("m", dist.Normal(0.0, 1.0))
            if len(y) > 100:
                pyro.deterministic("late", m + {shift})
        """
        exec(textwrap.dedent(source), namespace)
        return namespace["model"]

    one, other = (_identity(make(shift), _guide) for shift in (1, 2))
    assert {part for part in one if one[part] != other[part]} == {"model code"}


_SCRIPT = """
import pyro, pyro.distributions as dist, torch
from pyro.infer.autoguide import AutoNormal
from pyro_posterior.contracts import Minibatch
from pyro_posterior.joint import JointSampler
from pyro_posterior.networks import modules_of
from pyro_posterior.reading.identity import model_identity
from pyro_posterior.reading.runs import look
options = {"a": 1, "b": (2.0, "c")}
chosen = {"x", "y", "z"}
table = torch.linspace(0, 1, 5)
def helper(m): return m * table.sum() + options["a"] + len(chosen)
def model(y):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("z", dist.Gamma(helper(m).exp(), 1.0))
guide = AutoNormal(model)
y = torch.arange(4.0)
guide(y)
run = look(JointSampler(model, guide, 0), Minibatch(0, (y,)))
print(sorted(model_identity(model, guide, modules_of(model, guide), run.record).items()))
"""


def test_the_same_in_every_process():
    outputs = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _SCRIPT], capture_output=True, text=True
        )
        for _ in range(2)
    ]
    assert outputs[0].returncode == 0, outputs[0].stderr
    assert outputs[0].stdout == outputs[1].stdout
    assert "operations" in outputs[0].stdout


def test_an_autoguide_is_known_by_its_model():
    one, other = _closure(2.0, torch.ones(2)), _closure(2.0, torch.zeros(2))
    found = [_identity(one, AutoNormal(model)) for model in (one, one, other)]
    assert found[0] == found[1]
    assert found[0]["guide code"] != found[2]["guide code"]


def test_a_file_that_is_loaded_twice_is_the_same_code(tmp_path):
    """The second time it goes by another module's name."""
    file = tmp_path / "a_fit_of_mine.py"
    file.write_text(
        "import torch\n"
        "class Model(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return scaled(x)\n"
        "def scaled(x):\n"
        "    return 2 * x\n"
    )
    one, other = (module_of_file(file) for _ in range(2))
    assert one.__name__ != other.__name__
    for name in ("Model", "scaled"):
        first, second = (getattr(module, name) for module in (one, other))
        assert code_words(first) == code_words(second)
    assert code_words(one.Model()) == code_words(other.Model())
    file.write_text(file.read_text().replace("2 * x", "3 * x"))
    assert code_words(module_of_file(file).scaled) != code_words(one.scaled)
