"""`PyroSampleMixin` on hosts without scvi-tools: a plain class, a DataLoader, its documented calls."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import subprocess
import sys
import textwrap
import types

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import config_enumerate
from torch.utils.data import DataLoader, TensorDataset

import pyro_posterior
from pyro_posterior import PyroSampleMixin, mixin
from pyro_posterior.errors import RequestError
from pyro_posterior.hosts import obs_plate_of
from pyro_posterior.kept import keep_parameters
from pyro_posterior.options import Options
from pyro_posterior.request import Request
from toy_models import ConjugateNormal, assert_same

DEVICE = os.environ.get("PYRO_POSTERIOR_TEST_DEVICE", "cpu")
#: For calls by keyword; positional ones name what they need.
QUIET = {"show_progress": False, "seed": 1, "engine": "loop", "device": DEVICE}


class Module:
    """What a host's module must have, and no more."""

    def __init__(self, toy: ConjugateNormal):
        self.model, self.guide = toy.model, toy.guide

    @staticmethod
    def _get_fn_args_from_batch(batch):
        y, index = batch
        return (y,), {"index": index}


class Host(PyroSampleMixin):
    """A plain class with data of its own."""

    def __init__(self, module=None):
        self.toy = ConjugateNormal(10)
        self.module = module or Module(self.toy)
        self.asked = []

    def _make_data_loader(self, adata=None, indices=None, batch_size=None):
        self.asked.append(batch_size)
        y, index = self.toy.data if adata is None else adata
        rows = range(len(y)) if indices is None else indices
        return DataLoader(TensorDataset(y, index), sampler=list(rows), batch_size=batch_size)


def loader(host, rows=range(10), batch_size=4):
    return DataLoader(TensorDataset(*host.toy.data), sampler=list(rows), batch_size=batch_size)


# ---------------------------------------------------------------------------------------- signature


def test_the_documented_signature():
    documented = {
        "adata": None,
        "input_dl": None,
        "indices": None,
        "num_samples": 1000,
        "return_sites": None,
        "accelerator": "auto",
        "device": "auto",
        "batch_size": None,
        "return_observed": False,
        "return_samples": False,
        "summary_frequency": None,
        "summary_fun": None,
    }
    for method in (Host.sample_posterior, Host().sample_posterior):
        parameters = dict(inspect.signature(method).parameters)
        parameters.pop("self", None)
        assert parameters.pop("sample_kwargs").kind is inspect.Parameter.VAR_KEYWORD
        assert {name: p.default for name, p in parameters.items()} == documented
        assert list(parameters) == list(documented)


def test_positional_arguments_in_the_documented_order():
    host = Host()
    found = host.sample_posterior(
        None, None, [3, 1], 7, ["z"], "cpu", "auto", 1, False, True, 10, {"m": np.mean}, seed=1,
        engine="loop", show_progress=False,
    )  # fmt: skip
    assert list(found) == ["post_sample_m", "posterior_samples"]
    assert found["posterior_samples"]["z"].shape == (7, 2)
    assert list(found["posterior_samples"]) == ["z"]
    assert host.asked == [1]


@pytest.mark.parametrize("number", [7, np.int64(7)])
def test_positional_arguments_of_earlier_releases(number):
    host = Host()
    found = host.sample_posterior(
        number, ["z", "y"], "cpu", "auto", 3, True, True, {"m": np.mean}, seed=1, engine="loop",
        show_progress=False,
    )  # fmt: skip
    assert list(found["posterior_samples"]) == ["z", "y"]
    assert found["posterior_samples"]["z"].shape == (7, 10)
    assert list(found) == ["post_sample_m", "posterior_samples"]
    assert host.asked == [3]
    by_name = host.sample_posterior(
        num_samples=7,
        return_sites=["z", "y"],
        batch_size=3,
        return_observed=True,
        return_samples=True,
        summary_fun={"m": np.mean},
        **QUIET,
    )
    assert_same(found, by_name)


def test_wrong_calls_are_type_errors():
    host = Host()
    with pytest.raises(TypeError, match="unexpected argument 'num_sample'"):
        host.sample_posterior(num_sample=3)
    with pytest.raises(TypeError, match="'num_samples' twice"):
        host.sample_posterior(3, num_samples=3)
    with pytest.raises(TypeError, match="found 9 arguments"):
        host.sample_posterior(3, None, "cpu", "auto", 3, True, True, None, 1)


# ------------------------------------------------------------------------------------------ batches


def test_through_the_hosts_loader_and_through_input_dl():
    host = Host()
    options = {"num_samples": 9, "return_samples": True, **QUIET}
    own = host.sample_posterior(batch_size=4, **options)
    given = host.sample_posterior(input_dl=loader(host), **options)
    assert_same(own, given)
    assert own.plan.batch_sizes == (4, 4, 2)
    direct = pyro_posterior.sample_posterior(
        host.toy.model, host.toy.guide, host.toy.data, batch_size=4, **options
    )
    assert_same(own, direct)


def test_indices_and_adata():
    host = Host()
    options = {"num_samples": 3, "return_samples": True, "batch_size": 2, **QUIET}
    rows = [8, 8, 2]
    draws = host.sample_posterior(indices=rows, **options)["posterior_samples"]
    y = host.toy.y.numpy()
    np.testing.assert_array_equal(draws["mu_times_y"], draws["mu"][:, None] * y[rows])
    other = (torch.full((3,), 5.0), torch.arange(3))
    draws = host.sample_posterior(other, **options)["posterior_samples"]
    np.testing.assert_array_equal(
        draws["mu_times_y"], np.repeat(draws["mu"][:, None] * np.float32(5), 3, axis=1)
    )


def test_the_order_and_repeats_of_input_dl_are_kept():
    host, rows = Host(), [9, 0, 0, 4, 9]
    found = host.sample_posterior(
        input_dl=loader(host, rows, 2), num_samples=2, return_observed=True, **QUIET
    )
    np.testing.assert_allclose(found["post_sample_means"]["y"], host.toy.y[rows], rtol=1e-6)


def test_the_default_batch_size(monkeypatch):
    host = Host()
    monkeypatch.delitem(sys.modules, "scvi", raising=False)
    host.sample_posterior(num_samples=1, **QUIET)
    monkeypatch.setattr(pyro_posterior.settings, "batch_size", 3)
    host.sample_posterior(num_samples=1, **QUIET)
    assert host.asked == [128, 3]


def test_a_loader_method_that_takes_little():
    class Small(Host):
        def _make_data_loader(self, batch_size):
            return loader(self, batch_size=batch_size)

    found = Small().sample_posterior(num_samples=2, batch_size=3, **QUIET)
    assert found.plan.batch_sizes == (3, 3, 3, 1)
    with pytest.raises(
        RequestError, match=r"indices was given, but Small._make_data_loader takes no"
    ):
        Small().sample_posterior(indices=[1], num_samples=2, **QUIET)


def test_without_batches():
    class Bare(PyroSampleMixin):
        module = Module(ConjugateNormal(10))

    with pytest.raises(RequestError, match=r"Bare has no _make_data_loader: pass .*input_dl"):
        Bare().sample_posterior(**QUIET)
    host = Host()
    with pytest.raises(RequestError, match="batch_size must be at least 1, found 0"):
        host.sample_posterior(batch_size=0, **QUIET)


# -------------------------------------------------------------------------------------------- plates


def _two_plates(y, index):
    """Two plates subsample, so the right one has to be named."""
    with pyro.plate("rows", 10, subsample=index, dim=-2):
        with pyro.plate("others", 10, subsample=index.new_tensor([0, 1, 2]), dim=-1):
            pyro.sample("z", dist.Normal(y.new_tensor(0.0), 1.0))


class _Property(Module):
    @property
    def list_obs_plate_vars(self):
        return {"name": "rows", "in": [], "sites": {}}


class _Method(Module):
    def list_obs_plate_vars(self):
        return {"name": "rows"}


class _OnTheModel(Module):
    def __init__(self, toy):
        class Inner:
            list_obs_plate_vars = {"name": "rows"}

            def __call__(self, y, index):
                _two_plates(y, index)

        self.model = self.guide = Inner()


@pytest.mark.parametrize("kind", [_Property, _Method, _OnTheModel])
def test_the_plate_that_the_module_declares(kind):
    module = kind(ConjugateNormal(10))
    if kind is not _OnTheModel:
        module.model = module.guide = _two_plates
    host = Host(module)
    y, index = host.toy.data
    batches = [(y[cut], index[cut]) for cut in (slice(0, 4), slice(4, 7))]
    assert obs_plate_of(module) == "rows"
    options = {"num_samples": 2, "input_dl": batches, **QUIET}
    found = host.sample_posterior(**options)
    assert found.plan.obs_plate == "rows"
    assert found["post_sample_means"]["z"].shape == (7, 3)


def test_without_a_declared_plate_it_is_found():
    assert obs_plate_of(Module(ConjugateNormal(10))) is None
    assert Host().sample_posterior(num_samples=1, **QUIET).plan.obs_plate == "obs"


def test_a_declared_plate_that_does_not_exist():
    with pytest.raises(RequestError, match=r"obs_plate='rows' is not a plate of the model.*'obs'"):
        Host(_Property(ConjugateNormal(10))).sample_posterior(**QUIET)


# ----------------------------------------------------------------------------------- model, sites


def test_another_model_is_used_from_the_first_draw_to_the_last():
    host = Host()
    runs = []

    def other(y, index=None):
        runs.append(1)
        mu = pyro.sample("mu", dist.Normal(y.new_tensor(0.0), 1.0))
        with pyro.plate("obs", 10, subsample=index):
            pyro.deterministic("from_other", mu * 0 + y * 3)
            pyro.sample("prediction", dist.Normal(y.new_tensor(100.0), 1.0))

    def never(y, index=None):
        raise AssertionError("module.model was run")

    host.module.model = never
    found = host.sample_posterior(
        model=other, num_samples=16, batch_size=4, return_samples=True, **QUIET
    )
    assert len(runs) >= 3 * 16
    np.testing.assert_allclose(found["post_sample_means"]["from_other"], host.toy.y * 3, rtol=1e-6)
    # a latent that the guide lacks is drawn from the other model, each minibatch its own
    prediction = found["posterior_samples"]["prediction"]
    assert prediction.shape == (16, 10)
    assert len(np.unique(prediction)) == 160
    assert abs(prediction.mean() - 100) < 1


def test_exclude_vars_holds_for_every_minibatch():
    found = Host().sample_posterior(
        exclude_vars=["z", "sum"], num_samples=3, batch_size=4, return_samples=True, **QUIET
    )
    for arrays in found.values():
        assert list(arrays) == ["mu", "twice_mu", "mu_times_y"]


def test_exclude_sites_is_the_same_argument():
    one = Host().sample_posterior(exclude_sites=["z", "sum"], num_samples=3, **QUIET)
    assert list(one["post_sample_means"]) == ["mu", "twice_mu", "mu_times_y"]
    with pytest.raises(TypeError, match="are the same argument"):
        Host().sample_posterior(exclude_sites=["z"], exclude_vars=["z"], **QUIET)


@pytest.mark.parametrize("name", ["obs_plate", "to_args", "data", "names"])
def test_what_the_host_says_itself_is_no_argument(name):
    with pytest.raises(TypeError, match=f"unexpected argument '{name}'"):
        Host().sample_posterior(**{name: None}, **QUIET)


def test_every_other_keyword_of_the_function_holds(tmp_path):
    pytest.importorskip("zarr")
    options = {"num_samples": 3, "batch_size": 4, "store": tmp_path / "s", **QUIET}
    part = Host().sample_posterior(shard=(0, 2), **options)
    assert part.unfinished
    whole = Host().sample_posterior(shard=(1, 2), **options)
    assert list(whole["post_sample_means"])


def test_unknown_sites_are_not_dropped_in_silence():
    with pytest.raises(RequestError, match="return_sites names 'typo', which the model does not"):
        Host().sample_posterior(return_sites=["z", "typo"], **QUIET)
    with pytest.raises(RequestError, match="exclude_sites names 'typo'"):
        Host().sample_posterior(exclude_vars=["typo"], **QUIET)


# ---------------------------------------------------------------------------------------- summaries


def test_names_of_summaries_and_the_callers_dict():
    funs = {"means": np.mean, "std": np.std, "post_sample_max": np.max}
    before = dict(funs)
    found = Host().sample_posterior(
        summary_fun=funs, num_samples=9, batch_size=4, return_samples=True, **QUIET
    )
    names = ["post_sample_means", "post_sample_std", "post_sample_max", "posterior_samples"]
    assert list(found) == names
    assert funs == before
    draws = found["posterior_samples"]["z"]
    np.testing.assert_allclose(found["post_sample_max"]["z"], draws.max(0))
    np.testing.assert_allclose(found["post_sample_std"]["z"], draws.std(0), rtol=1e-5)


def test_summary_frequency_changes_nothing():
    host = Host()
    options = {"num_samples": 9, "batch_size": 4, **QUIET}
    one = host.sample_posterior(**options)
    assert_same(one, host.sample_posterior(summary_frequency=1, **options))


def test_a_shape_that_keeps_several_values_over_minibatches():
    quantiles = functools.partial(np.quantile, q=[0.1, 0.5, 0.9])
    found = Host().sample_posterior(
        summary_fun={"q": lambda x, axis: quantiles(x, axis=axis)},
        num_samples=9,
        batch_size=4,
        return_samples=True,
        **QUIET,
    )
    wanted = np.quantile(found["posterior_samples"]["z"], [0.1, 0.5, 0.9], axis=0)
    assert found["post_sample_q"]["z"].shape == (3, 10)
    np.testing.assert_allclose(found["post_sample_q"]["z"], wanted, rtol=1e-6)
    assert found["post_sample_q"]["mu"].shape == (3,)


# ------------------------------------------------------------------------------------ without scvi


def test_works_where_scvi_tools_cannot_be_imported():
    code = """
        import sys
        for name in ("scvi", "anndata", "lightning", "pandas", "scipy", "zarr", "xarray", "arviz"):
            sys.modules[name] = None   # importing it fails
        sys.path.insert(0, TESTS)
        from test_mixin_host import Host
        found = Host().sample_posterior(num_samples=3, batch_size=4, show_progress=False,
                                        engine="loop", accelerator="cpu")
        assert found["post_sample_means"]["z"].shape == (10,)
    """
    host = """
        import pyro, pyro.distributions as dist, torch
        from pyro_posterior import PyroSampleMixin

        class Module:
            def model(self, y):
                mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
                with pyro.plate("obs", len(y)):
                    z = pyro.sample("z", dist.Normal(mu, 1.0))
                    pyro.sample("y", dist.Normal(z, 1.0), obs=y)

            def guide(self, y):
                pyro.sample("mu", dist.Normal(0.0, 1.0))
                with pyro.plate("obs", len(y)):
                    pyro.sample("z", dist.Normal(y, 1.0))

            def _get_fn_args_from_batch(self, batch):
                return (batch,), {}

        class Host(PyroSampleMixin):
            module = Module()

            def _make_data_loader(self, batch_size):
                return torch.utils.data.DataLoader(torch.arange(10.0), batch_size=batch_size)
    """
    code = textwrap.dedent(code).replace("sys.path.insert(0, TESTS)\n", "")
    code = code.replace("from test_mixin_host import Host\n", textwrap.dedent(host))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


class _PlainModule:
    """A module for hosts, in the shapes that such objects have."""

    __slots__ = ("_get_fn_args_from_batch", "guide", "list_obs_plate_vars", "model")

    def __init__(self, model, guide, _get_fn_args_from_batch, list_obs_plate_vars):
        self.model, self.guide = model, guide
        self._get_fn_args_from_batch = _get_fn_args_from_batch
        self.list_obs_plate_vars = list_obs_plate_vars


_DataModule = dataclasses.make_dataclass(
    "_DataModule", ["model", "guide", "_get_fn_args_from_batch", "list_obs_plate_vars"]
)


@pytest.mark.parametrize("made", [types.SimpleNamespace, _PlainModule, _DataModule])
@pytest.mark.parametrize(
    "plates", [None, {}, {"name": "", "in": [], "sites": {}}, {"name": "rows"}]
)
def test_modules_that_are_plain_objects(made, plates, engine):
    """Neither hashable nor weakly referenced; a plate's name may be empty, as scvi-tools ships it."""

    def model(y, index):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 6, subsample=index):
            z = pyro.sample("z", dist.Normal(mu, 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def guide(y, index):
        pyro.sample("mu", dist.Normal(pyro.param("loc", torch.tensor(2.0)), 0.01))
        with pyro.plate("rows", 6, subsample=index):
            pyro.sample("z", dist.Normal(y, 0.01))

    module = made(
        model=model,
        guide=guide,
        _get_fn_args_from_batch=lambda batch: (batch, {}),
        list_obs_plate_vars=plates,
    )
    host = type("Host", (PyroSampleMixin,), {"module": module})()
    y, index = torch.arange(6.0), torch.arange(6)
    guide(y, index)
    pyro.get_param_store()["loc"] = torch.tensor(7.0)
    keep_parameters(host)
    pyro.clear_param_store()
    for size in (6, 4):
        batches = list(zip(y.split(size), index.split(size), strict=True))
        means = host.sample_posterior(
            input_dl=batches, num_samples=9, engine=engine, accelerator="cpu", show_progress=False
        ).means
        assert means["mu"] == pytest.approx(7.0, abs=0.1)
        np.testing.assert_allclose(means["z"], y, atol=0.1)


@pytest.mark.parametrize("sizes", [(6,), (4, 2), (5, 1)])
def test_a_batch_that_its_host_changes(sizes, engine):
    """Its `_get_fn_args_from_batch` may take keys out and add columns; a batch of one included."""

    def model(index, x):
        with pyro.plate("rows", 6, subsample=index):
            pyro.sample("z", dist.Normal(x.sum(-1), 1e-6))

    def to_args(batch):
        batch["x"] = torch.cat([batch["x"], batch.pop("s")], -1)
        batch["x"] *= 3.0
        return (batch.pop("i").squeeze(),), batch

    module = types.SimpleNamespace(model=model, guide=model, _get_fn_args_from_batch=to_args)
    host = type("Host", (PyroSampleMixin,), {"module": module})()
    rows = torch.arange(6).split(sizes)
    batches = [{"x": torch.ones(len(i), 1), "s": torch.ones(len(i), 1), "i": i} for i in rows]
    for _ in range(2):
        means = host.sample_posterior(
            input_dl=batches, num_samples=3, engine=engine, accelerator="cpu", show_progress=False
        ).means
        np.testing.assert_allclose(means["z"], np.full(6, 6.0), rtol=1e-4)
    assert all(sorted(batch) == ["i", "s", "x"] for batch in batches)


def test_model_and_guide_of_a_host_exchanged():
    host = Host()
    host.module.model, host.module.guide = host.module.guide, host.module.model
    with pytest.raises(RequestError, match="model and guide seem to be exchanged"):
        host.sample_posterior(**QUIET)


@pytest.mark.parametrize("sizes", [(8,), (5, 3)])
def test_a_latent_that_was_summed_out(sizes, engine):
    """It is refused where it, or what is computed from it, is asked for; the rest is not."""

    @config_enumerate
    def model(y, index):
        w = pyro.sample("w", dist.Dirichlet(torch.ones(2)))
        with pyro.plate("rows", 8, subsample=index):
            k = pyro.sample("k", dist.Categorical(w))
            pyro.deterministic("loc", torch.tensor([-3.0, 3.0])[k])
            pyro.sample("y", dist.Normal(torch.tensor([-3.0, 3.0])[k], 1.0), obs=y)

    def guide(y, index):
        pyro.sample("w", dist.Dirichlet(torch.tensor([900.0, 100.0])))

    module = types.SimpleNamespace(
        model=model, guide=guide, _get_fn_args_from_batch=lambda batch: (batch, {})
    )
    host = type("Host", (PyroSampleMixin,), {"module": module})()
    batches = list(zip(torch.zeros(8).split(sizes), torch.arange(8).split(sizes), strict=True))
    options = {"num_samples": 20, "engine": engine, "accelerator": "cpu", "show_progress": False}
    for asked in ({"return_sites": ["w"]}, {"exclude_vars": ["k", "loc"]}):
        means = host.sample_posterior(input_dl=batches, **options, **asked).means
        assert list(means) == ["w"]
        np.testing.assert_allclose(means["w"], [0.9, 0.1], atol=0.05)
    for asked, name in (
        ({}, "k"),
        ({"return_sites": ["k"]}, "k"),
        ({"exclude_vars": ["k"]}, "loc"),
    ):
        with pytest.raises(RequestError, match=f"'{name}'.*exclude_sites="):
            host.sample_posterior(input_dl=batches, **options, **asked)


def test_type_checkers_see_the_keywords_of_a_request():
    own = {"model", "use_gpu", "exclude_vars"}
    seen = {name: each.__forward_arg__ for name, each in Options.__annotations__.items()}
    assert set(seen) - own == mixin._MORE
    for name in set(seen) - own:
        assert seen[name] == Request.__annotations__[name], name


def test_a_type_checker_finds_a_keyword_that_is_none(tmp_path):
    api = pytest.importorskip("mypy.api")
    (tmp_path / "user.py").write_text(
        "from pyro_posterior import Posterior, PyroSampleMixin\n"
        "class Mine(PyroSampleMixin): ...\n"
        "right: Posterior = Mine().sample_posterior(num_samples=3, store='s', exclude_vars=['w'])\n"
        "also: Posterior = Mine().sample_posterior(3, ['w'], seed=1)\n"
        "Mine().sample_posterior(num_sample=3)\n"
        "Mine().sample_posterior(num_samples=3, engine='fast')\n"
        "Mine().sample_posterior(num_samples='many')\n"
    )
    found = api.run(
        [*("--follow-imports", "silent", "--no-incremental", "--ignore-missing-imports"),
         *("--config-file", os.devnull, str(tmp_path / "user.py"))]
    )[0]  # fmt: skip
    lines = {int(line.split(":")[1]) for line in found.splitlines() if ": error:" in line}
    assert lines == {5, 6, 7}, found
