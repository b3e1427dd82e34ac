"""Posteriors of fitted Pyro models: joint draws and summaries of every latent variable."""

from pyro_posterior import settings
from pyro_posterior.mixin import PyroSampleMixin
from pyro_posterior.posterior import Posterior
from pyro_posterior.sampling import sample_posterior

__all__ = ["Posterior", "PyroSampleMixin", "sample_posterior", "settings"]
