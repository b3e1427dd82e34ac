"""Seeds, the caller's state, the result's layout, and what bad input gets."""

from __future__ import annotations

import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

import pyro_posterior
from pyro_posterior.drawing import draw_segments
from pyro_posterior.errors import PosteriorWarning, RequestError
from pyro_posterior.job import prepare
from pyro_posterior.keyed.state import random_states
from pyro_posterior.request import Request
from pyro_posterior.sampling import open_store
from pyro_posterior.session import undisturbed
from pyro_posterior.sliced import program, sizes
from toy_models import ConjugateNormal, assert_same, sample

# ------------------------------------------------------------------------------------------- seeds


@pytest.fixture
def toy() -> ConjugateNormal:
    return ConjugateNormal(10)


def _options(engine: str, **options):
    return {"num_samples": 20, "return_samples": True, "batch_size": 4, "engine": engine} | options


def test_the_same_seed_gives_the_same_bits_twice_in_a_row(engine, toy):
    one = sample(toy.model, toy.guide, toy.data, **_options(engine))
    torch.randn(3)
    other = sample(toy.model, toy.guide, toy.data, **_options(engine))
    assert_same(one, other)


def test_another_seed_gives_other_numbers(engine, toy):
    one = sample(toy.model, toy.guide, toy.data, **_options(engine))["posterior_samples"]
    other = sample(toy.model, toy.guide, toy.data, **_options(engine, seed=2))["posterior_samples"]
    for name in ("mu", "z"):
        assert not np.isin(one[name], other[name]).any()


def test_without_a_seed_the_result_tells_the_one_that_was_used(engine, toy):
    one = sample(toy.model, toy.guide, toy.data, **_options(engine, seed=None))
    other = sample(toy.model, toy.guide, toy.data, **_options(engine, seed=None))
    assert one.seed != other.seed
    again = sample(toy.model, toy.guide, toy.data, **_options(engine, seed=one.seed))
    assert_same(one, again)


def test_the_seed_of_the_settings_is_used(engine, toy, monkeypatch):
    monkeypatch.setattr(pyro_posterior.settings, "seed", 7)
    one = sample(toy.model, toy.guide, toy.data, **_options(engine, seed=None))
    assert one.seed == 7


@pytest.mark.parametrize("num_samples", [1, 3, 8, 21])
def test_the_first_independent_draws_do_not_depend_on_how_many_follow(engine, toy, num_samples):
    many = sample(
        toy.model, toy.guide, toy.data, **_options(engine, num_samples=24, draws="independent")
    )
    few = sample(
        toy.model,
        toy.guide,
        toy.data,
        **_options(engine, num_samples=num_samples, draws="independent"),
    )
    for name, draws in few["posterior_samples"].items():
        np.testing.assert_array_equal(draws, many["posterior_samples"][name][:num_samples])


def test_the_order_of_segments_does_not_matter(engine, toy):
    straight = sample(toy.model, toy.guide, toy.data, **_options(engine, num_samples=24))
    options = _options(engine, num_samples=24, seed=straight.seed, show_progress=False)
    request = Request(toy.model, toy.guide, toy.data, **options)
    with undisturbed(request) as place:
        job = prepare(request, place)
        with open_store(job) as store:
            for segment in reversed(job.segments):
                for result in draw_segments(job, [segment]):
                    store.write(result)
            found = store.finish(dict).results
    assert len(job.segments) == 4
    for result, arrays in straight.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, found[result][name])


def test_chunks_side_by_side_give_the_same_numbers(toy, monkeypatch):
    options = _options("sliced", num_samples=80)
    one = sample(toy.model, toy.guide, toy.data, **options)
    monkeypatch.setattr(sizes, "cache_bytes", lambda: 1)
    monkeypatch.setattr(program, "KEPT_GLOBALS_BYTES", 0)
    many = sample(toy.model, toy.guide, toy.data, **options)
    assert "once per 8 draws" in many.program
    assert "once per 8 draws" not in one.program
    assert_same(one, many)


def test_the_engines_agree(toy):
    loop, sliced = (
        sample(toy.model, toy.guide, toy.data, **_options(engine)) for engine in ("loop", "sliced")
    )
    assert (loop.plan.engine, sliced.plan.engine) == ("loop", "batched slice")
    for name, draws in loop["posterior_samples"].items():
        np.testing.assert_allclose(sliced["posterior_samples"][name], draws, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------ the caller's state


def test_the_callers_random_states_are_untouched(engine, toy):
    before = random_states()
    sample(toy.model, toy.guide, toy.data, **_options(engine))
    assert random_states() == before


def test_a_model_that_draws_from_numpy_and_python_leaves_the_callers_state(engine):
    def model(y):
        np.random.rand(), random.random(), torch.rand(1)
        mu = pyro.sample("mu", dist.Normal(y.new_tensor(0.0), 1.0))
        with pyro.plate("obs", len(y)):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    def guide(y):
        pyro.sample("mu", dist.Normal(y.new_tensor(1.0), 0.5))

    before = random_states()
    sample(
        model, guide, torch.zeros(4), num_samples=3, engine="auto" if engine == "sliced" else engine
    )
    assert random_states() == before


def test_an_error_while_drawing_leaves_the_callers_state(toy):
    def guide(y, index=None):
        toy.guide(y, index)
        raise KeyError("broken")

    before, validated = random_states(), torch.distributions.Distribution._validate_args
    with pytest.raises(KeyError, match="broken"):
        sample(toy.model, guide, toy.data, engine="loop")
    assert random_states() == before
    assert torch.distributions.Distribution._validate_args == validated
    assert torch.is_grad_enabled()


def test_the_caller_may_draw_with_validation_and_gradients_afterwards(toy, engine):
    sample(toy.model, toy.guide, toy.data, **_options(engine))
    assert torch.is_grad_enabled()
    with pytest.raises(ValueError, match="scale"):
        dist.Normal(0.0, -torch.ones(2), validate_args=None)


# ---------------------------------------------------------------------------------------- the result


def test_the_documented_layout(engine, toy):
    posterior = sample(toy.model, toy.guide, toy.data, num_samples=9, batch_size=4, engine=engine)
    keys = ["post_sample_means", "post_sample_stds", "post_sample_q05", "post_sample_q95"]
    assert sorted(posterior) == sorted(keys)
    shapes = {"mu": (), "twice_mu": (), "z": (10,), "mu_times_y": (10,), "sum": (10,)}
    for key in keys:
        assert {name: x.shape for name, x in posterior[key].items()} == shapes
        assert all(type(x) is np.ndarray for x in posterior[key].values())


def test_summaries_are_those_numpy_gives_for_the_draws(engine, toy):
    posterior = sample(toy.model, toy.guide, toy.data, **_options(engine))
    for name, draws in posterior["posterior_samples"].items():
        assert draws.shape[0] == 20
        wanted = {
            "means": draws.mean(0),
            "stds": draws.std(0),
            "q05": np.quantile(draws, 0.05, axis=0),
            "q95": np.quantile(draws, 0.95, axis=0),
        }
        for key, value in wanted.items():
            found = posterior[f"post_sample_{key}"][name]
            np.testing.assert_allclose(found, value, rtol=2e-6, atol=1e-6, err_msg=f"{key} {name}")


def test_observed_sites_on_request(engine, toy):
    posterior = sample(
        toy.model, toy.guide, toy.data, return_observed=True, **_options(engine, num_samples=3)
    )
    np.testing.assert_allclose(posterior["post_sample_means"]["y"], toy.y.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(
        posterior["posterior_samples"]["y"], np.broadcast_to(toy.y.numpy(), (3, 10))
    )
    assert posterior.sites["y"].kind == "observed"


def test_return_and_exclude(engine, toy):
    def returned(**options):
        found = sample(toy.model, toy.guide, toy.data, num_samples=2, engine=engine, **options)
        return list(found["post_sample_means"])

    assert returned(return_sites=["z", "mu"]) == ["mu", "z"]  # in the model's order
    assert returned(return_sites="z") == ["z"]
    assert returned(exclude_sites=["z", "sum"]) == ["mu", "twice_mu", "mu_times_y"]
    assert returned(return_sites=["y"], return_observed=True) == ["y"]
    assert returned(return_sites=(name for name in ("mu",))) == ["mu"]


def test_choosing_sites_does_not_change_their_draws(engine, toy):
    whole = sample(toy.model, toy.guide, toy.data, **_options(engine))["posterior_samples"]
    part = sample(toy.model, toy.guide, toy.data, **_options(engine, return_sites=["sum"]))
    np.testing.assert_array_equal(part["posterior_samples"]["sum"], whole["sum"])


def test_only_global_sites_need_only_the_first_minibatch(engine, toy):
    rows = []

    def to_args(batch):
        rows.append(len(batch[0]))
        return batch, {}

    data = [tuple(x[i : i + 2] for x in toy.data) for i in range(0, 10, 2)]
    sample(
        toy.model,
        toy.guide,
        data,
        to_args=to_args,
        num_samples=8,
        return_sites=["mu"],
        engine=engine,
    )
    assert len(rows) < 2 + 5 + 5  # two to look, all to count, not all again to draw


@pytest.mark.parametrize("keep", ["drop", "keep", "several"])
def test_shapes_that_a_summary_may_return(engine, toy, keep):
    """Axis 0 may be dropped, kept as one, or be several values: rows stay the observations."""
    funs = {
        "drop": lambda x, axis: x.max(axis=axis),
        "keep": lambda x, axis: x.max(axis=axis, keepdims=True),
        "several": lambda x, axis: np.quantile(x, [0.1, 0.5, 0.9], axis=axis),
    }
    posterior = sample(
        toy.model, toy.guide, toy.data, summary_fun={"it": funs[keep]}, **_options(engine)
    )
    assert list(posterior) == ["post_sample_it", "posterior_samples"]
    for name, draws in posterior["posterior_samples"].items():
        np.testing.assert_allclose(
            posterior["post_sample_it"][name], funs[keep](draws, axis=0), rtol=1e-6
        )


def test_a_name_with_the_prefix_is_kept_and_the_callers_dict_unchanged(engine, toy):
    funs = {"means": np.mean, "post_sample_sd": np.std}
    before = dict(funs)
    posterior = sample(toy.model, toy.guide, toy.data, summary_fun=funs, **_options(engine))
    assert list(posterior) == ["post_sample_means", "post_sample_sd", "posterior_samples"]
    assert funs == before


def test_a_model_without_observations_or_arguments(engine):
    def model():
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.deterministic("b", a + 1)

    def guide():
        pyro.sample("a", dist.Normal(3.0, 0.1))

    posterior = sample(model, guide, (), num_samples=50, device="cpu", engine=engine)
    assert posterior["post_sample_means"]["b"] == pytest.approx(4.0, abs=0.1)


# ----------------------------------------------------------------------------------- progress and log


def test_progress_bar_on_and_off(engine, toy, capfd):
    sample(toy.model, toy.guide, toy.data, **_options(engine, show_progress=True))
    out, err = capfd.readouterr()
    assert "Sampling posterior" in err
    assert "100%" in err
    assert out == ""
    sample(toy.model, toy.guide, toy.data, **_options(engine, show_progress=False))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_a_guide_that_was_never_run_is_set_up_and_told(engine, toy):
    def make():
        pyro.clear_param_store()
        return AutoNormal(toy.model, create_plates=lambda y, i: pyro.plate("obs", 10, subsample=i))

    with pytest.warns(PosteriorWarning, match="never been run"):
        one = sample(toy.model, make(), toy.data, **_options(engine))
    torch.rand(5)
    assert_same(one, sample(toy.model, make(), toy.data, **_options(engine)))


def test_non_finite_draws_are_counted_and_told_once(engine):
    def model(y):
        pyro.sample("fine", dist.Normal(y.new_tensor(0.0), 1.0))
        with pyro.plate("obs", len(y)):
            z = pyro.sample("z", dist.Normal(y.new_tensor(0.0), 1.0))
            pyro.deterministic("ratio", z / (y > 0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def guide(y):
        pyro.sample("fine", dist.Normal(y.new_tensor(0.0), 1.0))
        with pyro.plate("obs", len(y)):
            pyro.sample("z", dist.Normal(y, 1.0))

    y = torch.tensor([1.0, -1.0, 2.0, -2.0, -3.0])
    with pytest.warns(PosteriorWarning, match="'ratio': 30") as seen:
        posterior = sample(model, guide, y, batch_size=2, num_samples=10, engine=engine)
    assert posterior.nonfinite == {"ratio": 30}
    assert len(seen) == 1


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1, found 0"),
        ({"num_samples": -3}, "num_samples must be at least 1, found -3"),
        ({"num_samples": 2.5}, "num_samples must be a whole number, found 2.5"),
        ({"num_samples": True}, "num_samples must be a whole number, found True"),
        ({"seed": "seven"}, "seed must be a whole number or None, found 'seven'"),
        ({"engine": "fast"}, "engine='fast' is unknown: choose 'auto', 'sliced' or 'loop'"),
        ({"return_sites": ["zz"]}, "return_sites names 'zz', which the model does not have.*'mu'"),
        ({"return_sites": "zz"}, "return_sites names 'zz', which the model does not have"),
        ({"return_sites": [3]}, "return_sites must be a list of site names"),
        ({"return_sites": 3}, "return_sites must be a list of site names, found 3"),
        ({"return_sites": []}, "no sites to return. The model has: .*'mu \\(latent\\)'"),
        ({"exclude_sites": ["zz"]}, "exclude_sites names 'zz', which the model does not have"),
        (
            {"return_sites": ["z"], "exclude_sites": ["z"]},
            "'z' is in both return_sites and exclude_sites",
        ),
        ({"return_sites": ["y"]}, "'y', which is observed: pass return_observed=True"),
        (
            {"exclude_sites": ["mu", "z", "twice_mu", "mu_times_y", "sum"]},
            "no sites to return. The model has",
        ),
        ({"obs_plate": "cells"}, "obs_plate='cells' is not a plate of the model. .*'obs'"),
        ({"batch_size": 0}, "batch_size must be at least 1, found 0"),
    ],
)
def test_bad_arguments(toy, options, message):
    with pytest.raises(RequestError, match=message):
        sample(toy.model, toy.guide, toy.data, **options)


def test_nothing_is_drawn_before_an_error(toy):
    runs = []

    def guide(*args):
        runs.append(args)
        toy.guide(*args)

    with pytest.raises(RequestError):
        sample(toy.model, guide, toy.data, return_sites=["zz"], num_samples=1000)
    assert len(runs) <= 6  # to read the sites


def test_a_guide_that_lacks_a_latent(toy):
    def guide(y, index=None):
        pyro.sample("mu", dist.Normal(y.new_tensor(0.0), 1.0))

    with pytest.raises(RequestError, match="guide has no draws for 'z', latent in the model: add"):
        sample(toy.model, guide, toy.data)
    with pytest.raises(
        RequestError, match=r"'sum' is computed from 'z', .* would come from the prior"
    ):
        sample(toy.model, guide, toy.data, exclude_sites=["z"])
    for asked in ({"return_sites": ["mu", "mu_times_y"]}, {"exclude_sites": ["z", "sum"]}):
        posterior = sample(toy.model, guide, toy.data, num_samples=2, **asked)
        assert set(posterior["post_sample_means"]) - {"twice_mu"} == {"mu", "mu_times_y"}


def test_a_site_whose_batch_axis_cannot_be_told():
    def model(y):
        mu = pyro.sample("mu", dist.Normal(y.new_tensor(0.0), 1.0))
        with pyro.plate("obs", len(y)):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        pyro.deterministic("pairs", mu * (y[:, None] - y), event_dim=2)

    def guide(y):
        pyro.sample("mu", dist.Normal(y.new_tensor(0.0), 1.0))

    y = torch.arange(6.0)
    with pytest.raises(RequestError, match=r"'pairs' has shape .*cannot be told.*exclude_sites"):
        sample(model, guide, y, batch_size=3)
    posterior = sample(model, guide, y, batch_size=3, exclude_sites=["pairs"], num_samples=2)
    assert list(posterior["post_sample_means"]) == ["mu"]
    whole = sample(model, guide, y, num_samples=2)
    assert whole["post_sample_means"]["pairs"].shape == (6, 6)


def test_several_plates_subsample():
    def model(y, i, j):
        with pyro.plate("rows", 10, subsample=i, dim=-2), pyro.plate("columns", 9, subsample=j):
            z = pyro.sample("z", dist.Normal(y.new_tensor(0.0), 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def guide(y, i, j):
        with pyro.plate("rows", 10, subsample=i, dim=-2), pyro.plate("columns", 9, subsample=j):
            pyro.sample("z", dist.Normal(y, 1.0))

    batches = [(torch.ones(4, 3), torch.arange(k, k + 4), torch.arange(k, k + 3)) for k in (0, 4)]
    with pytest.raises(RequestError, match=r"several plates subsample .*'rows'.*obs_plate="):
        sample(model, guide, batches)
    constant = [(y, i, torch.arange(3)) for y, i, _ in batches]  # columns are all the same
    for chosen, options in ((batches, {"obs_plate": "rows"}), (constant, {})):
        posterior = sample(model, guide, chosen, num_samples=2, **options)
        assert posterior["post_sample_means"]["z"].shape == (8, 3)
        assert posterior.sites["z"].dims == ("rows", "columns")


def test_a_guide_that_chooses_its_rows_by_itself(toy):
    def model(y, index=None):
        mu = pyro.sample("mu", dist.Normal(y.new_tensor(0.0), 1.0))
        with pyro.plate("obs", 10, subsample_size=4):
            pyro.sample("z", dist.Normal(mu, 1.0))

    guide = AutoNormal(model)
    guide(*toy.data)
    with pytest.raises(
        RequestError, match=r"'obs', which picks 4 of its 10 rows at random.*create_plates="
    ):
        sample(model, guide, toy.data, batch_size=4)


def test_complex_sites_are_refused_unless_the_summaries_can_do_with_them():
    def model(x):
        pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.deterministic("c", torch.complex(x.sum(), x.sum()))

    with pytest.raises(RequestError, match=r"sites \['c'\] have complex numbers"):
        sample(model, model, torch.ones(3))
    means = sample(model, model, torch.ones(3), summary_fun={"means": np.mean})
    assert means["post_sample_means"]["c"] == 3 + 3j


def test_data_may_be_a_function_that_opens_them(engine, toy):
    given = sample(toy.model, toy.guide, toy.data, **_options(engine))
    assert_same(given, sample(toy.model, toy.guide, lambda: toy.data, **_options(engine)))
