"""Where in the model something happened."""

from __future__ import annotations

import sys
from typing import Any

_MACHINERY = (
    "/torch/",
    "/pyro/",
    "/pyro_posterior/",
    "/contextlib.py",
    "/threading.py",
    "/copy.py",
)


def calling_line() -> str:
    """``file.py:12`` of the innermost frame that is neither torch, Pyro nor this library."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename.replace("\\", "/")
        machinery = any(part in path for part in _MACHINERY) and "/pyro_posterior/demo/" not in path
        if not machinery and not path.startswith("<"):
            return f"{path.rsplit('/', 1)[-1]}:{frame.f_lineno}"
        frame = frame.f_back
    return "inside torch or Pyro"
