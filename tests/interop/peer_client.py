"""The client of the scenarios, run under either package.

    peer_client.py '{"transport": ..., "addresses": {kind: address}, "server_command": [...]}'

Prints one JSON line about itself, then reads names of scenarios from stdin, one a line, and answers each with one JSON
line {"name", "ok", "error"}; `error` is a traceback. Ends with its stdin.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib.util
import json
import signal
import sys
import traceback
from typing import Any

from scenarios import SCENARIOS

import rpyc
from rpyc.utils.factory import unix_connect

# A hung scenario must end before the test that waits for it gives up.
REQUEST_TIMEOUT = 20


class Peer:
    """Opens connections to the server under test and closes them when the scenario is over."""

    def __init__(self, transport: str, addresses: dict[str, Any], server_command: list[str]) -> None:
        self.transport = transport
        self._addresses = addresses
        self._server_command = server_command
        self._open = contextlib.ExitStack()

    def connect(self, kind: str = "default", service: Any = rpyc.VoidService, **config: Any) -> Any:
        """A new connection to a service of the given kind; the keywords are configuration."""
        config.setdefault("sync_request_timeout", REQUEST_TIMEOUT)
        if self.transport == "stdio":
            conn = rpyc.connect_subproc([*self._server_command, kind], service, config)
            self._open.callback(reap, conn.proc)
        elif self.transport == "unix":
            conn = unix_connect(self._addresses[kind], service, config)
        else:
            conn = rpyc.connect("127.0.0.1", self._addresses[kind], service, config)
        self._open.callback(conn.close)
        return conn

    def close(self) -> None:
        """Close every connection, and wait for the servers that belong to them."""
        self._open.close()


def reap(process: Any) -> None:
    """A server on pipes ends with its connection; its exit code must be 0."""
    code = process.wait(timeout=10)
    process.stdin.close()
    process.stdout.close()
    assert code == 0, f"the server process ended with {code}"


def main() -> None:
    """Answer the names on stdin."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    parameters = json.loads(sys.argv[1])
    about = {
        "version": rpyc.__version__,
        "file": rpyc.__file__,
        "native": importlib.util.find_spec("rpyc._rpyc") is not None,
        "scenarios": sorted(SCENARIOS),
    }
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        name = line.strip()
        print(json.dumps({"name": name, "error": run(name, Peer(**parameters))}), flush=True)


def run(name: str, peer: Peer) -> str | None:
    """Run one scenario; the traceback if it failed."""
    try:
        try:
            SCENARIOS[name](peer)
        finally:
            peer.close()
    except BaseException:
        return traceback.format_exc()
    return None


if __name__ == "__main__":
    main()
