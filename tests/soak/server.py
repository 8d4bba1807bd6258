"""A server for the soak: `server.py FOLDER PORT KIND...`. Runs with this package and with RPyC 6.0.2.

Each kind is `tcp`, `unix` or `tls`; all serve the same service. Prints one line with the ports, then serves until its
stdin ends. A line on stdin is answered with the figures of this process: calls, memory, descriptors, threads.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from pathlib import Path

import rpyc
from rpyc.utils.authenticators import SSLAuthenticator
from rpyc.utils.server import ThreadedServer


class Thing:
    """Goes by reference."""

    number = 0


class SoakService(rpyc.Service):
    """What the clients ask for. `calls` counts what was performed."""

    calls = 0
    lock = threading.Lock()

    def _count(self) -> None:
        with self.lock:
            SoakService.calls += 1

    def exposed_same(self, value):
        self._count()
        return value

    def exposed_call(self, function, value):
        self._count()
        return function(value)

    def exposed_make(self):
        self._count()
        return Thing()

    def exposed_fail(self, text):
        self._count()
        raise ValueError(text)


def figures() -> dict[str, int]:
    """What this process uses: resident bytes, descriptors, threads."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
    }


def main() -> None:
    """Serve until stdin ends."""
    folder, port, *kinds = sys.argv[1:]
    ports = {}
    for kind in kinds:
        where = {"hostname": "127.0.0.1", "port": int(port)}
        if kind == "unix":
            where = {"socket_path": str(Path(folder, "soak.socket"))}
        if kind == "tls":
            where["authenticator"] = SSLAuthenticator(str(Path(folder, "key")), str(Path(folder, "crt")))
        server = ThreadedServer(SoakService, protocol_config={"allow_public_attrs": True}, **where)
        threading.Thread(target=server.start, daemon=True).start()
        ports[kind] = server.port
    print(json.dumps(ports), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"calls": SoakService.calls} | figures()), flush=True)


if __name__ == "__main__":
    main()
