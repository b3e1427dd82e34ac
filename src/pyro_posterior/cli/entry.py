"""READ FIRST in the command line: words in, an exit code out. Each command has a file of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pyro_posterior.cli import words
from pyro_posterior.cli.demo import add_demo
from pyro_posterior.cli.export import add_export
from pyro_posterior.cli.inspect import add_inspect
from pyro_posterior.cli.options import EXIT_CODES, PROG, UNSET, Parser
from pyro_posterior.cli.report import add_report
from pyro_posterior.cli.run import add_run, how_to_go_on

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    options = build_parser().parse_args(argv)
    words.log_to_stderr(options.verbose)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        with words.warnings_in_words():
            command(options)
    except KeyboardInterrupt:
        words.say(how_to_go_on(options, argv))
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough
        sys.stderr.close()
        return FAILED
    except Exception as error:
        words.say_error(error, options.verbose)
        return MISUSED if words.is_misuse(error) else FAILED
    return DONE


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = Parser(
        prog=PROG,
        description="Draw from the posterior of a fitted Pyro model, look at it, pass it on.",
        epilog=f"example:\n  {PROG} demo\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, dest=UNSET, default=UNSET, help="show it"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (add_run, add_inspect, add_report, add_export, add_demo):
        add(commands)
    return parser


class _Version(argparse.Action):
    """Looked up only where it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from pyro_posterior.version import __version__

        print(f"{PROG} {__version__}")
        parser.exit()
