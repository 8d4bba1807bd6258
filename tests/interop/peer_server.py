"""The server of a scenario, run under either package.

    peer_server.py tcp                 prints one JSON line {kind: port} and serves until its stdin ends
    peer_server.py unix DIRECTORY      the same with {kind: path}
    peer_server.py stdio KIND          serves one connection over its standard pipes

A kind is a service with a configuration:

    default   InteropService under the default configuration
    open      InteropService that also allows pickling, setting, deleting and public names
    bound     InteropService in thread-bound mode, which the client must be in as well
    classic   ClassicService
    slave     SlaveService
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
from typing import Any

from interop_service import InteropService

import rpyc
from rpyc.core.stream import PipeStream
from rpyc.utils.server import ThreadedServer

KINDS: dict[str, tuple[type, dict[str, Any]]] = {
    "default": (InteropService, {}),
    "open": (
        InteropService,
        {"allow_pickle": True, "allow_setattr": True, "allow_delattr": True, "allow_public_attrs": True},
    ),
    "bound": (InteropService, {"bind_threads": True}),
    "classic": (rpyc.ClassicService, {}),
    "slave": (rpyc.SlaveService, {}),
}


def main() -> None:
    """Serve as the arguments say."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    transport = sys.argv[1]
    if transport == "stdio":
        serve_stdio(sys.argv[2])
    else:
        serve_listeners(None if transport == "tcp" else sys.argv[2])


def serve_listeners(directory: str | None) -> None:
    """One threaded server a kind, over TCP or on sockets in `directory`."""
    servers = {}
    for kind, (service, config) in KINDS.items():
        if directory is None:
            server = ThreadedServer(service, hostname="127.0.0.1", port=0, protocol_config=dict(config))
        else:
            server = ThreadedServer(service, socket_path=os.path.join(directory, kind), protocol_config=dict(config))
        threading.Thread(target=server.start, daemon=True).start()
        servers[kind] = server
    # The constructor has bound and the kernel queues connections once the listening thread has come up,
    # so wait for that before anybody is told the addresses.
    for server in servers.values():
        until_active(server)
    print(json.dumps({kind: server.port for kind, server in servers.items()}), flush=True)
    sys.stdin.read()
    for server in servers.values():
        server.close()


def until_active(server: Any) -> None:
    """Wait until the server listens; RuntimeError after ten seconds."""
    step = threading.Event()
    for _ in range(1000):
        if server.active:
            return
        step.wait(0.01)
    raise RuntimeError("the server has not come up within 10 s")


def serve_stdio(kind: str) -> None:
    """One connection over the standard pipes, until the other side closes it."""
    service, config = KINDS[kind]
    conn = rpyc.connect_stream(PipeStream.from_std(), service, dict(config))
    conn.serve_all()
    # The standard streams belong to the connection: there is nothing left to flush.
    os._exit(0)


if __name__ == "__main__":
    main()
