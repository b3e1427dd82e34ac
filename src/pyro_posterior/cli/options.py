"""Options that several commands share, and how every command's help is laid out."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable
from typing import Any, NoReturn

PROG = "pyro-posterior"

EXIT_CODES = """\
exit codes:
  0    done
  1    failed while working: a store cannot be read or written, or the model raised
  2    the command, its arguments or the data do not fit
  130  interrupted (Ctrl-C)
"""

#: The default of a flag that is not given: then the function's own default holds.
UNSET: Any = argparse.SUPPRESS


class Parser(argparse.ArgumentParser):
    """Takes flags as they are written, and says how a target got lost."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        if "required" in message and "TARGET" in message:
            message += " (it comes before flags that take several names, such as --return-sites)"
        if message.startswith("unrecognized arguments: "):
            flag = message.split()[2].partition("=")[0]
            close = difflib.get_close_matches(flag, self._all_flags(), 1)
            message += f" (did you mean {close[0]}?)" if close else ""
        super().error(message)

    def _all_flags(self) -> set[str]:
        """Flags of this command and of those below it."""
        flags = {flag for action in self._actions for flag in action.option_strings}
        for action in self._actions:
            below = action.choices.values() if isinstance(action.choices, dict) else ()
            flags.update(*(each._all_flags() for each in below if isinstance(each, Parser)))
        return flags


def add_command(
    commands: Any, function: Callable[[argparse.Namespace], None], name: str, examples: str
) -> argparse.ArgumentParser:
    """A command that calls ``function``, whose docstring is its description."""
    words = (function.__doc__ or "").strip()
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=words[0].lower() + words[1:].rstrip("."),
        description=words,
        epilog=f"example:\n{examples}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=function)
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")
    return parser


def add_target(parser: argparse.ArgumentParser, what: str) -> None:
    """What is drawn from or looked at."""
    parser.add_argument("target", metavar="TARGET", help=what)
    parser.add_argument("--adata", metavar="FILE", help="the .h5ad file of a saved model")
    parser.add_argument(
        "--model-class",
        metavar="MODULE:CLASS",
        help="class of a saved model that is not one of scvi-tools or cell2location",
    )


def load(options: argparse.Namespace) -> Any:
    """The target; what a user's function prints meanwhile goes to standard error.

    Where the work is divided, whoever draws a part reads the rows of that part.
    """
    import contextlib
    import sys

    from pyro_posterior.targets import load_target

    with contextlib.redirect_stdout(sys.stderr):
        divided = hasattr(options, "client") or hasattr(options, "shard")
        return load_target(options.target, options.adata, options.model_class, backed=divided)


def open_store(path: str) -> Any:
    """The posterior in a finished store."""
    from pathlib import Path

    from pyro_posterior.errors import RequestError
    from pyro_posterior.posterior import Posterior

    if not Path(path).expanduser().exists():
        raise RequestError(f"there is no store {path!r}")
    return Posterior.open(path)
