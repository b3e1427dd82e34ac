"""What the command line says on standard error, in the words of its flags."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyro_posterior.cli.options import PROG
from pyro_posterior.errors import (
    MissingPackageError,
    PosteriorError,
    PosteriorWarning,
    RequestError,
)
from pyro_posterior.printable import printable

#: Arguments whose flag has another name.
_FLAGS = {"summary_fun": "--summary", "exclude_vars": "--exclude-sites"}

#: An argument by itself where its name is no word of English, or any with what it is set to.
_NAMES = (
    *("num_samples", "return_sites", "exclude_sites", "obs_plate", "to_args", "batch_size"),
    *("return_observed", "return_samples", "summary_fun", "show_progress", "exclude_vars"),
)
_SET = (
    *_NAMES,
    "accelerator",
    "device",
    "seed",
    "engine",
    "draws",
    "store",
    "overwrite",
    "coords",
    "dims",
    "client",
    "shard",
    "mcse",
    "threads",
    "predictive",
    "expected",
    "log_likelihood",
)
_VALUE = r"""(?P<value>True|False|None|\[[^\]]*\]|\{[^}]*\}|'[^']*'|"[^"]*"|[\w.+-]*\w)?"""
_ARGUMENT = re.compile(
    rf"(?<![\w.\-])(?:(?P<set>{'|'.join(_SET)})={_VALUE}|(?P<name>{'|'.join(_NAMES)})\b(?!\())"
)


def say(text: str) -> None:
    """A line or more on standard error, control characters written out."""
    print(printable(text), file=sys.stderr)


def log_to_stderr(verbose: bool) -> None:
    """What the library logs, on standard error; other packages' logging is left alone."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable(f"{PROG}: %(message)s"))
    logger = logging.getLogger("pyro_posterior")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


@contextlib.contextmanager
def warnings_in_words() -> Iterator[None]:
    """The library's own warnings as a line; there is no line of the user's to point at."""
    with warnings.catch_warnings():
        warnings.showwarning = functools.partial(_show_warning, warnings.showwarning)
        yield


def _show_warning(others: Callable[..., None], message: Any, *place: Any) -> None:
    if isinstance(message, PosteriorWarning):
        say(in_flags(f"{PROG}: warning: {message}"))
    else:
        others(message, *place)


def is_misuse(error: BaseException) -> bool:
    """Whether the command or its data are at fault."""
    return isinstance(error, RequestError | MissingPackageError)


def say_error(error: BaseException, verbose: bool) -> None:
    """Say what went wrong; with ``-v`` after the whole traceback."""
    if verbose:
        say("".join(traceback.format_exception(error)))
    text = str(error) if isinstance(error, PosteriorError) else _foreign(error, verbose)
    notes = getattr(error, "__notes__", ())
    say(in_flags("\n".join([f"{PROG}: error: {text}", *notes])))


def in_flags(text: str) -> str:
    """A message of the library with its arguments as the flags that set them.

    Examples
    --------
    >>> in_flags("draw with return_samples=True, or exclude_sites=['a', 'b']")
    'draw with --return-samples, or --exclude-sites a b'
    """
    return _ARGUMENT.sub(_as_flag, text)


def _as_flag(found: re.Match[str]) -> str:
    name, value = found["set"] or found["name"], found["value"] or ""
    flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
    if name == "show_progress":
        return "--no-progress"
    if value == "False":
        return f"no {flag}"
    if name == "summary_fun":
        return flag if not value else f"{flag} NAME=MODULE:FUNCTION"
    if name in ("coords", "dims") and value.startswith("{"):
        return f"{flag} NAME=..."
    plain = " ".join(re.findall(r"[^\s\[\],'\"]+", value)) if value != "True" else ""
    return f"{flag} {plain}".rstrip()


def _foreign(error: BaseException, verbose: bool) -> str:
    """An error of the model, of a user's function or of another package, in a line or two."""
    last = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {last[0]}" if last else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_users(frame.filename)]
    if frames:
        frame = own[-1] if own else frames[-1]
        text += f"\n  raised in {frame.filename}, line {frame.lineno}, in {frame.name}"
        if own and frame.line:
            text += f": {frame.line}"
    if isinstance(error, MemoryError) or "out of memory" in str(error):
        text += "\n  a smaller --batch-size needs less memory"
    return text if verbose else f"{text}\n  -v shows the whole traceback"


def _is_users(filename: str) -> bool:
    parts = Path(filename).parts
    library = Path(__file__).parents[1].parts
    return (
        not filename.startswith("<")
        and not {"site-packages", "dist-packages"} & set(parts)
        and not filename.startswith(sys.base_prefix + "/lib")
        and parts[: len(library)] != library
    )


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(in_flags(super().format(record)))
