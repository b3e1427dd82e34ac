"""See `pyro_posterior.testing.checks`."""

from pyro_posterior.testing.checks import disagreements

__all__ = ["disagreements"]
