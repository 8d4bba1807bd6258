"""execnet: source text runs in another interpreter, and a channel carries values. It has no calls; a call is a value
sent and a value received.

::

    execnet_end.py server tcp|unix          # prints {"address": ...}
    execnet_end.py client tcp|unix ADDRESS

Over TCP it uses execnet's socket server. It knows no Unix sockets: there it starts its other end itself, over pipes.
"""

from __future__ import annotations

import platform
import socket
import subprocess
import sys
import threading
from typing import Any

import execnet
from measuring import Workload, bulk, obey, repeated, require, say, wait_for_end

REMOTE = """
for a, b in channel:
    if a == "push":
        channel.send(len(b))
    elif a == "echo":
        channel.send(b)
    else:
        channel.send(a + b)
"""

PATIENCE = 60.0
"""Seconds until a silent peer counts as lost."""


def serve(transport: str) -> None:
    """execnet's own socket server, as a child, until standard input ends."""
    if transport == "unix":
        say(address="popen", version=execnet.__version__, python=platform.python_version())
        wait_for_end()
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-u", "-m", "execnet.script.socketserver", f"127.0.0.1:{port}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        # What it goes on to print must not fill the pipe.
        threading.Thread(target=server.stdout.read, daemon=True).start()
        say(address=f"socket=127.0.0.1:{port}", version=execnet.__version__, python=platform.python_version())
        wait_for_end()
    finally:
        server.kill()
        server.wait()


def drive(address: str) -> None:
    """Connects, then measures what standard input asks for."""
    group = execnet.Group()
    channel = group.makegateway(address).remote_exec(REMOTE)

    def call(a: Any, b: Any) -> Any:
        channel.send((a, b))
        return channel.receive(PATIENCE)

    require(call(1, 2), 3)
    say(version=execnet.__version__, python=platform.python_version())
    obey(
        {
            "held": lambda: Workload(repeated(lambda: call(1, 2))),
            "async300": lambda: outstanding(channel, 300),
            "async5000": lambda: outstanding(channel, 5000),
            **bulk(lambda data: call("push", data), lambda data: call("echo", data), (1, 16)),
        }
    )
    group.terminate(timeout=2.0)


def outstanding(channel: Any, count: int) -> Workload:
    """Values sent before the first is received."""

    def once() -> None:
        for _ in range(count):
            channel.send((1, 2))
        for _ in range(count):
            channel.receive(PATIENCE)

    return Workload(repeated(once), calls=count, long=True)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve(sys.argv[2])
    else:
        drive(sys.argv[3])
