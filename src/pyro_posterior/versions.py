"""Versions of the packages that the numbers may depend on in their last digits."""

from __future__ import annotations

import numpy as np
import pyro
import torch

from pyro_posterior.version import __version__


def versions() -> dict[str, str]:
    """By name of the package."""
    return {
        "pyro-posterior": __version__,
        "pyro-ppl": str(pyro.__version__),
        "torch": str(torch.__version__),
        "numpy": str(np.__version__),
    }
