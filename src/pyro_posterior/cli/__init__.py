"""The command ``pyro-posterior``: a thin face of the library's functions, a file per command."""

from pyro_posterior.cli.entry import main

__all__ = ["main"]
