"""A calculator to call from elsewhere: the smallest useful server.

Run it, then run calculator_client.py with the port that it names.
"""

from __future__ import annotations

import argparse
import logging
import sys

import rpyc
from rpyc.utils.server import ThreadedServer


@rpyc.service
class CalculatorService(rpyc.Service):
    """Each connection gets a calculator of its own, because the server is given the class, not an instance."""

    def __init__(self) -> None:
        self._history: list[str] = []

    def on_connect(self, conn: rpyc.Connection) -> None:
        """Runs when a client has connected."""
        print(f"client connected: {conn}", flush=True)

    def on_disconnect(self, conn: rpyc.Connection) -> None:
        """Runs when it is gone, however it went."""
        print(f"client disconnected after {len(self._history)} calculations", flush=True)

    @rpyc.exposed
    def add(self, a: float, b: float) -> float:
        """The sum."""
        self._history.append(f"{a} + {b}")
        return a + b

    @rpyc.exposed
    def divide(self, a: float, b: float) -> float:
        """The quotient; its ZeroDivisionError reaches the client."""
        self._history.append(f"{a} / {b}")
        return a / b

    @rpyc.exposed
    def get_history(self) -> list[str]:
        """What was calculated. The client gets a reference to this very list."""
        return self._history


def main() -> None:
    """Serves until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    ThreadedServer(CalculatorService, hostname="127.0.0.1", port=options.port).start()


if __name__ == "__main__":
    main()
