"""The library's own toy models and checks, under the names that tests know them by."""

from pyro_posterior.testing.checks import assert_normal, assert_same, assert_within, bound
from pyro_posterior.testing.models import BetaBinomial, ConjugateNormal
from pyro_posterior.testing.models import draw as sample

__all__ = [
    "BetaBinomial",
    "ConjugateNormal",
    "assert_normal",
    "assert_same",
    "assert_within",
    "bound",
    "sample",
]
