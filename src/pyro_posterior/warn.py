"""`warn`: what a user must know though the call goes on, said at the user's own line.

::

    warn("the guide has never been run: its parameters are the initial ones")
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
from pathlib import Path
from types import FrameType

import pyro
import torch

from pyro_posterior.errors import PosteriorWarning

#: Frames of these files stand between a user's line and the place that warns.
_INSIDE = (
    *(str(Path(file).parent) + os.sep for file in (__file__, torch.__file__, pyro.__file__)),
    contextlib.__file__,
    functools.__file__,
)


def warn(message: str, category: type[PosteriorWarning] = PosteriorWarning) -> None:
    """Warn at the line outside this library (and torch and Pyro) that called into it.

    What warns says a thing once in a call, with numbers where there is more than one of it.

    Parameters
    ----------
    message
        What was found, and what to do about it.
    category
        `PosteriorWarning`, or a kind of it.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_inside(frame):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_inside(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_INSIDE)
