"""Lets an example be server, client, or both.

::

    python EXAMPLE.py                       both: the server in a process of its own, on a free port
    python EXAMPLE.py --serve --port 18861  only the server, until Ctrl-C
    python EXAMPLE.py --port 18861          only the client of a server that runs already
"""

from __future__ import annotations

import argparse
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

import rpyc

HOST = "127.0.0.1"

STARTED = r"server started on \[.*\]:(\d+)"
"""What a server logs once it listens."""

START_SECONDS = 20.0
"""How long a server process may take until it listens."""


def play(
    service: type[rpyc.Service], client: Callable[[int], None], protocol_config: dict[str, Any] | None = None
) -> None:
    """Plays the roles that the command line asks for. ``client`` is called with the server's port."""
    parser = argparse.ArgumentParser(description="Without options: server and client, each in its process.")
    parser.add_argument("--serve", action="store_true", help="be the server only")
    parser.add_argument("--port", type=int, default=0, help="port of the server (default: a free one)")
    options = parser.parse_args()
    if options.serve:
        serve(service, options.port, protocol_config)
    elif options.port:
        client(options.port)
    else:
        with server_process([sys.executable, sys.argv[0], "--serve"]) as port:
            client(port)


def serve(service: type[rpyc.Service], port: int, protocol_config: dict[str, Any] | None = None) -> None:
    """Serves until Ctrl-C. The log goes to standard output; its first line names the port."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    rpyc.ThreadedServer(service, hostname=HOST, port=port, protocol_config=protocol_config or {}).start()


@contextmanager
def server_process(command: list[str], announcement: str = STARTED) -> Iterator[int]:
    """Runs a server as a process. Yields the port that its output announces, and ends the process in the end.

    ``announcement`` is a regular expression whose first group is the port. RuntimeError if no line matches before the
    process ends or START_SECONDS are over.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    impatience = Timer(START_SECONDS, process.kill)
    impatience.start()
    try:
        found = next(filter(None, (re.search(announcement, line) for line in process.stdout)), None)
        if found is None:
            raise RuntimeError(
                f"{' '.join(command)} did not start within {START_SECONDS:.0f} s; its own words are above"
            )
        impatience.cancel()
        yield int(found[1])
    finally:
        impatience.cancel()
        process.terminate()
        process.communicate()
