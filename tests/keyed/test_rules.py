"""Every rule: right distribution, the plain operation's type, one draw is its row of many."""

from __future__ import annotations

import math

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch.nn import functional

from pyro_posterior.errors import CannotSliceError
from pyro_posterior.keyed import gammas, poissons
from pyro_posterior.keyed.angles import sine_bivariate_op, von_mises_op
from pyro_posterior.keyed.fills import UNIFORM, fill
from pyro_posterior.keyed.keys import Key, Where
from pyro_posterior.keyed.modes import KeyedDraws, KeyNamer
from pyro_posterior.keyed.rules import RULES, draw_many, draw_one, is_random, rule_of
from pyro_posterior.keyed.uniforms import TAIL
from toy_models import assert_within

aten = torch.ops.aten
DRAWS = 16
SIZE = 500
ONES = torch.ones(SIZE)

#: name: operation, mean and standard deviation of its values
OPERATIONS = {
    "randn": (lambda: torch.randn(SIZE), 0.0, 1.0),
    "rand": (lambda: torch.rand(SIZE), 0.5, 12**-0.5),
    "randn_like": (lambda: torch.randn_like(ONES), 0.0, 1.0),
    "rand_like": (lambda: torch.rand_like(ONES), 0.5, 12**-0.5),
    "randn of doubles": (lambda: torch.randn(SIZE, dtype=torch.float64), 0.0, 1.0),
    "normal of tensors": (lambda: torch.normal(ONES * 3, ONES * 2), 3.0, 2.0),
    "normal of a mean": (lambda: torch.normal(ONES * 3, 2.0), 3.0, 2.0),
    "normal of a scale": (lambda: torch.normal(3.0, ONES * 2), 3.0, 2.0),
    "normal of numbers": (lambda: torch.normal(3.0, 2.0, (SIZE,)), 3.0, 2.0),
    "normal that broadcasts": (
        lambda: torch.normal(torch.zeros(SIZE // 5, 5), torch.tensor([2.0])),
        0.0,
        2.0,
    ),
    "normal_": (lambda: torch.empty(SIZE).normal_(1, 2), 1.0, 2.0),
    "normal_ on a transpose": (lambda: torch.empty(5, SIZE // 5).t().normal_(1, 2), 1.0, 2.0),
    "uniform_": (lambda: torch.empty(SIZE).uniform_(2, 4), 3.0, 2 * 12**-0.5),
    "exponential_": (lambda: torch.empty(SIZE).exponential_(2), 0.5, 0.5),
    "log_normal_": (
        lambda: torch.empty(SIZE).log_normal_(0, 0.5),
        np.exp(0.125),
        ((np.exp(0.25) - 1) * np.exp(0.25)) ** 0.5,
    ),
    "geometric_": (lambda: torch.empty(SIZE).geometric_(0.5), 2.0, 2**0.5),
    "random_": (lambda: torch.empty(SIZE).random_(0, 5), 2.0, 2**0.5),
    "randint": (lambda: torch.randint(0, 5, (SIZE,)), 2.0, 2**0.5),
    "randint from 0": (lambda: torch.randint(5, (SIZE,)), 2.0, 2**0.5),
    "bernoulli": (lambda: torch.bernoulli(ONES * 0.3), 0.3, 0.21**0.5),
    "bernoulli of a number": (lambda: torch.bernoulli(ONES, 0.3), 0.3, 0.21**0.5),
    "bernoulli_": (lambda: torch.empty(SIZE).bernoulli_(0.3), 0.3, 0.21**0.5),
    "bernoulli_ of the default": (lambda: torch.empty(SIZE).bernoulli_(), 0.5, 0.5),
    "bernoulli_ of a tensor": (lambda: torch.empty(SIZE).bernoulli_(ONES * 0.3), 0.3, 0.21**0.5),
    "random_ up to an end": (lambda: torch.empty(SIZE, dtype=torch.long).random_(5), 2.0, 2**0.5),
    "random_ of bytes": (
        lambda: torch.empty(SIZE, dtype=torch.uint8).random_(),
        127.5,
        ((256**2 - 1) / 12) ** 0.5,
    ),
    "randint_like": (lambda: torch.randint_like(ONES, 5), 2.0, 2**0.5),
    "randint_like from an end": (lambda: torch.randint_like(ONES, 2, 7), 4.0, 2**0.5),
    "randperm": (lambda: torch.randperm(SIZE), (SIZE - 1) / 2, ((SIZE**2 - 1) / 12) ** 0.5),
    "rrelu": (
        lambda: functional.rrelu(-ONES, 0.1, 0.5, training=True),
        -0.3,
        0.4 * 12**-0.5,
    ),
    "rrelu in place": (
        lambda: functional.rrelu(-ONES.clone(), 0.1, 0.5, training=True, inplace=True),
        -0.3,
        0.4 * 12**-0.5,
    ),
    "dropout of part": (lambda: functional.dropout(ONES, 0.2), 1.0, 0.5),
    "native_dropout": (lambda: torch.native_dropout(ONES, 0.5, True)[0], 1.0, 1.0),
    "normal_functional": (
        lambda: torch.ops.aten.normal_functional(ONES, 3.0, 2.0),
        3.0,
        2.0,
    ),
    "gamma": (lambda: torch.distributions.Gamma(ONES * 4, 2.0).sample(), 2.0, 1.0),
    "gamma of a small shape": (
        lambda: torch.distributions.Gamma(ONES * 0.5, 1.0).sample(),
        0.5,
        0.5**0.5,
    ),
    "gamma of doubles": (
        lambda: torch.distributions.Gamma(ONES.double() * 4, 2.0).sample(),
        2.0,
        1.0,
    ),
    "poisson": (lambda: torch.poisson(ONES * 4), 4.0, 2.0),
    "binomial": (lambda: torch.binomial(ONES * 10, ONES * 0.5), 5.0, 2.5**0.5),
    "multinomial": (
        lambda: torch.multinomial(torch.tensor([0.5, 0.5]), SIZE, replacement=True),
        0.5,
        0.5,
    ),
    "multinomial without replacement": (
        lambda: torch.multinomial(torch.ones(SIZE), SIZE),
        (SIZE - 1) / 2,
        ((SIZE**2 - 1) / 12) ** 0.5,
    ),
    "dirichlet": (
        lambda: torch.distributions.Dirichlet(torch.ones(SIZE, 2)).sample()[:, 0],
        0.5,
        12**-0.5,
    ),
    "dropout": (lambda: functional.dropout(ONES, 0.5), 1.0, 1.0),
    "categorical": (lambda: dist.Categorical(torch.ones(SIZE, 3)).sample(), 1.0, (2 / 3) ** 0.5),
    "beta": (lambda: dist.Beta(ONES, ONES).sample(), 0.5, 12**-0.5),
    "student": (lambda: dist.StudentT(9.0 * ONES).sample(), 0.0, (9 / 7) ** 0.5),
}


#: Without replacement the mean of each draw is known.
FIXED_MEAN = {"randperm", "multinomial without replacement"}


def keyed(operation, draw, *, seed=0, minibatch=0, local=True, site="site"):
    """One operation in a site, in one draw."""
    namer = KeyNamer(lambda msg: local)
    namer._open.append((site, local))
    with KeyedDraws(namer, Where(seed, range(draw, draw + 1), minibatch)):
        return operation()


@pytest.mark.parametrize("name", OPERATIONS)
def test_values_have_the_right_distribution(name):
    operation, mean, sd = OPERATIONS[name]
    draws = torch.stack([keyed(operation, draw) for draw in range(DRAWS)]).double().numpy()
    assert_within(draws.mean(), mean, sd / draws.size**0.5, "mean")
    assert draws.std() == pytest.approx(sd, rel=0.06)
    flat = draws.reshape(DRAWS, -1)
    assert len(np.unique(flat, axis=0)) == DRAWS  # no two draws alike
    centred = (flat - mean) / sd
    between = [(centred[i] * centred[j]).mean() for i in range(9) for j in range(i)]
    assert_within(between, 0.0, flat.shape[1] ** -0.5, "between draws")


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_type_is_that_of_the_plain_operation(name):
    operation = OPERATIONS[name][0]
    plain, found = operation(), keyed(operation, 3)
    assert (found.shape, found.dtype) == (plain.shape, plain.dtype)
    assert found.stride() == plain.stride()


@pytest.mark.parametrize("name", OPERATIONS)
def test_one_key_gives_one_value_whatever_was_drawn_before(name):
    operation = OPERATIONS[name][0]
    one = keyed(operation, 5)
    torch.randn(3)
    keyed(operation, 6)
    assert torch.equal(keyed(operation, 5), one)
    for other in ({"seed": 1}, {"minibatch": 1}, {"site": "other"}):
        assert not torch.equal(keyed(operation, 5, **other), one)
    constant = keyed(operation, 5, local=False)
    assert torch.equal(keyed(operation, 5, local=False, minibatch=9), constant)


def test_the_second_operation_in_a_site_is_another():
    one, two = keyed(lambda: (torch.randn(9), torch.randn(9)), 0)
    assert not torch.isin(one, two).any()


#: overload: arguments for one draw, tensors as rows of a table with a draw axis
ROWS = torch.linspace(0.1, 3.0, 28 * 6).view(28, 6)
PROBS = ROWS / 4
MANY = {
    aten.normal_.default: (torch.zeros(28, 6), 1.0, 2.0),
    aten.normal.Tensor_Tensor: (ROWS, PROBS),
    aten.normal.Tensor_float: (ROWS, 2.0),
    aten.normal.float_Tensor: (2.0, ROWS),
    aten.normal.float_float: (2.0, 3.0, [6]),
    aten.normal_functional.default: (ROWS, 1.0, 2.0),
    aten.randn.default: ([6],),
    aten.randn_like.default: (ROWS,),
    aten.uniform_.default: (torch.zeros(28, 6), 1.0, 2.0),
    aten.rand.default: ([6],),
    aten.rand_like.default: (ROWS,),
    aten.exponential_.default: (torch.zeros(28, 6), 2.0),
    aten.cauchy_.default: (torch.zeros(28, 6), 1.0, 2.0),
    aten.log_normal_.default: (torch.zeros(28, 6), 1.0, 2.0),
    aten.geometric_.default: (torch.zeros(28, 6), 0.3),
    aten.random_.default: (torch.zeros(28, 6),),
    aten.random_.to: (torch.zeros(28, 6), 9),
    getattr(aten.random_, "from"): (
        torch.zeros(28, 6),
        3,
        9,
    ),
    aten.randint.default: (9, [6]),
    aten.randint.low: (3, 9, [6]),
    aten.randint_like.default: (ROWS, 9),
    aten.randint_like.low_dtype: (ROWS, 3, 9),
    aten.bernoulli.default: (PROBS,),
    aten.bernoulli.p: (ROWS, 0.3),
    aten.bernoulli_.float: (torch.zeros(28, 6), 0.3),
    aten.bernoulli_.Tensor: (torch.zeros(28, 6), PROBS),
    aten.native_dropout.default: (ROWS, 0.3, True),
    aten.dropout.default: (ROWS, 0.3, True),
    aten._fused_dropout.default: (ROWS, 0.3),
    aten.rrelu_with_noise.default: (-ROWS, torch.zeros(28, 6), 0.1, 0.3, True),
    aten.rrelu_with_noise_.default: (-ROWS, torch.zeros(28, 6), 0.1, 0.3, True),
    aten._standard_gamma.default: (ROWS,),
    aten._sample_dirichlet.default: (ROWS,),
    aten.multinomial.default: (ROWS, 4, True),
    aten.poisson.default: (ROWS,),
    aten.binomial.default: (torch.full((28, 6), 5.0), PROBS),
    aten.randperm.default: (6,),
    von_mises_op: (ROWS, ROWS),
    sine_bivariate_op: (ROWS, ROWS, PROBS),
}


def rows_of(value, low, high):
    return value[low:high].clone() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize(
    "cubes", [(), (28,), (12, 11)], ids=["apart", "one cube", "two and a rest"]
)
@pytest.mark.parametrize("func", MANY, ids=str)
def test_a_draw_is_its_row_of_many(func, cubes):
    key, args = Key("site", 0, True), MANY[func]

    def drawn(low, high, one=False):
        own = tuple(rows_of(x, low, high) for x in args)
        if one:
            own = tuple(x[0] if isinstance(x, torch.Tensor) else x for x in own)
        made = (draw_one if one else draw_many)(
            func, key, Where(7, range(low, high), 3, cubes), own, {}
        )
        return made[0] if isinstance(made, tuple) else made

    whole = drawn(0, 28)
    assert whole.shape[0] == 28
    assert len(torch.unique(whole.double(), dim=0)) > 8
    for low, high in ((0, 8), (8, 16), (5, 23)):
        torch.testing.assert_close(drawn(low, high), whole[low:high], rtol=1e-5, atol=1e-6)
    for row in (0, 7, 11, 12, 22, 23, 27):
        one = drawn(row, row + 1, one=True)
        torch.testing.assert_close(one, whole[row], rtol=1e-5, atol=1e-6)


def test_every_rule_that_draws_is_among_those_tested():
    tested = {rule_of(func) for func in MANY}
    assert {rule for rule in RULES.values() if rule.draw is not None} == tested


#: Tagged by torch and without a rule: out-of-place twins that no function of torch's calls, parts of
#: attention and recurrent networks on other devices, and what torch takes apart before it is seen.
WITHOUT = {
    *("bernoulli", "cauchy", "exponential", "geometric", "log_normal", "random", "uniform"),
    *("rrelu_with_noise_functional", "dropout_", "rrelu_", "alpha_dropout_", "feature_dropout_"),
    *("feature_alpha_dropout_", "_cudnn_attention_forward", "_cudnn_init_dropout_state"),
    *("_fill_mem_eff_dropout_mask_", "_flash_attention_forward_no_dropout_inplace", "_lstm_mps"),
    *("_nested_tensor_softmax_with_shape", "_scaled_dot_product_attention_math_for_mps"),
    *("_triton_scaled_dot_attention", "miopen_rnn"),
}


def test_all_that_torch_tags_as_random_is_in_the_table_or_known_to_be_left_out():
    without = set()
    for name in torch._C._dispatch_get_all_op_names():
        space, _, rest = name.partition("::")
        base, _, overload = rest.partition(".")
        if space == "aten" and "backward" not in base:
            func = getattr(getattr(aten, base), overload or "default")
            if torch.Tag.nondeterministic_seeded in func.tags and rule_of(func) is None:
                without.add(base)
    assert without <= WITHOUT


ATTENTION = torch.ones(2, 2, 3, 4)
LSTM = torch.nn.LSTM(3, 4)
TRANSFORMER = torch.nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0)


@pytest.mark.parametrize(
    "operation",
    [
        lambda: functional.scaled_dot_product_attention(ATTENTION, ATTENTION, ATTENTION),
        lambda: functional.dropout(ONES, 0.5, training=False),
        lambda: torch.native_dropout(ONES, 0.5, False)[0],
        lambda: functional.rrelu(-ONES, training=False),
        lambda: functional.alpha_dropout(ONES, 0.5, training=False),
        lambda: LSTM(torch.ones(5, 3))[0],
        lambda: TRANSFORMER(torch.ones(3, 1, 4)),
    ],
    ids=["attention", "dropout", "native_dropout", "rrelu", "alpha_dropout", "lstm", "transformer"],
)
def test_what_draws_nothing_takes_no_key(operation):
    class Namer(KeyNamer):
        def next_key(self):
            raise AssertionError("a key was taken")

    with torch.no_grad():
        plain = operation()
        with KeyedDraws(Namer(lambda msg: True), Where(0, range(1), 0)):
            assert torch.equal(operation(), plain)


def test_attention_with_dropout_is_keyed_where_torch_takes_it_apart():
    def operation():
        return functional.scaled_dot_product_attention(
            ATTENTION, ATTENTION, torch.rand(2, 2, 3, 4), dropout_p=0.5
        )

    assert torch.equal(keyed(operation, 3), keyed(operation, 3))
    assert not torch.equal(keyed(operation, 3), keyed(operation, 4))


def test_what_the_table_cannot_draw_is_named():
    func = aten.feature_dropout.default
    assert is_random(func, (ONES, 0.5, True), {})
    assert not is_random(func, (ONES, 0.5, False), {})
    with pytest.raises(CannotSliceError, match="feature_dropout.*'z'.*no keyed form"):
        draw_one(func, Key("z", 0, True), Where(0, range(1), 0), (ONES, 0.5, True), {})


def test_a_tensor_given_as_out_is_filled():
    out = torch.zeros(5)
    found = keyed(lambda: torch.randn(5, out=out), 2)
    assert torch.equal(found, out)
    assert torch.equal(out, keyed(lambda: torch.randn(5), 2))


def test_uniforms_stay_below_their_end():
    made = draw_many(
        aten.uniform_.default,
        Key("u", 0, True),
        Where(0, range(64), 0, (64,)),
        (torch.empty(64, 5000), 1.0, 1.0 + 1e-6),
        {},
    )
    assert made.max() < 1.0 + 1e-6
    assert made.min() >= 1.0


def test_categories_without_probability_are_never_drawn():
    probs = torch.tensor([0.0, 0.3, 0.0, 0.7, 0.0]).expand(1000, 5)
    found = draw_many(
        aten.multinomial.default,
        Key("k", 0, True),
        Where(0, range(1000), 0, (1000,)),
        (probs, 1, True),
        {},
    )
    counts = torch.bincount(found.flatten(), minlength=5).tolist()
    assert counts == [0, 300, 0, 700, 0]  # as even as can be


@pytest.mark.parametrize("shape", [0.05, 0.3, 1.0, 2.3, 50.0, 1e4])
@pytest.mark.parametrize("cubes", [(), (1000,)], ids=["apart", "stratified"])
def test_gamma_numbers_over_the_whole_range_of_shapes(shape, cubes):
    """By the logarithm, whose moments are known: digamma and trigamma."""
    draws, columns = 1000, 100
    concentration = torch.full((draws, columns), shape, dtype=torch.float64)
    at = Where(3, range(draws), 0, cubes)
    made = draw_many(aten._standard_gamma.default, Key("g", 0, True), at, (concentration,), {})
    mean = torch.digamma(concentration[0, 0]).item()
    sd = torch.polygamma(1, concentration[0, 0]).item() ** 0.5
    logs = made.log()
    assert_within(logs.mean(), mean, sd / logs.numel() ** 0.5, "mean of logs")
    assert logs.std().item() == pytest.approx(sd, rel=0.03)
    assert made.mean().item() == pytest.approx(shape, rel=6 / math.sqrt(shape * made.numel()))


def test_dirichlet_of_tiny_shapes_stays_on_the_simplex():
    at = Where(3, range(200), 0)
    shapes = torch.full((200, 30, 3), 0.01)
    made = draw_many(aten._sample_dirichlet.default, Key("p", 0, True), at, (shapes,), {})
    assert torch.isfinite(made).all()
    torch.testing.assert_close(made.sum(-1), torch.ones(200, 30))
    assert_within(made[..., 0].mean(), 1 / 3, (2 / 9 / 6000) ** 0.5, "mean")


def test_binomial_numbers_of_wrong_probabilities_are_nan():
    probs = torch.tensor([[0.5, float("nan"), 1.5]])
    at = Where(3, range(1), 0)
    args = (torch.full((1, 3), 4.0), probs)
    made = draw_many(aten.binomial.default, Key("n", 0, True), at, args, {})
    assert torch.isnan(made).tolist() == [[False, True, True]]


def test_student_draws_have_heavy_tails():
    draws = torch.stack(
        [keyed(lambda: dist.StudentT(3.0 * ONES).sample(), i) for i in range(DRAWS)]
    )
    assert (draws.abs() > 5).double().mean().item() == pytest.approx(0.0154, abs=0.004)


@pytest.mark.parametrize("shape", [0.05, 0.7, 1.0, 2.5, 300.0])
def test_gamma_numbers_follow_their_distribution(shape):
    """By the Kolmogorov-Smirnov test, those drawn again among them."""
    where = Where(3, range(40), 0)
    shapes = torch.full((1, 250), shape, dtype=torch.float64)
    made = draw_many(aten._standard_gamma.default, Key("s", 0, True), where, (shapes,), {})
    many = draw_many(
        aten._standard_gamma.default, Key("s", 0, True), where, (shapes.expand(40, 250),), {}
    )
    full = draw_many(
        aten._standard_gamma.default, Key("s", 0, True), where, (shapes.repeat(40, 1),), {}
    )
    assert torch.equal(many, full)  # parameters that all draws share, or each has
    assert torch.equal(made, full)
    assert scipy.stats.kstest(full.flatten().numpy(), "gamma", args=(shape,)).pvalue > 1e-3


def test_gamma_numbers_of_no_values_and_of_no_shape():
    key, where = Key("s", 0, True), Where(3, range(4), 0)
    gamma = aten._standard_gamma.default
    assert draw_many(gamma, key, where, (torch.ones(4, 0),), {}).shape == (4, 0)
    made = draw_many(gamma, key, where, (torch.tensor([[math.nan, 2.0]]).expand(4, 2),), {})
    assert made[:, 0].isnan().all()
    assert (made[:, 1] > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cubes", [(), (400,)], ids=["apart", "stratified"])
def test_poisson_numbers_are_the_inverse_of_their_uniform_numbers(dtype, cubes):
    """Beside SciPy's inverse distribution function, for rates of every size at once."""
    rates = torch.logspace(-6, 5, 500, dtype=torch.float64).to(dtype).expand(400, 500)
    key, at = Key("n", 0, True), Where(3, range(400), 0, cubes)
    made = draw_many(aten.poisson.default, key, at, (rates,), {})
    u = fill(UNIFORM, key, at, (500,), torch.float64, torch.device("cpu")).numpy()
    known = scipy.stats.poisson.ppf(u, rates.double().numpy())
    wrong = made.double().numpy() != known
    # float32 holds u to 2**-24, so that few are on the other side of a border
    assert wrong.sum() <= (0 if dtype == torch.float64 else 40)
    assert (np.abs(made.double().numpy() - known)[wrong] <= 1).all()


@pytest.mark.parametrize("rate", [0.0, 0.4, 3.0, 30.0])
def test_poisson_numbers_far_in_a_tail(rate):
    """The distances that uniform numbers have to an end where these are extreme."""
    distances = torch.tensor([1e-4, 1e-7, 1e-12, 1e-19], dtype=torch.float64)
    rates = torch.full((4,), rate, dtype=torch.float64)
    low, high = (poissons._of_tails(side * TAIL / distances, rates).numpy() for side in (-1, 1))
    known = scipy.stats.poisson(rates.numpy())
    for count, passed in (
        (low, lambda n: known.cdf(n) >= distances.numpy()),
        (high, lambda n: known.sf(n) <= distances.numpy()),
    ):
        assert passed(count).all()
        assert (~passed(count - 1))[count > 0].all()


def test_stratified_poisson_numbers_have_even_means_and_predict_as_torch_does():
    key, at = Key("n", 0, True), Where(3, range(1000), 0, (1000,))
    made = draw_many(aten.poisson.default, key, at, (torch.full((1000, 300), 3.0),), {})
    assert made.mean(0).var().item() < 3.0 / 1000 / 100  # 3 / 1000 where they are independent
    pairs = (made[:, :150] - 3.0).mul_(made[:, 150:] - 3.0).mean(0) * 1000**0.5 / 3
    assert pairs.var().item() == pytest.approx(1.0, abs=0.4)


@pytest.mark.parametrize("rate", [-1.0, math.nan])
def test_a_wrong_poisson_rate_is_refused_as_torch_does(rate):
    with pytest.raises(RuntimeError, match="invalid Poisson rate"):
        keyed(lambda: torch.poisson(torch.tensor([1.0, rate])), 0)


def test_gamma_numbers_are_never_taken_too_quickly():
    """The quick test accepts with at most the chance that Marsaglia and Tsang's asks for."""
    shapes = torch.cat([torch.linspace(1e-3, 3.0, 60), torch.logspace(0.5, 6, 30)]).double()
    d, c, steep = (part[:, None] for part in gammas._constants(shapes))
    x = torch.linspace(-1.0, 1.0, 4001, dtype=torch.float64) * 3.0 * d.sqrt().clamp(max=4.0)
    v = (1 + c * x) ** 3
    wanted = (0.5 * x * x + d * (1 - v + v.log())).exp().nan_to_num(0.0)
    assert (1 - (x * x * steep) ** 2 * 2.0**-32 <= wanted + 1e-13).all()


def test_gamma_numbers_of_shape_one_are_exponential_beside_others():
    key, at = Key("g", 0, True), Where(3, range(100), 0, (100,))
    shapes = torch.tensor([1.0, 0.4, 1.0, 3.0]).expand(100, 4)
    made = draw_many(aten._standard_gamma.default, key, at, (shapes,), {})
    alone = draw_many(aten._standard_gamma.default, key, at, (torch.ones(100, 4),), {})
    assert torch.equal(made[:, [0, 2]], alone[:, [0, 2]])
    strata = (torch.exp(-alone.double()) * 100).floor().sort(0).values
    assert (strata == torch.arange(100.0)[:, None]).double().mean() > 0.99


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_neither_reaches_one_nor_bends_a_probability(dtype):
    key, at = Key("h", 0, True), Where(3, range(1000), 0, (1000,))
    u = draw_many(aten.rand_like.default, key, at, (torch.ones(1000, 200, dtype=dtype),), {})
    assert 0 < u.min() < 1e-4
    assert u.max() < 1
    for p in (0.001, 0.3, 1.0):
        probs = torch.full((1000, 200), p, dtype=dtype)
        hits = draw_many(aten.bernoulli.default, key, at, (probs,), {}).double().sum(0)
        assert (hits - 1000 * probs[0, 0].double()).abs().max() <= 1
