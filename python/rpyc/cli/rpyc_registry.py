"""The command ``rpyc_registry``: a registry server.

Servers that register and clients that look for services find it by broadcast
(UDP), or are told its address (UDP or TCP).
"""

from __future__ import annotations

import argparse
import sys

from rpyc.cli._application import Application, port, switch
from rpyc.lib import setup_logger
from rpyc.utils.registry import (
    DEFAULT_PRUNING_TIMEOUT,
    REGISTRY_PORT,
    TCPRegistryServer,
    UDPRegistryServer,
)


class RegistryServer(Application):
    """The command; each option is an attribute."""

    PROGNAME = "rpyc_registry"
    DESCRIPTION = "Remember which hosts offer which services, and tell who asks."

    mode: str
    ipv6: bool
    port: int
    logfile: str | None
    quiet: bool
    pruning_timeout: int
    allow_listing: bool

    def main(self) -> int | None:
        """Answer requests until an interrupt."""
        setup_logger(self.quiet, self.logfile)
        kind = UDPRegistryServer if self.mode == "UDP" else TCPRegistryServer
        server = kind(
            host="::" if self.ipv6 else "0.0.0.0",
            port=self.port,
            pruning_timeout=self.pruning_timeout,
            allow_listing=self.allow_listing,
        )
        server.start()
        return None

    def _parser_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "-m",
            "--mode",
            type=str.upper,
            choices=("UDP", "TCP"),
            default="UDP",
            help="transport; default: UDP",
        )
        parser.add_argument("-6", "--ipv6", action="store_true", help="listen on IPv6")
        parser.add_argument(
            "-p",
            "--port",
            type=port,
            metavar="PORT",
            default=REGISTRY_PORT,
            help=f"port to listen on, 0 for any; default: {REGISTRY_PORT}",
        )
        parser.add_argument(
            "--logfile", metavar="FILE", help="file to log to; default: standard error"
        )
        parser.add_argument(
            "-q",
            "--quiet",
            type=switch,
            nargs="?",
            const=True,
            default=False,
            metavar="yes|no",
            help="only log errors; the value may be left out",
        )
        parser.add_argument(
            "-t",
            "--timeout",
            dest="pruning_timeout",
            type=int,
            metavar="SECONDS",
            default=DEFAULT_PRUNING_TIMEOUT,
            help="forget servers that have not registered again for so long; "
            f"default: {DEFAULT_PRUNING_TIMEOUT}",
        )
        parser.add_argument(
            "-l",
            "--listing",
            dest="allow_listing",
            type=switch,
            nargs="?",
            const=True,
            default=False,
            metavar="yes|no",
            help="answer who asks for the list of all services; default: no",
        )


def main() -> None:
    """Run the command with the arguments of this process, and exit."""
    try:
        RegistryServer.run()
    except OSError as exc:
        sys.stderr.write(f"rpyc_registry: {exc}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
