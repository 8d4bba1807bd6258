"""TLS: who is let in, who is believed, and what the other side is told."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Rig, close_quietly, eventually, in_threads

import rpyc
from rpyc.core.stream import SocketStream
from rpyc.utils import classic
from rpyc.utils.authenticators import AuthenticationError, SSLAuthenticator
from rpyc.utils.factory import ssl_connect
from rpyc.utils.server import ForkingServer, OneShotServer, Server, ThreadedServer, ThreadPoolServer

# Python 3.12 warns of forking next to threads, which the tests have.
pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)


class Certificates:
    """Freshly made: an authority, "server" and "client" signed by it, and "stranger" signed by another one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for authority in ("ca", "other"):
            self._openssl(
                "req",
                "-x509",
                "-nodes",
                *_KEY,
                "-subj",
                f"/CN={authority}",
                "-days",
                "2",
                *_SIGNS,
                keyout=f"{authority}.key",
                out=f"{authority}.crt",
            )
        (folder / "names").write_text(
            "subjectAltName=DNS:localhost\nauthorityKeyIdentifier=keyid\n"
        )
        for name, authority in (("server", "ca"), ("client", "ca"), ("stranger", "other")):
            self._openssl(
                "req",
                "-nodes",
                *_KEY,
                "-subj",
                f"/CN={name}",
                keyout=f"{name}.key",
                out=f"{name}.csr",
            )
            self._openssl(
                "x509",
                "-req",
                "-CAcreateserial",
                "-days",
                "2",
                out=f"{name}.crt",
                CA=f"{authority}.crt",
                CAkey=f"{authority}.key",
                extfile="names",
                **{"in": f"{name}.csr"},
            )

    def __getitem__(self, name: str) -> str:
        return str(self._folder / name)

    def of(self, name: str) -> dict[str, Any]:
        """The parameters of a side that shows this certificate."""
        return {"keyfile": self[f"{name}.key"], "certfile": self[f"{name}.crt"]}

    def _openssl(self, *arguments: str, **files: str) -> None:
        named = [
            word
            for option, name in files.items()
            for word in (f"-{option}", str(self._folder / name))
        ]
        subprocess.run(["openssl", *arguments, *named], check=True, capture_output=True, timeout=60)


# Python 3.13 verifies strictly: an authority must say that it is one.
_SIGNS = ("-addext", "keyUsage=critical,keyCertSign")
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


# The subject of the client's certificate, as Python's ssl shows it.
CLIENT = ((("commonName", "client"),),)


class Secret(rpyc.Service):
    def on_connect(self, conn: Any) -> None:
        self.conn = conn

    def exposed_subject(self) -> Any:
        certificate = self.conn._config["credentials"]
        return certificate and certificate["subject"]

    def exposed_echo(self, value: Any) -> Any:
        return value

    def exposed_cipher(self) -> str:
        return str(self.conn._channel.stream.sock.cipher()[0])


@pytest.fixture
def serve(rig: Rig, certificates: Certificates) -> Callable[..., Server]:
    """Starts a TLS server; the keywords are the authenticator's."""

    def start(kind: type[Server] = ThreadedServer, service: Any = Secret, **options: Any) -> Server:
        authenticator = SSLAuthenticator(**{**certificates.of("server"), **options})
        server = kind(service, hostname="localhost", authenticator=authenticator)
        rig.on_end(server._start_in_thread().join, PATIENCE)
        rig.on_end(server.close)
        return server

    return start


@pytest.fixture
def connect(rig: Rig) -> Callable[..., Any]:
    """Connects to a TLS server; the keywords are those of `ssl_connect`."""

    def open_(server: Server, host: str = "localhost", **options: Any) -> Any:
        conn = ssl_connect(host, server.port, **options)
        rig.on_end(close_quietly, conn)
        return conn

    return open_


Serve = Callable[..., Server]
Connect = Callable[..., Any]


@pytest.mark.parametrize("kind", [ThreadedServer, ThreadPoolServer, ForkingServer, OneShotServer])
def test_encrypts_without_asking_who_it_is(
    serve: Serve, connect: Connect, kind: type[Server]
) -> None:
    conn = connect(serve(kind))
    assert conn.root.subject() is None
    assert conn.root.echo(b"x" * 300_000) == b"x" * 300_000


@pytest.mark.parametrize("kind", [ThreadedServer, ThreadPoolServer])
def test_a_client_certificate_becomes_the_credentials(
    serve: Serve, connect: Connect, certificates: Certificates, kind: type[Server]
) -> None:
    server = serve(kind, ca_certs=certificates["ca.crt"])
    conn = connect(server, **certificates.of("client"), ca_certs=certificates["ca.crt"])
    assert conn.root.subject() == CLIENT


def test_a_classic_session(rig: Rig, serve: Serve, certificates: Certificates) -> None:
    server = serve(service=rpyc.ClassicService, ca_certs=certificates["ca.crt"])
    conn = classic.ssl_connect(
        "localhost", server.port, **certificates.of("client"), ca_certs=certificates["ca.crt"]
    )
    rig.on_end(close_quietly, conn)
    assert conn.modules.sys is not None
    conn.execute("x = 6 * 7")
    assert conn.eval("x") == 42


@pytest.mark.parametrize(
    ("shown", "alert"),
    [("stranger", "unknown ca|UNKNOWN_CA"), (None, "certificate required|CERTIFICATE_REQUIRED")],
)
@pytest.mark.parametrize("kind", [ThreadedServer, ThreadPoolServer])
def test_a_refused_client_is_told_why(
    serve: Serve,
    connect: Connect,
    certificates: Certificates,
    kind: type[Server],
    shown: str | None,
    alert: str,
) -> None:
    """The refusal must overtake neither the client's first requests nor be overtaken by a reset."""
    server = serve(kind, ca_certs=certificates["ca.crt"])
    for _ in range(5):
        with pytest.raises(EOFError, match=alert):
            connect(server, **(certificates.of(shown) if shown else {})).root.echo(1)
    eventually(lambda: not server.clients)


def test_certificates_can_be_required_without_naming_authorities(
    serve: Serve, connect: Connect
) -> None:
    with pytest.raises(EOFError, match="certificate required|CERTIFICATE_REQUIRED"):
        connect(serve(cert_reqs=ssl.CERT_REQUIRED)).root.echo(1)


def test_authorities_without_requirement(
    serve: Serve, connect: Connect, certificates: Certificates
) -> None:
    server = serve(ca_certs=certificates["ca.crt"], cert_reqs=ssl.CERT_OPTIONAL)
    assert connect(server).root.subject() is None
    assert connect(server, **certificates.of("client")).root.subject() == CLIENT


@pytest.mark.parametrize(
    ("options", "host", "accepted"),
    [
        ({}, "127.0.0.1", True),
        ({"ca_certs": "ca.crt"}, "127.0.0.1", True),
        ({"ca_certs": "other.crt"}, "localhost", False),
        ({"ca_certs": "ca.crt", "cert_reqs": ssl.CERT_REQUIRED}, "localhost", True),
        ({"ca_certs": "ca.crt", "cert_reqs": ssl.CERT_REQUIRED}, "127.0.0.1", False),
        ({"verify_mode": ssl.CERT_REQUIRED}, "localhost", False),
        ({"verify_mode": ssl.CERT_NONE}, "127.0.0.1", True),
    ],
)
def test_what_a_client_verifies(
    serve: Serve,
    connect: Connect,
    certificates: Certificates,
    options: dict[str, Any],
    host: str,
    accepted: bool,
) -> None:
    server = serve()
    given = {
        name: certificates[value] if name == "ca_certs" else value
        for name, value in options.items()
    }
    if accepted:
        assert connect(server, host, **given).root.echo(1) == 1
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(server, host, **given)


def test_cert_none_contradicts_the_name_check(serve: Serve, connect: Connect) -> None:
    server = serve()
    with pytest.raises(ValueError, match="CERT_NONE"):
        connect(server, cert_reqs=ssl.CERT_NONE)


def test_cert_none_is_the_default_of_classic_mode(serve: Serve, rig: Rig) -> None:
    server = serve(service=rpyc.ClassicService)
    conn = classic.ssl_connect("localhost", server.port, cert_reqs=ssl.CERT_NONE)
    rig.on_end(close_quietly, conn)
    assert conn.eval("1 + 1") == 2


def test_classic_mode_honours_what_is_required(serve: Serve, certificates: Certificates) -> None:
    server = serve(service=rpyc.ClassicService)
    with pytest.raises(ssl.SSLCertVerificationError):
        classic.ssl_connect(
            "127.0.0.1", server.port, ca_certs=certificates["ca.crt"], cert_reqs=ssl.CERT_REQUIRED
        )


@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLSv1_2 is deprecated")
def test_version_and_ciphers(serve: Serve, connect: Connect) -> None:
    cipher = "ECDHE-ECDSA-AES256-GCM-SHA384"
    server = serve(ssl_version=ssl.PROTOCOL_TLS_SERVER, ciphers=f"{cipher}:@SECLEVEL=1")
    conn = connect(server, ssl_version=ssl.PROTOCOL_TLSv1_2, ciphers=cipher)
    assert conn.root.cipher() == cipher


def test_several_calls_in_flight(serve: Serve, connect: Connect) -> None:
    """Frames that share a TLS record are all noticed."""
    conn = connect(serve(ThreadPoolServer))
    echo = rpyc.async_(conn.root.echo)
    results = [echo(number) for number in range(200)]
    assert [result.value for result in results] == list(range(200))


def test_one_thread_at_a_time_uses_a_tls_connection(
    serve: Serve, certificates: Certificates, rig: Rig
) -> None:
    """OpenSSL does not bear two: records were broken, rarely, while one thread received and another one sent."""
    using: list[str] = []
    overlaps: list[tuple[str, ...]] = []

    class Watched(ssl.SSLSocket):
        def recv(self, *args: Any) -> bytes:
            return self._alone("recv", super().recv, *args)

        def send(self, *args: Any) -> int:
            return self._alone("send", super().send, *args)

        def pending(self) -> int:
            return self._alone("pending", super().pending)

        def _alone(self, name: str, method: Callable[..., Any], *args: Any) -> Any:
            using.append(name)
            try:
                if len(using) > 1:
                    overlaps.append(tuple(using))
                time.sleep(0.0002)
                return method(*args)
            finally:
                using.remove(name)

    server = serve()
    context = ssl.create_default_context(cafile=certificates["ca.crt"])
    context.sslsocket_class = Watched
    plain = socket.create_connection(("localhost", server.port), PATIENCE)
    conn = rpyc.connect_stream(SocketStream(context.wrap_socket(plain, server_hostname="localhost")))
    rig.on_end(close_quietly, conn)

    def work(number: int) -> None:
        for step in range(40):
            assert conn.root.echo((number, step)) == (number, step)

    in_threads(*[partial(work, number) for number in range(6)])
    assert overlaps == []


def test_who_speaks_no_tls_is_refused(serve: Serve) -> None:
    server = serve()
    with socket.create_connection(("localhost", server.port), PATIENCE) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while sock.recv(1000):
            pass
    eventually(lambda: not server.clients)


def test_close_ends_tls_connections(serve: Serve, connect: Connect) -> None:
    server = serve()
    conn = connect(server)
    conn.ping()
    server.close()
    assert not server.clients
    with pytest.raises(EOFError):
        conn.ping()


def test_an_authenticator_alone(certificates: Certificates) -> None:
    authenticator = SSLAuthenticator(
        Path(certificates["server.key"]),
        Path(certificates["server.crt"]),
        Path(certificates["ca.crt"]),
    )
    assert authenticator.keyfile == certificates["server.key"]
    assert authenticator.cert_reqs == ssl.CERT_REQUIRED
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"no handshake, this")
        with pytest.raises(AuthenticationError, match="TLS handshake failed"):
            authenticator(ours)
    with pytest.raises(FileNotFoundError):
        SSLAuthenticator("missing.key", "missing.crt")(ours)
