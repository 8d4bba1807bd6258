"""The registry: servers and clients over UDP and TCP, and what bad peers can do to it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Rig, eventually

import rpyc
from rpyc.core import brine
from rpyc.utils import factory
from rpyc.utils.registry import (
    RegistryClient,
    RegistryServer,
    TCPRegistryClient,
    TCPRegistryServer,
    UDPRegistryClient,
    UDPRegistryServer,
)
from rpyc.utils.server import ThreadedServer

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "vectors.json").read_text())[
    "registry"
]

# A registry and a client that asks it.
Pair = tuple[RegistryServer, RegistryClient]
Make = Callable[..., Pair]


@pytest.fixture(params=["UDP", "TCP"])
def make(request: pytest.FixtureRequest, leak_check: None) -> Iterator[Make]:
    """Makes running registries of one transport, with a client for each."""
    running: list[tuple[RegistryServer, threading.Thread]] = []
    server_kind: Any = UDPRegistryServer if request.param == "UDP" else TCPRegistryServer
    client_kind: Any = UDPRegistryClient if request.param == "UDP" else TCPRegistryClient

    def start(**options: Any) -> Pair:
        kind = options.pop("kind", lambda base: base)(server_kind)
        server = kind(host="127.0.0.1", port=0, **options)
        thread = threading.Thread(target=server.start)
        thread.start()
        eventually(lambda: server.active)
        running.append((server, thread))
        return server, client_kind("127.0.0.1", server.port, timeout=PATIENCE)

    yield start
    for server, thread in running:
        if server.active:
            server.close()
        thread.join(PATIENCE)
        assert not thread.is_alive()


# ------------------------------------------------------------------- the commands


def test_registers_discovers_and_unregisters(make: Make) -> None:
    server, client = make()
    assert client.discover("foo") == ()
    assert client.register(("foo", "Bar"), 1001)
    assert client.register(("foo",), 1002)
    assert client.discover("FOO") == (("127.0.0.1", 1001), ("127.0.0.1", 1002))
    assert client.discover("bar") == (("127.0.0.1", 1001),)
    client.unregister(1001)
    eventually(lambda: "BAR" not in server.services)
    assert client.discover("foo") == (("127.0.0.1", 1002),)
    assert client.discover("bar") == ()


def test_the_oldest_registration_comes_first(make: Make) -> None:
    _, client = make()
    for port in (1, 2, 1):
        client.register(("foo",), port)
    assert [port for _, port in client.discover("foo")] == [2, 1]


def test_entries_expire_when_asked_for(make: Make) -> None:
    server, client = make(pruning_timeout=0.2, allow_listing=True)
    client.register(("foo",), 1)
    assert len(client.discover("foo")) == 1
    eventually(lambda: client.discover("foo") == ())
    assert server.services == {}


def test_listing_includes_what_has_expired(make: Make) -> None:
    _, client = make(pruning_timeout=0, allow_listing=True)
    client.register(("foo",), 1)
    assert client.list() == ("FOO",)
    assert client.discover("foo") == ()
    assert client.list() == ()


def test_lists_services_by_host(make: Make) -> None:
    _, client = make(allow_listing=True)
    assert client.register(("here",), 1)
    assert client.register(("there",), 1, interface="127.0.0.2")
    assert client.list() == ("HERE", "THERE")
    assert client.list("127.0.0.2") == ("THERE",)
    assert client.list("10.9.9.9") == ()
    assert client.discover("there") == (("127.0.0.2", 1),)
    assert factory.list_services(client, "127.0.0.1") == ("HERE",)


def test_listing_can_be_forbidden(make: Make) -> None:
    _, client = make()
    assert client.list() is None
    with pytest.raises(factory.ForbiddenError):
        factory.list_services(client)


def test_the_hooks_tell_of_concerned_services_only(make: Make) -> None:
    told: list[Any] = []

    def kind(base: Any) -> Any:
        class Telling(base):  # type: ignore[misc]
            def on_service_added(self, name: str, addrinfo: Any) -> None:
                told.append(("added", name, addrinfo))

            def on_service_removed(self, name: str, addrinfo: Any) -> None:
                told.append(("removed", name, addrinfo))

        return Telling

    _, client = make(kind=kind)
    for port in (1, 2, 2):
        client.register(("foo",), port)
    client.register(("bar",), 3)
    client.unregister(2)
    eventually(lambda: len(told) == 4)
    here = "127.0.0.1"
    assert told == [
        ("added", "FOO", (here, 1)),
        ("added", "FOO", (here, 2)),
        ("added", "BAR", (here, 3)),
        ("removed", "FOO", (here, 2)),
    ]


def test_a_text_instead_of_names_registers_each_letter(make: Make) -> None:
    """As RPyC does."""
    server, client = make()
    request = brine.dump(("RPYC", "REGISTER", ("ab", 1)))
    assert ask(server, client, request) == "OK"
    assert set(server.services) == {"A", "B"}


def test_registration_is_bounded(make: Make) -> None:
    server, client = make()
    server.MAX_ENTRIES = 3
    client.timeout = 0.2
    assert [client.register(("foo",), port) for port in range(1, 6)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert client.register(("foo",), 2)
    assert client.register(("bar",), 1) is False
    assert list(server.services) == ["FOO"]
    server.pruning_timeout = -1
    assert client.register(("bar",), 1)
    assert list(server.services) == ["BAR"]


# ----------------------------------------------------------------------- the wire


def ask(
    server: RegistryServer, client: RegistryClient, request: bytes, seconds: float = PATIENCE
) -> Any:
    """Send raw bytes to a registry; its decoded reply, or "no answer"."""
    kind = socket.SOCK_DGRAM if isinstance(client, UDPRegistryClient) else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.connect(("127.0.0.1", server.port))
        sock.settimeout(seconds)
        sock.send(request)
        try:
            data = sock.recv(65536)
        except TimeoutError:
            return "no answer"
    return brine.load(data) if data else "no answer"


def test_answers_as_recorded(make: Make) -> None:
    """The recorded requests of RPyC 6.0.2, in their order."""
    server, client = make(allow_listing=True)
    for vector in VECTORS:
        server.allow_listing = vector["note"] != "list, listing disabled"
        expected = (
            brine.load(bytes.fromhex(vector["reply_hex"])) if "reply_hex" in vector else "no answer"
        )
        # A reply comes at once, and silence is no longer than a moment here.
        reply = ask(
            server,
            client,
            bytes.fromhex(vector["request_hex"]),
            PATIENCE if "reply_hex" in vector else 0.1,
        )
        assert reply == expected, vector["note"]


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\xff\xff\xff",
        b"\x15\xff\xff\xff\xff",
        brine.dump(5),
        brine.dump(("RPYC", "QUERY")),
        brine.dump(("RPYC", 5, ())),
        brine.dump(("RPYC", b"QUERY", ("foo",))),
        brine.dump(("RPYC", "QUERY", 5)),
        brine.dump(("RPYC", "QUERY", (5,))),
        brine.dump(("RPYC", "QUERY", ())),
        brine.dump(("RPYC", "__class__", ())),
        brine.dump(("RPYC", "REGISTER", (("fine", 7), 1))),
        brine.dump(("RPYC", "REGISTER", (("fine",), (1, 2)))),
        brine.dump(("RPYC", "REGISTER", (None, 1))),
        brine.dump(("RPYC", "UNREGISTER", (None,))),
        brine.dump(("RPYC", "LIST", (5,))),
    ],
    ids=repr,
)
def test_a_malformed_request_changes_nothing(make: Make, request_: bytes) -> None:
    server, client = make(allow_listing=True)
    assert ask(server, client, request_, 0.1) == "no answer"
    assert server.services == {}
    assert client.register(("foo",), 1)


def test_a_failing_hook_does_not_end_the_registry(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def kind(base: Any) -> Any:
        class Failing(base):  # type: ignore[misc]
            def cmd_fail(self, host: str) -> None:
                raise SystemError("oops")

        return Failing

    server, client = make(kind=kind)
    assert ask(server, client, brine.dump(("RPYC", "fail", ())), 0.1) == "no answer"
    assert client.discover("foo") == ()
    assert any("'fail' from 127.0.0.1 failed" in text for text in caplog.messages)


# ----------------------------------------------------------------------- lifetime


def test_start_and_close_say_what_is_wrong(make: Make) -> None:
    server, _ = make()
    with pytest.raises(ValueError, match="already running"):
        server.start()
    server.close()
    with pytest.raises(ValueError, match="not running"):
        server.close()
    eventually(lambda: server.sock.fileno() == -1)
    with pytest.raises(ValueError, match="was closed"):
        server.start()


def test_close_is_not_waited_for(make: Make) -> None:
    server, _ = make(kind=lambda base: type("Patient", (base,), {"TIMEOUT": 60.0}))
    server.close()
    eventually(lambda: server.sock.fileno() == -1, 2)


def test_logger_names(leak_check: None) -> None:
    for kind, name in ((UDPRegistryServer, "UDP"), (TCPRegistryServer, "TCP")):
        server: Any = kind(host="127.0.0.1", port=0)
        assert server.logger.name == f"REGSRV/{name}/{server.port}"
        server._dispose()
    assert UDPRegistryClient().logger.name == "REGCLNT/UDP"
    assert TCPRegistryClient("127.0.0.1").logger.name == "REGCLNT/TCP"


# ---------------------------------------------------------------------------- TCP


def test_silent_tcp_clients_delay_nobody(leak_check: None) -> None:
    server = TCPRegistryServer(host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.start)
    thread.start()
    eventually(lambda: server.active)
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    try:
        for sock in silent[:10]:
            sock.sendall(b"\x12")
        client = TCPRegistryClient("127.0.0.1", server.port, timeout=2)
        assert client.register(("foo",), 1)
        assert len(client.discover("foo")) == 1
        for sock in silent:
            sock.settimeout(PATIENCE)
            assert sock.recv(1) == b""
    finally:
        for sock in silent:
            sock.close()
        server.close()
        thread.join(PATIENCE)


def test_the_number_of_waiting_tcp_clients_is_bounded(leak_check: None) -> None:
    server = TCPRegistryServer(host="127.0.0.1", port=0)
    server.MAX_CLIENTS = 5
    server.TIMEOUT = 60
    thread = threading.Thread(target=server.start)
    thread.start()
    eventually(lambda: server.active)
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(8)]
    try:
        for sock in silent[:3]:
            sock.settimeout(PATIENCE)
            assert sock.recv(1) == b""
        eventually(lambda: len(server._clients) == 5)
    finally:
        for sock in silent:
            sock.close()
        server.close()
        thread.join(PATIENCE)


def test_a_tcp_request_may_come_in_pieces(leak_check: None) -> None:
    server = TCPRegistryServer(host="127.0.0.1", port=0, allow_listing=True)
    thread = threading.Thread(target=server.start)
    thread.start()
    eventually(lambda: server.active)
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in brine.dump(("RPYC", "LIST", ((None,),))):
                sock.sendall(bytes((byte,)))
            assert brine.load(sock.recv(100)) == ()
    finally:
        server.close()
        thread.join(PATIENCE)


def test_an_unreachable_tcp_registry(leak_check: None) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        client = TCPRegistryClient("127.0.0.1", sock.getsockname()[1])
        for ask_it in (lambda: client.discover("foo"), client.list):
            with pytest.raises(ConnectionRefusedError):
                ask_it()
        assert client.register(("foo",), 1) is False
        client.unregister(1)


@pytest.mark.parametrize("says", [b"", b"\xff", brine.dump("no")])
def test_an_unhelpful_tcp_registry(leak_check: None, says: bytes) -> None:
    """A decodable answer other than OK is no acknowledgement."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for _ in range(3):
                sock, _ = listener.accept()
                with sock:
                    sock.recv(1500)
                    sock.sendall(says)

        thread = threading.Thread(target=answer)
        thread.start()
        client = TCPRegistryClient("127.0.0.1", listener.getsockname()[1], timeout=PATIENCE)
        assert client.discover("foo") == ()
        assert client.list() == ()
        assert client.register(("foo",), 1) is False
        thread.join(PATIENCE)


# ---------------------------------------------------------------------------- UDP


def test_a_silent_udp_registry(leak_check: None) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        client = UDPRegistryClient("127.0.0.1", sock.getsockname()[1], timeout=0.1)
        assert client.discover("foo") == ()
        assert client.list() == ()
        assert client.register(("foo",), 1) is False
        client.unregister(1)


def test_a_registration_is_acknowledged_by_the_registry_only(leak_check: None) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as registry,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        registry.bind(("127.0.0.1", 0))
        registry.settimeout(PATIENCE)

        def answer(who: socket.socket) -> None:
            _, address = registry.recvfrom(1500)
            who.sendto(brine.dump("OK"), address)

        for who, acknowledged in ((stranger, False), (registry, True)):
            client = UDPRegistryClient(
                "127.0.0.1", registry.getsockname()[1], timeout=PATIENCE if acknowledged else 0.3
            )
            thread = threading.Thread(target=answer, args=(who,))
            thread.start()
            assert client.register(("foo",), 1) is acknowledged
            thread.join(PATIENCE)


def test_nonsense_before_the_answer_is_passed_over(leak_check: None) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as registry:
        registry.bind(("127.0.0.1", 0))
        registry.settimeout(PATIENCE)

        def answer() -> None:
            _, address = registry.recvfrom(1500)
            registry.sendto(b"\xff", address)
            registry.sendto(brine.dump((("10.0.0.1", 5),)), address)

        thread = threading.Thread(target=answer)
        thread.start()
        client = UDPRegistryClient("127.0.0.1", registry.getsockname()[1], timeout=PATIENCE)
        assert client.discover("foo") == (("10.0.0.1", 5),)
        thread.join(PATIENCE)


def test_broadcast_is_recognised_by_the_address() -> None:
    assert UDPRegistryClient().bcast
    assert UDPRegistryClient("192.168.255.1").bcast
    assert not UDPRegistryClient("192.168.1.25").bcast
    assert not UDPRegistryClient("192.168.1.255", bcast=False).bcast
    assert not UDPRegistryClient("ff02::1", ipv6=True).bcast


def test_udp_over_ipv6(leak_check: None) -> None:
    server = UDPRegistryServer(host="::1", port=0)
    thread = threading.Thread(target=server.start)
    thread.start()
    eventually(lambda: server.active)
    try:
        client = UDPRegistryClient("::1", server.port, timeout=PATIENCE, ipv6=True)
        assert client.register(("foo",), 1, interface="::1")
        assert client.discover("foo") == (("::1", 1),)
    finally:
        server.close()
        thread.join(PATIENCE)


# ------------------------------------------------------------------ with a server


def test_a_server_is_found_by_its_service(make: Make, rig: Rig) -> None:
    registry, client = make(allow_listing=True)

    class Adding(rpyc.Service):
        ALIASES = ("adder", "sum")

        def exposed_add(self, a: int, b: int) -> int:
            return a + b

    server = ThreadedServer(Adding, hostname="127.0.0.1", registrar=client)
    rig.on_end(server._start_in_thread().join, PATIENCE)
    rig.on_end(server.close)
    eventually(lambda: len(registry.services) == 2)
    assert factory.discover("SUM", registrar=client) == (("127.0.0.1", server.port),)
    assert factory.discover("sum", host="localhost", registrar=client) == [
        ("127.0.0.1", server.port)
    ]
    conn = factory.connect_by_service("adder", registrar=client)
    assert conn.root.add(1, 2) == 3
    conn.close()
    with pytest.raises(factory.DiscoveryError, match="'nothing'"):
        factory.discover("nothing", registrar=client)
    with pytest.raises(factory.DiscoveryError, match="10.2.3.4"):
        factory.discover("sum", host="10.2.3.4", registrar=client)
    server.close()
    eventually(lambda: not registry.services)


def test_servers_that_are_down_are_skipped(make: Make, rig: Rig) -> None:
    _, client = make()
    server = rig.serve(rpyc.VoidService)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        down = sock.getsockname()[1]
        assert client.register(("foo",), down)
        with pytest.raises(factory.DiscoveryError, match=f"are down: 127.0.0.1:{down}"):
            factory.connect_by_service("foo", registrar=client)
        assert client.register(("foo",), server.port)
        conn = factory.connect_by_service("foo", registrar=client)
        conn.ping()
        conn.close()


def test_the_default_registrar_asks_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Noting:
        def __init__(self, **options: Any) -> None:
            made.append(options)

        def discover(self, name: str) -> Any:
            return ((name, 1),)

        def list(self, filter_host: str | None) -> Any:
            return (str(filter_host),)

    monkeypatch.setattr(factory, "UDPRegistryClient", Noting)
    assert factory.discover("x", timeout=7) == (("x", 1),)
    assert factory.list_services(filter_host="h", timeout=8) == ("h",)
    assert made == [{"timeout": 7}, {"timeout": 8}]
