"""Random models with their guides and data. ``case(number)`` is always the same one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import autoguide
from random_values import Tensors, grow

Drawn = Callable[[torch.Tensor], dist.Distribution]

# Distributions of a site given a real number that moves them: what the prior and the guide use.
REAL: list[Drawn] = [
    lambda m: dist.Normal(m, 0.7),
    lambda m: dist.StudentT(5.0, m, 0.5),
    lambda m: dist.Laplace(m, 0.4),
    lambda m: dist.Logistic(m, 0.3),
    lambda m: dist.Gumbel(m, 0.3),
    lambda m: dist.Cauchy(m, 0.01),
]
POSITIVE: list[Drawn] = [
    lambda m: dist.Gamma(1.5 + m.abs(), 2.0),
    lambda m: dist.LogNormal(0.3 * m, 0.5),
    lambda m: dist.Exponential(1.0 + m.abs()),
    lambda m: dist.HalfNormal(1.0 + m.abs()),
    lambda m: dist.InverseGamma(4.0 + m.abs(), 2.0),
    lambda m: dist.Weibull(1.0 + m.abs(), 2.0),
    lambda m: dist.HalfCauchy(0.01 + 0.01 * m.abs()),
]
UNIT: list[Drawn] = [
    lambda m: dist.Beta(2.0 + m.abs(), 2.0),
    lambda m: dist.Uniform(0.0, 1.0 / (1.0 + m.abs())),
    lambda m: dist.Kumaraswamy(2.0 + m.abs(), 2.0),
]
COUNT: list[Drawn] = [
    lambda m: dist.Poisson(1.0 + m.abs()),
    lambda m: dist.Geometric((0.3 + 0.1 * m.abs()).clamp(0.1, 0.9)),
    lambda m: dist.Binomial(5, logits=m.clamp(-3, 3)),
    lambda m: dist.Bernoulli(logits=m.clamp(-3, 3)),
    lambda m: dist.NegativeBinomial(3.0, logits=m.clamp(-3, 1)),
    lambda m: dist.Categorical(logits=torch.stack([m, -m, 0 * m], -1).clamp(-3, 3)),
]
FAMILIES = {"real": REAL, "positive": POSITIVE, "unit": UNIT, "count": COUNT}


@dataclass(frozen=True)
class Latent:
    """One latent site: its name, family, place ("global", "columns", "rows" or "both") and seed."""

    name: str
    family: str
    place: str
    choice: int
    seed: int


@dataclass(frozen=True)
class Case:
    """What is sampled."""

    number: int
    model: Callable[..., Any]
    guide: Callable[..., Any]
    data: tuple[torch.Tensor, ...]
    batch_size: int | None
    num_samples: int
    z0: str  # family of the first latent


def case(number: int) -> Case:
    """Random case ``number``."""
    chance = random.Random(number)
    rows, columns = chance.randrange(3, 9), chance.randrange(1, 5)
    automatic = chance.random() < 0.25
    batch_size = None if automatic or chance.random() < 0.4 else chance.randrange(1, rows)
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(rows, columns, generator=generator)
    latents = []
    for i in range(chance.randrange(1, 5)):
        families = ["real", "real", "positive", "unit"] + ([] if automatic else ["count"])
        family = chance.choice(families)
        place = chance.choice(["global", "columns", "rows", "both"])
        choice = chance.randrange(len(FAMILIES[family]))
        latents.append(Latent(f"z{i}", family, place, choice, chance.randrange(10**6)))
    length = chance.randrange(1, 7)
    body_seed = chance.randrange(10**6)
    branch = chance.random() < 0.2  # Python looks at the data
    looks = chance.random() < 0.01  # Python looks at a draw
    size = rows

    def prior(latent: Latent, before: Tensors) -> dist.Distribution:
        return _distribution(latent, before, random.Random(latent.seed))

    def model(x: torch.Tensor, index: torch.Tensor) -> None:
        step = random.Random(body_seed)
        globals_: Tensors = [torch.tensor(0.5)]
        locals_: Tensors = [x, x.mean(-1, keepdim=True)]
        rows_plate = pyro.plate("obs", size, dim=-2, subsample=index)
        columns_plate = pyro.plate("columns", columns, dim=-1)
        for latent in latents:
            value = _sample(latent, prior, globals_, locals_, rows_plate, columns_plate)
            (locals_ if latent.place in ("rows", "both") else globals_).append(value)
        if branch and float(x[0, 0]) > 0:
            locals_[-1] = locals_[-1] * 2
        if looks and float(globals_[-1].sum()) > 0:
            globals_[-1] = globals_[-1] + 1
        for i in range(length):
            if step.random() < 0.35:
                made = grow(globals_, columns, step)
                globals_.append(made)
                pyro.deterministic(f"d{i}", made, event_dim=made.dim())
                continue
            made = grow(globals_ + locals_, columns, step) + 0.5 * step.choice(locals_)
            locals_.append(made)
            if step.random() < 0.7:
                with rows_plate:
                    pyro.deterministic(f"d{i}", made.expand(len(x), made.shape[-1]))
        mean = sum(value.mean(-1, keepdim=True) for value in locals_ + globals_[1:] if value.dim())
        with rows_plate, columns_plate:
            pyro.sample("x", dist.Normal(torch.as_tensor(mean).tanh(), 1.0), obs=x)

    weights = torch.randn(columns, generator=generator)

    def guide(x: torch.Tensor, index: torch.Tensor) -> None:
        rows_plate = pyro.plate("obs", size, dim=-2, subsample=index)
        columns_plate = pyro.plate("columns", columns, dim=-1)
        globals_: Tensors = [torch.tensor(-0.3), 0.5 * weights]
        locals_: Tensors = [(x @ weights)[:, None], x]
        for latent in latents:
            value = _sample(latent, _of_guide, globals_, locals_, rows_plate, columns_plate)
            (locals_ if latent.place in ("rows", "both") else globals_).append(value)

    data = (x, torch.arange(rows))
    used: Callable[..., Any] = guide
    pyro.clear_param_store()
    if automatic:
        kinds = ("AutoNormal", "AutoDiagonalNormal", "AutoMultivariateNormal", "AutoDelta")
        used = getattr(autoguide, kinds[number % len(kinds)])(model)
        pyro.set_rng_seed(number)
        used(*data)
    return Case(
        number, model, used, data, batch_size, chance.choice([3, 9, 17, 40]), latents[0].family
    )


def _of_guide(latent: Latent, before: Tensors) -> dist.Distribution:
    return _distribution(latent, before, random.Random(latent.seed + 1))


def _distribution(latent: Latent, before: Tensors, chance: random.Random) -> dist.Distribution:
    """A distribution moved by some earlier value, drawn or not."""
    moved = chance.choice(before)
    moved = (moved * chance.uniform(-0.8, 0.8)).clamp(-5, 5)
    return FAMILIES[latent.family][latent.choice](moved)


def _sample(
    latent: Latent,
    prior: Callable[[Latent, Tensors], dist.Distribution],
    globals_: Tensors,
    locals_: Tensors,
    rows_plate: Any,
    columns_plate: Any,
) -> torch.Tensor:
    """Draw one latent in its place."""
    if latent.place == "global":
        scalars = [value.mean() for value in globals_]
        return pyro.sample(latent.name, prior(latent, scalars)).float()
    if latent.place == "columns":
        flat = [value if value.dim() else value.reshape(1) for value in globals_]
        flat = [value if value.dim() == 1 else value.mean(0) for value in flat]
        with columns_plate:
            return pyro.sample(latent.name, prior(latent, flat)).float()
    if latent.place == "rows":
        one = [value.mean(-1, keepdim=True) for value in locals_]
        with rows_plate:
            return pyro.sample(latent.name, prior(latent, one)).float()
    with rows_plate, columns_plate:
        return pyro.sample(latent.name, prior(latent, globals_ + locals_)).float()
