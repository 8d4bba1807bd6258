"""A client that connects again: when, how often, what it tells, and what becomes of old proxies."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import PATIENCE, Rig, eventually, in_thread, in_threads

import rpyc
from rpyc.utils.server import Server, ThreadedServer


class Service(rpyc.Service):
    """Has a name, and makes things."""

    def __init__(self, name: str = "first") -> None:
        self.name = name
        self.connected = 0

    def on_connect(self, conn: Any) -> None:
        self.connected += 1

    def exposed_who(self) -> str:
        return self.name

    def exposed_make(self) -> Any:
        return object()

    def exposed_call(self, function: Any) -> Any:
        return function()


@contextlib.contextmanager
def served(name: str, port: int = 0) -> Iterator[Server]:
    """A server, for as long as the block lasts."""
    server = ThreadedServer(Service(name), hostname="127.0.0.1", port=port)
    thread = server._start_in_thread()
    try:
        yield server
    finally:
        server.close()
        thread.join(PATIENCE)


def client_of(rig: Rig, port: int, **settings: Any) -> tuple[Any, list[rpyc.ReconnectEvent]]:
    """A client, and what it tells."""
    events: list[rpyc.ReconnectEvent] = []
    client = rpyc.ReconnectingClient(
        lambda: rpyc.connect("127.0.0.1", port), first_delay=0.01, longest_delay=0.1, on_event=events.append, **settings
    )
    rig.on_end(client.close)
    return client, events


def kinds(events: list[rpyc.ReconnectEvent]) -> list[str]:
    return [event.kind for event in events]


def test_it_connects_again(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """The next use finds that the server has gone, though nobody was looking, and the new one is used."""
    caplog.set_level(logging.INFO, "rpyc.reconnecting")
    with served("first") as server:
        client, events = client_of(rig, server.port)
        assert client.root.who() == "first"
        first = client.connection
        assert client.connection is first
    with served("second", server.port):
        assert client.root.who() == "second"
        assert client.connection is not first
    assert kinds(events) == ["connected", "lost", "connected"]
    assert events[1].connection is first and isinstance(events[1].error, rpyc.ConnectionLost)
    assert events[1].error.cause in ("peer closed", "reset")
    assert "lost" in caplog.text and "connected" in caplog.text


def test_old_proxies_never_reach_new_objects(rig: Rig) -> None:
    """They say where they belong; so do they as arguments, when the new peer uses them."""
    with served("first") as server:
        client, _ = client_of(rig, server.port)
        old = client.root.make()
        old_method = client.root.who
        old_method()
    with served("second", server.port):
        assert client.root.who() == "second"
        new = client.root.make()
        for use in (lambda: str(old), old_method, lambda: old.attribute, lambda: hash(old)):
            with pytest.raises(rpyc.ConnectionLost, match="belongs to an earlier connection"):
                use()
        with pytest.raises(EOFError, match="earlier connection"):
            client.root.call(old_method)
        assert str(new).startswith("<object object")
        assert client.root.who() == "second"


def test_pauses_grow(rig: Rig) -> None:
    """Each failed attempt is told, with the pause that follows; then the server is there."""
    with served("first") as server:
        client, events = client_of(rig, server.port, attempts=100)
    later = in_thread(lambda: client.root.who())
    eventually(lambda: kinds(events).count("failed") >= 4)
    with served("second", server.port):
        assert later.result(PATIENCE) == "second"
    failed = [event for event in events if event.kind == "failed"]
    assert [event.attempt for event in failed] == list(range(1, len(failed) + 1))
    for number, event in enumerate(failed):
        longest = min(0.01 * 2**number, 0.1)
        assert longest / 2 <= event.delay <= longest
        assert isinstance(event.error, ConnectionRefusedError)
    assert events[-1].kind == "connected" and events[-1].attempt == len(failed) + 1


@pytest.mark.parametrize("bound", [{"attempts": 3}, {"time_limit": 0.2, "attempts": 10**6}])
def test_it_gives_up(rig: Rig, bound: dict[str, Any]) -> None:
    """After so many attempts, or so much time; and may be used again later."""
    with served("first") as server:
        client, events = client_of(rig, server.port, **bound)
    with pytest.raises(rpyc.ConnectionLost, match="could not connect") as caught:
        client.root  # noqa: B018
    assert caught.value.cause == "unreachable"
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert events[-1].kind == "gave up"
    with served("second", server.port):
        assert client.root.who() == "second"


def test_threads_share_an_attempt(rig: Rig) -> None:
    """Eight threads find that the connection is lost; one connects."""
    with served("first") as server:
        client, _ = client_of(rig, server.port)
    with served("second", server.port) as second:
        assert set(in_threads(*[lambda: client.root.who()] * 8)) == {"second"}
        assert second.service.connected == 1


def test_closing_ends_it(rig: Rig) -> None:
    """Also an attempt under way, in its pause; afterwards every use is refused."""
    with served("first") as server:
        client, events = client_of(rig, server.port, attempts=10**6, time_limit=60)
        client._longest_delay = client._first_delay = 30
    waiting = in_thread(lambda: client.root)
    eventually(lambda: "failed" in kinds(events))
    client.close()
    with pytest.raises(rpyc.ConnectionLost, match="has been closed"):
        waiting.result(PATIENCE)
    with pytest.raises(rpyc.ConnectionLost, match="has been closed"):
        client.root  # noqa: B018
    assert client.closed


def test_what_can_not_be_mended_is_raised() -> None:
    """An error of the program is no reason to try again; nor is a listener's error one to fail."""

    def wrong() -> rpyc.Connection:
        raise LookupError("no such host in our table")

    with pytest.raises(LookupError):
        rpyc.ReconnectingClient(wrong)
    with pytest.raises(ValueError, match="at least one attempt"):
        rpyc.ReconnectingClient(wrong, attempts=0)


def test_listeners_may_fail_but_not_use_it(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """What they raise is logged."""
    clients: list[Any] = []

    def listen(event: rpyc.ReconnectEvent) -> None:
        if clients:
            clients[0].root  # noqa: B018

    with served("first") as server:
        clients.append(rpyc.ReconnectingClient(lambda: rpyc.connect("127.0.0.1", server.port), on_event=listen))
        rig.on_end(clients[0].close)
        clients[0].connection.close()
        assert clients[0].root.who() == "first"
    assert "is used by what it calls" in caplog.text


def test_a_call_under_way_is_not_repeated(rig: Rig) -> None:
    """Only the program knows whether it may be."""
    calls: list[int] = []
    gone = threading.Event()

    class Once(Service):
        def exposed_act(self) -> None:
            calls.append(1)
            gone.wait(PATIENCE)

    server = rig.serve(Once())
    client, _ = client_of(rig, server.port)
    acting = in_thread(lambda: client.root.act())
    eventually(lambda: calls)
    for sock in list(server.clients):
        sock.shutdown(2)
    with pytest.raises(rpyc.ConnectionLost):
        acting.result(PATIENCE)
    gone.set()
    assert client.root.who() == "first"
    assert calls == [1]
