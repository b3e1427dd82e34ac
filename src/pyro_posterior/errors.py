"""Every error and warning this library gives on purpose; each message says what was found and what to do."""

from __future__ import annotations


class PosteriorError(Exception):
    """Base of all errors raised by pyro_posterior."""


class RequestError(PosteriorError, ValueError):
    """An argument, the data, the model or the guide does not fit the call."""


class UnknownNameError(RequestError, KeyError):
    """A name (of a site or of a result) that a posterior does not have; also a ``KeyError``."""

    __str__ = Exception.__str__  # a KeyError would show the message's quotes and line ends escaped


class ArgumentError(RequestError, TypeError):
    """An argument of a call is unknown, lacking or given twice; also a ``TypeError``."""


class CannotSliceError(PosteriorError, RuntimeError):
    """The sliced program cannot reproduce this model; ``engine="auto"`` uses the loop instead."""


class MemoryRanOutError(PosteriorError, MemoryError):
    """There was not enough memory; the message says for what, and what to make smaller."""


class StoreError(PosteriorError, OSError):
    """A store on disk is unreadable, unfinished, of another run, or cannot be written."""


class OutputError(PosteriorError, OSError):
    """A file that was asked for (a report, an export, a picture) cannot be written."""


class PosteriorWarning(UserWarning):
    """The call goes on, but its result is not what a user would take it for; the message says why.

    To make them errors: ``warnings.simplefilter("error", PosteriorWarning)``.
    """


class MissingPackageError(PosteriorError, ImportError):
    """An optional package is not installed; the message holds the command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'pyro-posterior[{extra}]'"
        )
