"""Idle connections cost a server little: what they have in common is kept once, and the rest is lent or made on demand."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import Rig, in_threads

import rpyc
from rpyc.core import DEFAULT_CONFIG

KIB = 1024

POOL = """
import sys, rpyc
from rpyc.utils.server import ThreadPoolServer

class Service(rpyc.Service):
    def exposed_add(self, one, two): return one + two

server = ThreadPoolServer(Service(), hostname="127.0.0.1", port=0, backlog=1024)
server._start_in_thread()
print(server.port, flush=True)
sys.stdin.read()
"""


class Adder(rpyc.Service):
    """Has an attribute that the configuration decides about."""

    public = "open"


def test_idle_connections_of_a_pool_are_small(rig: Rig) -> None:
    """Resident memory for each connection that has called once. It is 4.3 KiB; a buffer or a table more would show."""
    server = rig.program(POOL)
    port = int(server.line())
    conns = [greet(rig, port) for _ in range(50)]
    before = resident(server.process.pid)
    conns += [greet(rig, port) for _ in range(300)]
    assert (resident(server.process.pid) - before) / 300 < 8 * KIB
    # All of them are still served.
    assert all(conn.root.add(1, 2) == 3 for conn in conns)


def test_equal_configurations_are_kept_once_until_somebody_looks(rig: Rig) -> None:
    given = {"allow_public_attrs": True, "of_the_program": [1]}
    one, two = (rig.pair(Adder, given).server for _ in range(2))
    assert one._settings is two._settings
    assert one._config is not two._config
    assert one._settings is one._config is one._config
    assert type(one._config) is dict


def test_a_configuration_that_is_looked_at_has_everything_in_order(rig: Rig) -> None:
    server = rig.pair(Adder, {"connid": "mine", "credentials": "me", "endpoints": (1, 2), "more": 3}).server
    expected = {**DEFAULT_CONFIG, "connid": "mine", "credentials": "me", "endpoints": (1, 2), "more": 3}
    assert list(server._config.items()) == list(expected.items())


def test_changing_one_configuration_concerns_one_connection(rig: Rig) -> None:
    one, two = (rig.pair(Adder) for _ in range(2))
    one.server._config["allow_public_attrs"] = True
    assert one.client.root.public == "open"
    with pytest.raises(AttributeError):
        _ = two.client.root.public
    two.server._config = {**two.server._config, "allow_public_attrs": True}
    assert two.client.root.public == "open"
    with pytest.raises(AttributeError):
        _ = rig.pair(Adder).client.root.public


def test_configurations_that_only_look_equal_are_apart(rig: Rig) -> None:
    """A value may be of another type, or be an object that a program changes."""
    givens: list[dict[str, Any]] = [{"more": 1}, {"more": True}, {"more": []}, {"more": []}]
    for given in givens:
        server = rig.pair(Adder, given).server
        assert server._config["more"] is given["more"]


def test_the_defaults_may_change_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = rig.pair(Adder).server
    monkeypatch.setitem(DEFAULT_CONFIG, "max_buffered_items", 7)
    assert first._settings["max_buffered_items"] != 7
    assert rig.pair(Adder).server._config["max_buffered_items"] == 7
    assert first._config["max_buffered_items"] != 7


def test_threads_that_look_at_once_see_one_configuration(rig: Rig) -> None:
    for _ in range(20):
        server = rig.pair(Adder).server
        start = threading.Barrier(4)

        def look(server: Any = server, start: threading.Barrier = start) -> Any:
            start.wait(10)
            return server._config

        found = in_threads(*[look] * 4)
        assert all(config is server._config for config in found)


def test_unused_attributes_are_there_when_asked_for(rig: Rig) -> None:
    server = rig.pair(Adder).server
    for name in ("_sendlock", "_send_queue", "_recv_event", "_threads", "_netref_classes_cache"):
        assert name not in vars(server)
        assert getattr(server, name) is getattr(server, name)
        mark = object()
        setattr(server, name, mark)
        assert getattr(server, name) is mark
        delattr(server, name)
        assert getattr(server, name) is not mark
    with server._sendlock, server._recv_event:
        pass


def greet(rig: Rig, port: int) -> Any:
    """A connection that has called once."""
    conn = rpyc.connect("127.0.0.1", port)
    rig.on_end(conn.close)
    assert conn.root.add(1, 2) == 3
    return conn


def resident(pid: int) -> int:
    """Bytes of memory of a process that are its own."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * KIB
    raise AssertionError("no amount of memory")
