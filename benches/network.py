"""A link of 100 Mbit/s: two network namespaces with a shaped pair of interfaces between them, or, where that is not
permitted, a relay in between that lets no more through."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from relay import Relay
from results import Results

RATE = 100_000_000
"""Bits a second, each way."""

SERVER_HOST, CLIENT_HOST = "10.231.77.1", "10.231.77.2"


@contextmanager
def slow_link(results: Results) -> Iterator[dict[str, Any]]:
    """Keyword arguments for ``running`` that put server and client at the ends of a slow link."""
    names = [f"rpyc-bench-{os.getpid()}-{end}" for end in ("server", "client")]
    try:
        prepare(*names)
        link: dict[str, Any] = {
            "host": SERVER_HOST,
            "prefixes": tuple(["ip", "netns", "exec", name] for name in names),
        }
    except (OSError, subprocess.CalledProcessError) as error:
        words = getattr(error, "stderr", None) or str(error)
        results.note(
            f"No network namespaces with tc here ({words.strip()}): the slow link is a relay on the loopback. "
            "There our engine takes the peer for a local one, and doesn't compress."
        )
        link = {"via": lambda address: Relay(address, bytes_per_second=RATE / 8).address}
    try:
        yield link
    finally:
        for name in names:
            # The interfaces go with the namespaces. What did not come to be need not be deleted.
            with suppress(OSError):
                subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False, timeout=10)


def prepare(server: str, client: str) -> None:
    """Makes both namespaces, and the interfaces between them."""
    pair = ("link0", "link1")
    do("ip", "netns", "add", server)
    do("ip", "netns", "add", client)
    do("ip", "-n", server, "link", "add", pair[0], "type", "veth", "peer", "name", pair[1], "netns", client)
    for name, interface, host in ((server, pair[0], SERVER_HOST), (client, pair[1], CLIENT_HOST)):
        do("ip", "-n", name, "address", "add", f"{host}/24", "dev", interface)
        do("ip", "-n", name, "link", "set", interface, "up")
        shape = ("root", "tbf", "rate", f"{RATE}bit", "burst", "64kb", "latency", "50ms")
        do("tc", "-n", name, "qdisc", "add", "dev", interface, *shape)


def do(*command: str) -> None:
    """Runs a command of iproute2."""
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)
