"""For tests of models, stores and programs: models with known answers, and checks that know chance."""

from pyro_posterior.testing.checks import (
    FALSE_ALARM,
    assert_normal,
    assert_same,
    assert_within,
    bound,
    disagreements,
)
from pyro_posterior.testing.models import BetaBinomial, ConjugateNormal, draw

__all__ = [
    "FALSE_ALARM",
    "BetaBinomial",
    "ConjugateNormal",
    "assert_normal",
    "assert_same",
    "assert_within",
    "bound",
    "disagreements",
    "draw",
]
