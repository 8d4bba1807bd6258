"""Who is let in: tokens, certificates, the number of clients, and what happens to those that say nothing."""

from __future__ import annotations

import hashlib
import hmac
import io
import logging
import os
import pickle
import socket
import ssl
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Rig, close_quietly, eventually, in_thread

import rpyc
from rpyc.core.stream import SocketStream
from rpyc.utils import classic
from rpyc.utils._servers.exposure import exposure
from rpyc.utils.authenticators import (
    AuthenticationError,
    Chained,
    SSLAuthenticator,
    TokenAuthenticator,
)
from rpyc.utils.server import Server, ThreadedServer, ThreadPoolServer

TOKEN = "correct horse battery staple"
MAGIC = b"RPYCTOK1"

SERVERS = pytest.mark.parametrize("kind", [ThreadedServer, ThreadPoolServer])


class Greeter(rpyc.Service):
    """Says who is there."""

    def on_connect(self, conn: Any) -> None:
        self.name = conn._config["credentials"]

    def exposed_hello(self) -> Any:
        return self.name


def serve(rig: Rig, kind: type[Server] = ThreadedServer, service: Any = Greeter, **parameters: Any) -> Server:
    """A listening server with these parameters."""
    server = kind(service, **{"hostname": "127.0.0.1", **parameters})
    thread = server._start_in_thread()
    rig.on_end(thread.join, PATIENCE)
    rig.on_end(server.close)
    return server


def connect(rig: Rig, server: Server, authenticator: Any = None) -> Any:
    conn = rpyc.connect("127.0.0.1", server.port, authenticator=authenticator)
    rig.on_end(close_quietly, conn)
    return conn


@SERVERS
def test_a_token_opens_the_door(rig: Rig, kind: type[Server]) -> None:
    """The same secret at both ends, and the connection is one like any other."""
    server = serve(rig, kind, authenticator=TokenAuthenticator(TOKEN))
    conn = connect(rig, server, TokenAuthenticator(TOKEN.encode()))
    assert conn.root.hello() == ""
    assert conn._config["credentials"] == ""


def test_tokens_of_several_clients(rig: Rig) -> None:
    """Each has a name and a secret; the name is the credentials. One's token does not open another's door."""
    tokens = {"alice": "a" * 32, "bob": "b" * 32}
    server = serve(rig, authenticator=TokenAuthenticator(tokens))
    for name in tokens:
        assert connect(rig, server, TokenAuthenticator(tokens[name], name)).root.hello() == name
    for secret, name in (("a" * 32, "bob"), ("a" * 32, "eve"), ("a" * 32, "")):
        with pytest.raises(AuthenticationError, match="refuses the token"):
            connect(rig, server, TokenAuthenticator(secret, name))


@SERVERS
def test_another_token_does_not(rig: Rig, kind: type[Server]) -> None:
    """The client is told that it is refused, and nothing else; the server goes on."""
    server = serve(rig, kind, authenticator=TokenAuthenticator(TOKEN))
    with pytest.raises(AuthenticationError, match="refuses the token"):
        connect(rig, server, TokenAuthenticator("incorrect horse battery staple"))
    assert connect(rig, server, TokenAuthenticator(TOKEN)).root.hello() == ""


def test_over_a_unix_socket(rig: Rig) -> None:
    """And through the connect function of classic mode."""
    path = str(rig.directory() / "socket")
    serve(rig, service=rpyc.SlaveService, hostname=None, socket_path=path, authenticator=TokenAuthenticator(TOKEN))
    conn = classic.unix_connect(path, TokenAuthenticator(TOKEN))
    rig.on_end(close_quietly, conn)
    assert conn.eval("1 + 1") == 2


def spoken(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return data


def test_the_handshake_as_documented(rig: Rig) -> None:
    """A client written from docs/protocol.md, section 20, alone."""
    server = serve(rig, authenticator=TokenAuthenticator({"zoë": TOKEN}))
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.settimeout(PATIENCE)
        name, ours = "zoë".encode(), os.urandom(32)
        sock.sendall(MAGIC + bytes([len(name)]) + name + ours)
        assert spoken(sock, 8) == MAGIC
        theirs = spoken(sock, 32)
        told = bytes([len(name)]) + name + ours + theirs
        sock.sendall(hmac.new(TOKEN.encode(), b"rpyc token 1 client\0" + told, hashlib.sha256).digest())
        assert spoken(sock, 1) == b"\1"
        assert spoken(sock, 32) == hmac.new(TOKEN.encode(), b"rpyc token 1 server\0" + told, hashlib.sha256).digest()


def test_an_overheard_handshake_is_worth_nothing(rig: Rig) -> None:
    """Played again, to the server or back to the client, it convinces nobody."""
    server = serve(rig, authenticator=TokenAuthenticator(TOKEN))
    recorded = overhear(server)
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.settimeout(PATIENCE)
        sock.sendall(recorded["client"])
        assert spoken(sock, 41)[40:] == b"\0"

    def replay(sock: socket.socket) -> None:
        sock.sendall(recorded["server"])

    with pytest.raises(AuthenticationError, match="does not know the token"):
        against(rig, replay)


def overhear(server: Server) -> dict[str, bytes]:
    """What both sides of a good handshake say."""
    said = {"client": b"", "server": b""}

    class Tap(socket.socket):
        def recv(self, count: int, *flags: Any) -> bytes:
            piece = super().recv(count, *flags)
            said["server"] += piece
            return piece

        def sendall(self, data: Any, *flags: Any) -> None:
            said["client"] += bytes(data)
            super().sendall(data, *flags)

    with Tap() as sock:
        sock.connect(("127.0.0.1", server.port))
        TokenAuthenticator(TOKEN).introduce(sock)
    return said


def against(rig: Rig, behave: Any) -> None:
    """A client of ours introduces itself to a server that behaves like that."""
    mine, theirs = socket.socketpair()
    rig.on_end(mine.close)
    rig.on_end(theirs.close)
    theirs.settimeout(PATIENCE)
    behaving = in_thread(lambda: behave(theirs))
    try:
        TokenAuthenticator(TOKEN, timeout=0.3).introduce(mine)
    finally:
        behaving.result(PATIENCE)


def test_an_impostor_as_server(rig: Rig) -> None:
    """Says yes to everything, does not know the token: the client does not believe it. It could reflect the client's
    own proof, hang up, or say nothing."""

    def agree(sock: socket.socket) -> None:
        spoken(sock, 41)
        sock.sendall(MAGIC + bytes(32))
        sock.sendall(b"\1" + spoken(sock, 32))

    def hang_up(sock: socket.socket) -> None:
        sock.close()

    def keep_silent(sock: socket.socket) -> None:
        spoken(sock, 41)

    def other_protocol(sock: socket.socket) -> None:
        sock.sendall(struct.pack("!LB", 7, 0) + b"a frame")

    for behave, words in (
        (agree, "does not know the token"), (hang_up, "hung up|failed"), (keep_silent, "within 0.3 seconds"),
        (other_protocol, "does not know the token handshake"),
    ):  # fmt: skip
        with pytest.raises(AuthenticationError, match=words):
            against(rig, behave)


@pytest.mark.parametrize("said", [b"", b"\0\0\0\7\0a frame\n", MAGIC, MAGIC + b"\xff", MAGIC + b"\0" + bytes(32) + bytes(31)])
def test_clients_that_speak_no_or_half_a_handshake(rig: Rig, said: bytes) -> None:
    """They are hung up on when their time is over, and reach nothing."""
    server = serve(rig, authenticator=TokenAuthenticator(TOKEN), protocol_config={"endpoints_timeout": 0.3})
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.settimeout(PATIENCE)
        sock.sendall(said)
        rest = b""
        while piece := sock.recv(4096):
            rest += piece
        assert len(rest) <= 41
    eventually(lambda: not server.clients)


def test_weak_tokens_are_refused() -> None:
    """What can be guessed from an overheard handshake is no token."""
    for token in ("", "short", b"fifteen bytes..", {"alice": "x" * 32, "bob": "hunter2"}):
        with pytest.raises(ValueError, match="make_token"):
            TokenAuthenticator(token)
    assert len(TokenAuthenticator.make_token()) >= 32 and TokenAuthenticator.make_token() != TokenAuthenticator.make_token()
    with pytest.raises(ValueError, match="longer than 255"):
        TokenAuthenticator(TOKEN, "x" * 256)
    with pytest.raises(ValueError, match="its own one"):
        TokenAuthenticator({"alice": "x" * 32}).introduce(None)


def test_token_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """White space around the token does not count; a file that others may read is complained about."""
    file = tmp_path / "token"
    file.write_text(f"  {TOKEN}\n")
    file.chmod(0o600)
    assert TokenAuthenticator.from_file(file)._secrets == {"": TOKEN.encode()}
    assert not caplog.records
    file.chmod(0o640)
    TokenAuthenticator.from_file(file, "alice")
    assert "chmod 600" in caplog.text and TOKEN not in caplog.text


def test_secrets_are_never_shown(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a repr, a pickle, an error or a log at its most talkative, whether the handshake works or not."""
    caplog.set_level(logging.DEBUG)
    authenticator = TokenAuthenticator({"alice": TOKEN, "bob": "b" * 32})
    with pytest.raises(TypeError, match="tokens"):
        pickle.dumps(authenticator)
    server = serve(rig, ThreadPoolServer, authenticator=authenticator)
    texts = [repr(authenticator), str(authenticator)]
    assert connect(rig, server, TokenAuthenticator(TOKEN, "alice")).root.hello() == "alice"
    for token, name in ((TOKEN, "bob"), ("b" * 32, "eve")):
        with pytest.raises(AuthenticationError) as caught:
            connect(rig, server, TokenAuthenticator(token, name))
        texts.append(repr(caught.value))
    eventually(lambda: caplog.text.count("failed to authenticate") == 2)
    texts.append(caplog.text)
    for text in texts:
        assert TOKEN not in text and "bbbb" not in text
        assert TOKEN.encode().hex() not in text
    assert "alice" in caplog.text and "'eve'" in caplog.text


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from test_tls import Certificates

    return Certificates(tmp_path_factory.mktemp("certificates"))


def test_a_token_inside_tls(rig: Rig, certificates: Any) -> None:
    """Chained: certificates of both sides, then the token; the credentials are those of both."""
    tls = SSLAuthenticator(**certificates.of("server"), ca_certs=certificates["ca.crt"])
    server = serve(rig, authenticator=Chained(tls, TokenAuthenticator({"alice": TOKEN})))
    sides = {**certificates.of("client"), "ca_certs": certificates["ca.crt"]}
    conn = rpyc.ssl_connect("localhost", server.port, **sides, authenticator=TokenAuthenticator(TOKEN, "alice"))
    rig.on_end(close_quietly, conn)
    certificate, name = conn.root.hello()
    assert dict(pair[0] for pair in certificate["subject"])["commonName"] == "client" and name == "alice"
    with pytest.raises(AuthenticationError):
        rpyc.ssl_connect("localhost", server.port, **sides, authenticator=TokenAuthenticator("x" * 32, "alice"))
    # Without a certificate there is no one to tell a token to.
    with pytest.raises((AuthenticationError, OSError, EOFError)):
        rpyc.ssl_connect("localhost", server.port, authenticator=TokenAuthenticator(TOKEN, "alice"))


# Many clients


@SERVERS
@pytest.mark.parametrize("door", ["token", "tls", "none"])
def test_silent_clients_delay_nobody(rig: Rig, certificates: Any, kind: type[Server], door: str) -> None:
    """100 clients connect and say nothing. A good one is served long before the first of them is given up."""
    authenticator: Any = {
        "token": TokenAuthenticator(TOKEN), "tls": SSLAuthenticator(**certificates.of("server")), "none": None,
    }[door]  # fmt: skip
    # Their time is far beyond what the good client is given here.
    server = serve(rig, kind, authenticator=authenticator, protocol_config={"endpoints_timeout": 3600})
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    rig.on_end(lambda: [sock.close() for sock in silent])
    if door == "tls":
        # A client gives a handshake 3 seconds; under load it may take longer.
        trusting = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
        good = in_thread(lambda: rpyc.connect_stream(SocketStream.ssl_connect("localhost", server.port, trusting, timeout=40)))
    else:
        good = in_thread(lambda: rpyc.connect("127.0.0.1", server.port, authenticator=authenticator))
    conn = good.result(40)
    rig.on_end(close_quietly, conn)
    conn.ping(timeout=PATIENCE)


def test_more_silent_clients_than_doorkeepers(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pool, whoever has had the most time makes room for a newcomer."""
    from rpyc.utils._servers import pool

    monkeypatch.setattr(pool, "_MAX_NEWCOMERS", 5)
    server = serve(
        rig, ThreadPoolServer, nbThreads=2, authenticator=TokenAuthenticator(TOKEN), protocol_config={"endpoints_timeout": 3600}
    )
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(30)]
    rig.on_end(lambda: [sock.close() for sock in silent])
    assert connect(rig, server, TokenAuthenticator(TOKEN)).root.hello() == ""


@SERVERS
def test_the_number_of_clients_is_bounded(rig: Rig, kind: type[Server], caplog: pytest.LogCaptureFixture) -> None:
    """`max_connections`: one more is hung up on; when somebody leaves there is room again."""
    server = serve(rig, kind, max_connections=2)
    first, second = connect(rig, server), connect(rig, server)
    assert first.root.hello() is None and second.root.hello() is None
    with socket.create_connection(("127.0.0.1", server.port)) as third:
        third.settimeout(PATIENCE)
        assert third.recv(1) == b""
    eventually(lambda: "max_connections" in caplog.text)
    second.close()
    eventually(lambda: server._connections() == 1)
    assert connect(rig, server).root.hello() is None


# Its children must not inherit the sockets of a test, so it is a process of its own.
FORKING = """
import sys
import rpyc
from rpyc.utils.authenticators import TokenAuthenticator
from rpyc.utils.server import ForkingServer

server = ForkingServer(
    rpyc.VoidService, hostname="127.0.0.1", max_connections=30, authenticator=TokenAuthenticator(sys.argv[1]),
    protocol_config={"endpoints_timeout": 3600},
)
server._listen()
print(server.port)
server.start()
"""


def test_a_forking_server(rig: Rig) -> None:
    """The same doors: silent clients delay nobody, and their number is bounded."""
    program = rig.program(FORKING, TOKEN)
    port = int(program.line())
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    rig.on_end(lambda: [sock.close() for sock in silent])
    conn = rpyc.connect("127.0.0.1", port, authenticator=TokenAuthenticator(TOKEN))
    rig.on_end(close_quietly, conn)
    conn.ping(timeout=PATIENCE)
    silent += [socket.create_connection(("127.0.0.1", port)) for _ in range(9)]
    with socket.create_connection(("127.0.0.1", port)) as refused:
        refused.settimeout(PATIENCE)
        assert refused.recv(1) == b""


# Warnings


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"service": rpyc.SlaveService}, "no authenticator"),
        ({"service": rpyc.ClassicService()}, "no authenticator"),
        ({"service": rpyc.VoidService, "protocol_config": {"allow_all_attrs": True}}, "allow_all_attrs"),
        ({"service": rpyc.SlaveService, "authenticator": "tls"}, "client certificate"),
        ({"service": rpyc.SlaveService, "authenticator": "mutual"}, None),
        ({"service": rpyc.SlaveService, "authenticator": TokenAuthenticator(TOKEN)}, None),
        ({"service": rpyc.SlaveService, "authenticator": "tls+token"}, None),
        ({"service": rpyc.VoidService}, None),
        ({"service": rpyc.SlaveService, "hostname": "127.0.0.1"}, None),
    ],
)
def test_control_for_everybody_is_warned_of(
    rig: Rig, certificates: Any, caplog: pytest.LogCaptureFixture, parameters: dict[str, Any], words: str | None
) -> None:
    """Full control, beyond this machine, and nobody is asked who he is."""
    tls = certificates.of("server")
    named = {
        "tls": SSLAuthenticator(**tls), "mutual": SSLAuthenticator(**tls, ca_certs=certificates["ca.crt"]),
        "tls+token": Chained(SSLAuthenticator(**tls), TokenAuthenticator(TOKEN)),
    }  # fmt: skip
    authenticator = parameters.get("authenticator")
    parameters = {**parameters, "authenticator": named.get(authenticator, authenticator)} if authenticator else parameters
    server = serve(rig, **{"hostname": "0.0.0.0", **parameters})
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    if words is None:
        assert not warned and exposure(server) is None
    else:
        assert len(warned) == 1 and words in warned[0] and warned[0].startswith("ANYBODY")


def test_the_command_warns_even_if_it_is_quiet(rig: Rig) -> None:
    """On its standard error, whatever is logged."""
    text = "import sys; from rpyc.cli.rpyc_classic import main; sys.argv = ['x', *sys.argv[1:]]; main()"
    program = rig.program(text, "--quiet", "--host", "0.0.0.0", "--port", "0", "--mode", "oneshot")
    assert program.line() == "rpyc-oneshot"
    assert "WARNING: ANYBODY" in program.errors()


def test_the_command_takes_a_token_file(rig: Rig, tmp_path: Path) -> None:
    """`--token-file`: with the token one gets in, without it not, and there is no option for the token itself."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    text = "import sys; from rpyc.cli.rpyc_classic import main; sys.argv = ['x', *sys.argv[1:]]; main()"
    program = rig.program(text, "--host", "127.0.0.1", "--port", "0", "--mode", "oneshot", "--token-file", str(file))
    assert program.line() == "rpyc-oneshot"
    port = int(program.line().split("\t")[1])
    conn = classic.connect("127.0.0.1", port, authenticator=TokenAuthenticator.from_file(file))
    rig.on_end(close_quietly, conn)
    assert conn.modules.os.getpid() == program.process.pid
    assert TOKEN not in program.errors()
    from rpyc.cli.rpyc_classic import ClassicServer

    with pytest.raises(SystemExit), pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stderr", io.StringIO())
        ClassicServer.run(["x", "--token", TOKEN], exit=False)
