"""All minibatches count: sites that only some of them have are returned whole, or refused in words."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior.errors import PosteriorWarning, RequestError

LENGTHS = torch.tensor([1, 1, 2, 2, 3, 3])


def _sequences(given):
    """``z_t`` for every sequence, as long as the longest of its minibatch."""

    def body(lengths, x):
        with pyro.plate("seq", len(lengths)):
            for t in range(int(lengths.max())):
                pyro.sample(f"z_{t}", dist.Normal(x + 10 * t if given else 0 * x, 0.1))

    return body


def _split(size, *tensors):
    return list(zip(*(x.split(size) for x in tensors), strict=True))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_sequences_of_several_lengths(draw, order):
    x = torch.arange(6.0)
    batches = _split(2, LENGTHS, x)
    batches = [batches[i] for i in order]
    with pytest.warns(PosteriorWarning, match=r"lack 'z_1' \(1\), 'z_2' \(2\)"):
        found = draw(_sequences(False), _sequences(True), batches)
    lengths = np.concatenate([batch[0].numpy() for batch in batches])
    where = np.concatenate([batch[1].numpy() for batch in batches])
    assert [site.name for site in found.plan.sites] == ["z_0", "z_1", "z_2"]
    for t in range(3):
        longest = lengths.reshape(3, 2).max(1).repeat(2)
        right = np.where(longest > t, where + 10 * t, np.nan)
        np.testing.assert_allclose(found["post_sample_means"][f"z_{t}"], right, atol=0.1)
        assert found["posterior_samples"][f"z_{t}"].shape == (40, 6)
    assert not found.nonfinite  # gaps are meant to be there


def test_a_site_of_some_minibatches_can_be_asked_for_or_left_out(draw):
    batches = _split(2, LENGTHS, torch.arange(6.0))
    model, guide = _sequences(False), _sequences(True)
    with pytest.warns(PosteriorWarning, match="'z_2'"):
        asked = draw(model, guide, batches, return_sites=["z_2"])["post_sample_means"]
    np.testing.assert_allclose(asked["z_2"], [np.nan] * 4 + [24, 25], atol=0.1)
    left = draw(model, guide, batches, exclude_sites=["z_1", "z_2"])["post_sample_means"]
    assert list(left) == ["z_0"]


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("flipped", [False, True])
def test_an_experiment_that_only_some_minibatches_hold(draw, size, flipped):
    """Its global effect is drawn with the minibatches that have it, and is no gap anywhere."""

    def body(x, experiments):
        for k in experiments.unique().tolist():
            effect = pyro.sample(f"effect_{k}", dist.Normal(10.0 * k, 0.1))
        with pyro.plate("cells", len(x)):
            z = pyro.sample("z", dist.Normal(x, 1.0))
            pyro.deterministic("last", z + effect)

    experiments = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    experiments = experiments.flip(0) if flipped else experiments
    found = draw(body, body, _split(size, torch.arange(8.0), experiments))
    means, draws = found["post_sample_means"], found["posterior_samples"]
    np.testing.assert_allclose(means["effect_0"], 0.0, atol=0.1)
    np.testing.assert_allclose(means["effect_1"], 10.0, atol=0.1)
    assert draws["effect_1"].shape == (40,)
    for row in range(8):  # each row is one joint draw with its own minibatch's effects
        own = experiments[(row // size) * size : (row // size + 1) * size]
        effect = draws[f"effect_{int(own.max())}"]
        np.testing.assert_allclose(draws["last"][:, row] - draws["z"][:, row], effect, atol=1e-5)


def test_whole_numbers_with_gaps_become_floating_point(draw):
    def body(x):
        with pyro.plate("cells", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))
            if bool((x > 3).any()):
                pyro.sample("k", dist.Categorical(torch.tensor([0.0, 1.0])))

    with pytest.warns(PosteriorWarning, match="'k'"):
        found = draw(body, body, [(x,) for x in torch.arange(8.0).split(4)])
    np.testing.assert_array_equal(
        found["posterior_samples"]["k"], np.tile([np.nan] * 4 + [1.0] * 4, (40, 1))
    )


def test_shapes_that_cannot_be_laid_behind_each_other(draw):
    def body(x, length):
        with pyro.plate("cells", len(x)):
            steps = torch.zeros(len(x), int(length.max()))
            pyro.sample("path", dist.Normal(steps, 1.0).to_event(1))
            pyro.sample("z", dist.Normal(x, 1.0))

    batches = _split(2, torch.arange(6.0), LENGTHS)
    with pytest.raises(RequestError, match=r"'path' has shape \(2, 1\) in minibatch 0 .*\(2, 2\)"):
        draw(body, body, batches)
    found = draw(body, body, batches, exclude_sites=["path"])
    assert found["posterior_samples"]["z"].shape == (40, 6)


def test_sequential_plates_over_rows(draw):
    """Sites named by the rows' numbers are in one minibatch each; named by position they repeat."""

    def numbered(index):
        for i in pyro.plate("rows", 6, subsample=index):
            pyro.sample(f"z_{i}", dist.Normal(float(i), 0.1))

    def placed(x):
        for j in pyro.plate("rows", len(x)):
            pyro.sample(f"z_{j}", dist.Normal(0.0, 0.1))

    def looped(x):
        for j in range(len(x)):
            pyro.sample(f"z_{j}", dist.Normal(0.0, 0.1))

    for size in (2, 4):
        found = draw(numbered, numbered, [(i,) for i in torch.arange(6).split(size)])
        assert sorted(found["post_sample_means"]) == [f"z_{i}" for i in range(6)]
        for i in range(6):
            np.testing.assert_allclose(found["post_sample_means"][f"z_{i}"], i, atol=0.1)
        for body in (placed, looped):
            with pytest.raises(RequestError, match="'z_0' .*another row in each minibatch"):
                draw(body, body, [(x,) for x in torch.arange(6.0).split(size)])


def test_a_sequential_plate_of_fixed_length_is_global(draw):
    def body(x):
        for t in pyro.plate("time", 2):
            pyro.sample(f"at_{t}", dist.Normal(float(t), 0.1))
        with pyro.plate("cells", len(x)):
            pyro.sample("z", dist.Normal(x, 0.1))

    for size in (2, 4):
        found = draw(body, body, [(x,) for x in torch.arange(6.0).split(size)])
        np.testing.assert_allclose(found["post_sample_means"]["at_1"], 1.0, atol=0.1)
        np.testing.assert_allclose(found["post_sample_means"]["z"], np.arange(6), atol=0.1)


# ------------------------------------------------------------------------------ branches on draws


def _branching(chance):
    def body():
        k = pyro.sample("k", dist.Bernoulli(torch.tensor(chance)))
        if k:
            pyro.sample("a", dist.Normal(0.0, 1.0))
        else:
            pyro.sample("b", dist.Normal(5.0, 1.0))

    return body


def test_sites_that_only_some_draws_have(draw):
    body = _branching(0.5)
    for options in ({}, {"return_sites": ["k", "a"]}, {"exclude_sites": ["a"]}):
        with pytest.raises(RequestError, match="'[ab]' is there in some draws and not in others"):
            draw(body, body, [()], **options)
    found = draw(body, body, [()], exclude_sites=["a", "b"], num_samples=400)
    np.testing.assert_allclose(found["post_sample_means"]["k"], 0.5, atol=0.15)


def test_sites_that_hardly_any_draw_has(draw):
    def body():
        k = pyro.sample("k", dist.Bernoulli(torch.tensor(0.01)))
        if k:
            pyro.sample("a", dist.Normal(0.0, 1.0))

    with pytest.raises(RequestError, match="'a'.*depends on its draws"):
        draw(body, body, [()], num_samples=1000)
    found = draw(body, body, [()], return_sites=["k"], num_samples=1000)
    np.testing.assert_allclose(found["post_sample_means"]["k"], 0.01, atol=0.02)
