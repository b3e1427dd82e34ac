"""The chart library of the report, Vega-Lite, as one script that needs no network."""

from __future__ import annotations

import functools
import re
from types import ModuleType

from pyro_posterior.errors import MissingPackageError


def need_vega(purpose: str) -> ModuleType:
    """The package that carries Vega-Lite.

    Raises
    ------
    MissingPackageError
        It is not installed.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise MissingPackageError("vl-convert-python", "report", purpose) from error
    module: ModuleType = vl_convert
    return module


@functools.cache
def script() -> str:
    """Vega, Vega-Lite and Vega-Embed, in the version that the package brings."""
    text: str = need_vega("the report").javascript_bundle()
    return re.sub("</(script)", r"<\\/\1", text, flags=re.IGNORECASE).strip()
