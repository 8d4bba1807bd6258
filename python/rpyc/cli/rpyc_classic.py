"""The command ``rpyc_classic``: a server that gives full control of this interpreter.

It serves whoever connects, so it listens on this machine only unless told
otherwise. Without a token, or TLS and client certificates, it asks nobody who he is.
"""

from __future__ import annotations

import argparse
import os
import sys

from rpyc.cli._application import Application, existing_file, port
from rpyc.core.service import SlaveService
from rpyc.lib import setup_logger
from rpyc.utils._servers.exposure import exposure
from rpyc.utils.authenticators import (
    Authenticator,
    Chained,
    SSLAuthenticator,
    TokenAuthenticator,
)
from rpyc.utils.classic import DEFAULT_SERVER_PORT, DEFAULT_SERVER_SSL_PORT, connect_stdpipes
from rpyc.utils.registry import REGISTRY_PORT, RegistryClient, TCPRegistryClient, UDPRegistryClient
from rpyc.utils.server import ForkingServer, OneShotServer, Server, ThreadedServer

_MODES = ("threaded", "forking", "stdio", "oneshot")


class ClassicServer(Application):
    """The command; each option is an attribute."""

    PROGNAME = "rpyc_classic"
    DESCRIPTION = (
        "Serve classic mode: clients may import, evaluate and run anything in this interpreter."
    )

    mode: str
    port: int | None
    host: str | None
    ipv6: bool
    logfile: str | None
    quiet: bool
    ssl_keyfile: str | None
    ssl_certfile: str | None
    ssl_cafile: str | None
    token_file: str | None
    auto_register: bool
    registry_type: str
    registry_port: int
    registry_host: str | None

    def main(self) -> int | None:
        """Serve until the end of the connection (stdio, oneshot) or an interrupt.

        :raises ValueError: a TCP registry without host.
        """
        setup_logger(self.quiet, self.logfile)
        if self.mode == "stdio":
            self._serve_stdio()
            return None
        server = self._make_server()
        warning = exposure(server)
        if warning is not None:
            # In the log too, but that may be quiet or elsewhere.
            sys.stderr.write(f"{self.PROGNAME}: WARNING: {warning}\n")
        if isinstance(server, OneShotServer):
            # The port is only announced when a client is not refused any more.
            server._listen()
            sys.stdout.write(f"rpyc-oneshot\n{server.host}\t{server.port}\n")
            sys.stdout.flush()
        server.start()
        return None

    def _make_server(self) -> Server:
        kinds: dict[str, type[Server]] = {
            "threaded": ThreadedServer,
            "forking": ForkingServer,
            "oneshot": OneShotServer,
        }
        authenticator: Authenticator | None = None
        if self.ssl_keyfile and self.ssl_certfile:
            authenticator = SSLAuthenticator(self.ssl_keyfile, self.ssl_certfile, self.ssl_cafile)
        if self.token_file:
            asks_token = TokenAuthenticator.from_file(self.token_file)
            authenticator = Chained(authenticator, asks_token) if authenticator else asks_token
        default_port = DEFAULT_SERVER_PORT if not self.ssl_keyfile else DEFAULT_SERVER_SSL_PORT
        return kinds[self.mode](
            SlaveService,
            hostname=self.host or ("::1" if self.ipv6 else "127.0.0.1"),
            port=default_port if self.port is None else self.port,
            reuse_addr=True,
            ipv6=self.ipv6,
            authenticator=authenticator,
            registrar=self._make_registrar(),
            auto_register=self.auto_register,
        )

    def _make_registrar(self) -> RegistryClient:
        if self.registry_type == "UDP":
            return UDPRegistryClient(
                ip=self.registry_host or "255.255.255.255", port=self.registry_port
            )
        if self.registry_host is None:
            raise ValueError("with a TCP registry, --registry-host is required")
        return TCPRegistryClient(ip=self.registry_host, port=self.registry_port)

    def _serve_stdio(self) -> None:
        """Serve standard input and output; what the served code prints goes nowhere."""
        stderr = sys.stderr
        with open(os.devnull, "w", encoding="utf-8") as null:
            sys.stderr = null
            try:
                # Replaces sys.stdin and sys.stdout.
                conn = connect_stdpipes()
                try:
                    conn.serve_all()
                except KeyboardInterrupt:
                    stderr.write("\ninterrupted\n")
                finally:
                    conn.close()
            finally:
                sys.stderr = stderr

    def _parser_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "-m",
            "--mode",
            type=str.lower,
            choices=_MODES,
            default="threaded",
            help="one thread (threaded) or process (forking) per connection, one connection over "
            "standard input and output (stdio), or one connection over TCP (oneshot); "
            "default: threaded",
        )

        group = parser.add_argument_group("address")
        group.add_argument(
            "-p",
            "--port",
            type=port,
            metavar="PORT",
            help=f"port to listen on, 0 for any; default: {DEFAULT_SERVER_PORT}, "
            f"with TLS {DEFAULT_SERVER_SSL_PORT}",
        )
        group.add_argument(
            "--host", help="address to listen on; default: 127.0.0.1, with --ipv6 ::1"
        )
        group.add_argument("--ipv6", action="store_true", help="listen on IPv6")

        group = parser.add_argument_group("logging")
        group.add_argument(
            "--logfile", metavar="FILE", help="file to log to; default: standard error"
        )
        group.add_argument("-q", "--quiet", action="store_true", help="only log errors")

        group = parser.add_argument_group("TLS")
        group.add_argument(
            "--ssl-keyfile",
            type=existing_file,
            metavar="FILE",
            help="the server's private key; needs --ssl-certfile",
        )
        group.add_argument(
            "--ssl-certfile",
            type=existing_file,
            metavar="FILE",
            help="the server's certificate; needs --ssl-keyfile",
        )
        group.add_argument(
            "--ssl-cafile",
            type=existing_file,
            metavar="FILE",
            help="only admit clients with a certificate signed by one of these; "
            "needs --ssl-keyfile",
        )

        group = parser.add_argument_group("token")
        group.add_argument(
            "--token-file",
            type=existing_file,
            metavar="FILE",
            help="only admit clients that know the token in this file, which nobody else should "
            "be able to read",
        )

        group = parser.add_argument_group("registry")
        group.add_argument(
            "--register",
            dest="auto_register",
            action="store_true",
            help="register with a registry server",
        )
        group.add_argument(
            "--registry-type",
            type=str.upper,
            choices=("UDP", "TCP"),
            default="UDP",
            help="its kind; default: UDP",
        )
        group.add_argument(
            "--registry-port",
            type=port,
            metavar="PORT",
            default=REGISTRY_PORT,
            help=f"its port; default: {REGISTRY_PORT}",
        )
        group.add_argument(
            "--registry-host",
            metavar="HOST",
            help="its host; default for UDP: 255.255.255.255, required for TCP",
        )

    def _check_options(self, parser: argparse.ArgumentParser) -> None:
        if bool(self.ssl_keyfile) != bool(self.ssl_certfile):
            parser.error("--ssl-keyfile and --ssl-certfile need each other")
        if self.token_file and self.mode == "stdio":
            parser.error("--token-file needs a mode with clients")
        if self.ssl_cafile and not self.ssl_keyfile:
            parser.error("--ssl-cafile needs --ssl-keyfile")


def main() -> None:
    """Run the command with the arguments of this process, and exit."""
    try:
        ClassicServer.run()
    except (ValueError, OSError) as exc:
        sys.stderr.write(f"rpyc_classic: {exc}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
