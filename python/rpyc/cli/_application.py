"""What the commands share: reading the command line and running.

A command is a subclass of :class:`Application`. Its options become attributes
of the instance, then its ``main`` runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, cast

from rpyc.version import __version__

_SHELLS = ("bash", "fish")


class Application:
    """A command. Subclasses name it, declare its options and do its work."""

    #: The command's name.
    PROGNAME = ""
    #: What it does, in a sentence.
    DESCRIPTION = ""

    @classmethod
    def run(cls, argv: Sequence[str] | None = None, exit: bool = True) -> tuple[Any, int]:
        """Run the command.

        :param argv: the command line, program name first; by default that of
            this process.
        :param exit: end the process afterwards, with the command's status.
        :returns: the instance and the status, if ``exit`` is false.
        :raises SystemExit: bad usage (2), or help was asked for (0).
        """
        arguments = sys.argv if argv is None else argv
        application = cls()
        parser = application._parser()
        application._parser_options(parser)
        parser.parse_args(arguments[1:], namespace=cast(argparse.Namespace, application))
        application._check_options(parser)
        try:
            status = application.main() or 0
        except KeyboardInterrupt:
            # The usual end of a server, at whatever point it comes.
            status = 0
        if exit:
            sys.exit(status)
        return application, status

    def main(self) -> int | None:
        """Do the command's work; return its status, ``None`` for success."""
        raise NotImplementedError(f"{type(self).__name__} does nothing: override main")

    def _parser_options(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""

    def _check_options(self, parser: argparse.ArgumentParser) -> None:
        """Call ``parser.error`` if options were given that don't go together."""

    def _parser(self) -> argparse.ArgumentParser:
        parser = _Parser(
            prog=self.PROGNAME, description=self.DESCRIPTION, add_help=False, allow_abbrev=False
        )
        meta = parser.add_argument_group("help")
        meta.add_argument(
            "-h", "--help", "--help-all", action="help", help="show this text and exit"
        )
        meta.add_argument(
            "-v",
            "--version",
            action="version",
            version=f"{self.PROGNAME} {__version__}",
            help="show the version and exit",
        )
        meta.add_argument(
            "--completions",
            action=_Completions,
            choices=_SHELLS,
            metavar="SHELL",
            help="print a completion script for bash or fish and exit",
        )
        return parser


def port(text: str) -> int:
    """Read a port number, 0 to 65535."""
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no port: it must be a number from 0 to 65535"
        )
    return number


def existing_file(text: str) -> str:
    """Read the name of a file that exists."""
    if not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return text


def switch(text: str) -> bool:
    """Read a text that says yes or no."""
    value = text.strip().lower()
    if value in ("1", "true", "yes", "on", "y", "t"):
        return True
    if value in ("", "0", "false", "no", "off", "n", "f", "none"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} says neither yes nor no")


class _Parser(argparse.ArgumentParser):
    """Shows the whole help after bad usage."""

    def error(self, message: str) -> NoReturn:
        self.print_help(sys.stderr)
        self.exit(2, f"\n{self.prog}: error: {message}\n")


class _Completions(argparse.Action):
    """Prints a completion script."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: Any,
        values: Any,
        option_string: Any = None,
    ) -> None:
        names = [name for action in parser._actions for name in action.option_strings]
        if values == "bash":
            text = f"complete -o default -W '{' '.join(names)}' {parser.prog}\n"
        else:
            text = "".join(f"complete -c {parser.prog} {_fish_option(name)}\n" for name in names)
        sys.stdout.write(text)
        parser.exit(0)


def _fish_option(name: str) -> str:
    return f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
