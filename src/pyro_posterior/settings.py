"""Defaults a user may change for the whole process: ``pyro_posterior.settings.batch_size = 512``."""

from __future__ import annotations

from pyro_posterior.contracts import Engine

#: Observations per minibatch where none is given and scvi-tools is not loaded.
batch_size: int = 128

#: Seed of calls that give none. Where it is None, each takes a fresh one, kept in its result.
seed: int | None = None

#: Engine of calls that give none, "auto", "sliced" or "loop".
engine: Engine = "auto"
