"""Connecting: over TCP, TLS, Unix sockets, pipes, SSH, and to own children.

Every function takes the local ``service`` (a class, for one instance per
connection, or an instance, which is then shared) and a ``config`` dict that is
overlaid on :data:`rpyc.core.protocol.DEFAULT_CONFIG`, and returns the
:class:`~rpyc.core.protocol.Connection`. Errors of the operating system pass
through.
"""

from __future__ import annotations

import socket
import sys
import threading
from _thread import interrupt_main
from contextlib import closing
from typing import TYPE_CHECKING, Any

from rpyc.core.channel import Channel
from rpyc.core.service import MasterService, SlaveService, VoidService
from rpyc.core.stream import PipeStream, SocketStream, TunneledSocketStream
from rpyc.lib import spawn
from rpyc.lib.deferred import lazily

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

    from rpyc.core.protocol import Connection
    from rpyc.core.service import Service
    from rpyc.core.stream import Stream
    from rpyc.utils.authenticators import ClientAuthenticator
    from rpyc.utils.registry import Address, RegistryClient, UDPRegistryClient

    ServiceLike = Service | type[Service]
    Config = dict[str, Any]
else:
    __getattr__, __dir__ = lazily(__name__, {"UDPRegistryClient": "rpyc.utils.registry"})

# The default of all "config" parameters: one shared dict that nobody writes to.
_NO_CONFIG: Config = {}

# How long the own child or thread may take until it is called, in seconds.
_ACCEPT_TIMEOUT = 30

# Between finding a free port and tunnelling to it nobody else may look for one.
_ssh_connect_lock = threading.Lock()


class DiscoveryError(Exception):
    """No server offers the wanted service."""


class ForbiddenError(Exception):
    """The registry refuses to list its services."""


# ------------------------------------------------------------------- transports


def connect_channel(
    channel: Channel, service: ServiceLike = VoidService, config: Config = _NO_CONFIG
) -> Connection:
    """Connect over a channel."""
    return service._connect(channel, config)


def connect_stream(
    stream: Stream, service: ServiceLike = VoidService, config: Config = _NO_CONFIG
) -> Connection:
    """Connect over a stream."""
    return connect_channel(Channel(stream), service=service, config=config)


def connect_pipes(
    input: IO[bytes],
    output: IO[bytes],
    service: ServiceLike = VoidService,
    config: Config = _NO_CONFIG,
) -> Connection:
    """Connect over a pair of file objects that have descriptors."""
    return connect_stream(PipeStream(input, output), service=service, config=config)


def connect_stdpipes(service: ServiceLike = VoidService, config: Config = _NO_CONFIG) -> Connection:
    """Connect over this process's standard input and output."""
    return connect_stream(PipeStream.from_std(), service=service, config=config)


def connect(
    host: str,
    port: int | str,
    service: ServiceLike = VoidService,
    config: Config = _NO_CONFIG,
    ipv6: bool = False,
    keepalive: bool | int = False,
    authenticator: ClientAuthenticator | None = None,
) -> Connection:
    """Connect over TCP.

    :param ipv6: look the host up as an IPv6 address.
    :param keepalive: ``True``, or the seconds between two keep-alive probes.
    :param authenticator: introduces this side to the server and makes sure of
        it, such as :class:`~rpyc.utils.authenticators.TokenAuthenticator`.
    :raises AuthenticationError: the authenticator is not convinced.
    """
    stream = SocketStream.connect(host, port, ipv6=ipv6, keepalive=keepalive)
    return _connect_introduced(stream, service, config, authenticator)


def unix_connect(
    path: str,
    service: ServiceLike = VoidService,
    config: Config = _NO_CONFIG,
    authenticator: ClientAuthenticator | None = None,
) -> Connection:
    """Connect over a Unix domain socket; ``authenticator`` as in :func:`connect`."""
    stream = SocketStream.unix_connect(path)
    return _connect_introduced(stream, service, config, authenticator)


def ssl_connect(
    host: str,
    port: int | str,
    keyfile: str | None = None,
    certfile: str | None = None,
    ca_certs: str | None = None,
    cert_reqs: int | None = None,
    ssl_version: int | None = None,
    ciphers: str | None = None,
    service: ServiceLike = VoidService,
    config: Config = _NO_CONFIG,
    ipv6: bool = False,
    keepalive: bool | int = False,
    verify_mode: int | None = None,
    authenticator: ClientAuthenticator | None = None,
) -> Connection:
    """Connect over TLS.

    :param keyfile: the client's private key, if the server wants a certificate.
    :param certfile: the client's certificate chain.
    :param ca_certs: verify the server's certificate chain against these.
    :param cert_reqs: an ``ssl.CERT_*`` mode that also verifies the server's
        name. ``CERT_NONE`` contradicts that and raises :class:`ValueError`;
        use ``verify_mode`` for it.
    :param ssl_version: an ``ssl.PROTOCOL_*`` number instead of safe defaults.
    :param ciphers: an OpenSSL cipher list.
    :param verify_mode: an ``ssl.CERT_*`` mode that leaves the name unverified.
    :param authenticator: as in :func:`connect`, inside TLS.

    Without ``ca_certs``, ``cert_reqs`` and ``verify_mode`` the traffic is
    encrypted, but the server is not verified. With ``ca_certs`` alone the chain
    is verified, the name is not.
    """
    import ssl

    ssl_kwargs: dict[str, Any] = {"server_side": False}
    given = {
        "keyfile": keyfile,
        "certfile": certfile,
        "ca_certs": ca_certs,
        "ssl_version": ssl_version,
        "ciphers": ciphers,
    }
    ssl_kwargs.update((name, value) for name, value in given.items() if value is not None)
    if cert_reqs is not None:
        ssl_kwargs["cert_reqs"] = cert_reqs
    else:
        ssl_kwargs["check_hostname"] = False
        if ca_certs is not None:
            ssl_kwargs["cert_reqs"] = ssl.CERT_REQUIRED
        else:
            ssl_kwargs["cert_reqs"] = ssl.CERT_NONE if verify_mode is None else verify_mode
    stream = SocketStream.ssl_connect(host, port, ssl_kwargs, ipv6=ipv6, keepalive=keepalive)
    return _connect_introduced(stream, service, config, authenticator)


def _connect_introduced(
    stream: SocketStream,
    service: ServiceLike,
    config: Config,
    authenticator: ClientAuthenticator | None,
) -> Connection:
    """Connect over a stream once both sides have introduced themselves."""
    if authenticator is None:
        return connect_stream(stream, service, config)
    try:
        sock, credentials = authenticator.introduce(stream.sock)
    except BaseException:
        stream.close()
        raise
    return connect_stream(SocketStream(sock), service, {"credentials": credentials, **config})


def ssh_connect(
    remote_machine: Any,
    remote_port: int,
    service: ServiceLike = VoidService,
    config: Config = _NO_CONFIG,
) -> Connection:
    """Connect through a tunnel to a port of a remote machine.

    :param remote_machine: an object whose ``tunnel(local_port, remote_port)``
        returns a tunnel that can be closed, such as plumbum's ``SshMachine``.
        Closing the connection closes the tunnel.
    """
    with _ssh_connect_lock:
        local_port = _get_free_port()
        tunnel = remote_machine.tunnel(local_port, remote_port)
    try:
        stream = TunneledSocketStream.connect("localhost", local_port)
    except BaseException:
        tunnel.close()
        raise
    stream.tun = tunnel
    return connect_stream(stream, service=service, config=config)


def _get_free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with closing(socket.socket()) as probe:
        probe.bind(("localhost", 0))
        port: int = probe.getsockname()[1]
        return port


# -------------------------------------------------------------------- discovery


def discover(
    service_name: str,
    host: str | None = None,
    registrar: RegistryClient | None = None,
    timeout: float = 2,
) -> Sequence[Address]:
    """Ask a registry who offers a service.

    :param service_name: name or alias of the service, in any case.
    :param host: only answer with servers on this host.
    :param registrar: a registry client; by default UDP broadcast.
    :param timeout: seconds the default registrar waits for an answer.
    :returns: pairs (address, port), oldest registration first.
    :raises DiscoveryError: nobody offers it.
    """
    if registrar is None:
        registrar = _broadcaster(timeout)
    found: Sequence[Address] = registrar.discover(service_name)
    if not found:
        raise DiscoveryError(f"no servers exposing {service_name!r} were found")
    if host is not None:
        own = socket.gethostbyname_ex(host)[2]
        found = [(ip, port) for ip, port in found if ip in own]
        if not found:
            raise DiscoveryError(f"no servers exposing {service_name!r} were found on {host!r}")
    return found


def list_services(
    registrar: RegistryClient | None = None, filter_host: str | None = None, timeout: float = 2
) -> tuple[str, ...]:
    """Ask a registry for the names of all services it knows.

    :param filter_host: only services that have a server on this address.
    :raises ForbiddenError: the registry does not allow listing.
    """
    if registrar is None:
        registrar = _broadcaster(timeout)
    names = registrar.list(filter_host)
    if names is None:
        raise ForbiddenError("the registry does not allow listing; start it with listing enabled")
    return names


def connect_by_service(
    service_name: str,
    host: str | None = None,
    registrar: RegistryClient | None = None,
    timeout: float = 2,
    service: ServiceLike = VoidService,
    config: Config = _NO_CONFIG,
) -> Connection:
    """Connect to any server that offers a service; see :func:`discover`.

    :raises DiscoveryError: nobody offers it, or none of them can be reached.
    """
    found = discover(service_name, host=host, registrar=registrar, timeout=timeout)
    failures = []
    for ip, port in found:
        try:
            return connect(ip, port, service, config=config)
        except OSError as exc:
            failures.append(f"{ip}:{port} ({exc})")
    raise DiscoveryError(f"all servers exposing {service_name!r} are down: {', '.join(failures)}")


# ------------------------------------------------------------ threads and processes


def connect_subproc(
    args: Sequence[str], service: ServiceLike = VoidService, config: Config = _NO_CONFIG
) -> Connection:
    """Start a program and connect to its standard input and output.

    :param args: the command line.
    :returns: the connection; its ``proc`` attribute is the
        :class:`subprocess.Popen` object.
    """
    from subprocess import PIPE, Popen

    proc = Popen(args, stdin=PIPE, stdout=PIPE)
    # Popen cannot say in its type that pipes were asked for.
    from_child: Any = proc.stdout
    to_child: Any = proc.stdin
    try:
        conn = connect_pipes(from_child, to_child, service=service, config=config)
    except BaseException:
        proc.kill()
        proc.wait()
        raise
    conn.proc = proc
    return conn


def connect_thread(
    service: ServiceLike = VoidService,
    config: Config = _NO_CONFIG,
    remote_service: ServiceLike = VoidService,
    remote_config: Config = _NO_CONFIG,
) -> Connection:
    """Start a thread that serves ``remote_service``, and connect to it."""
    listener = _listen_for_own()
    spawn(_server, listener, remote_service, remote_config)
    host, port = listener.getsockname()
    return connect(host, port, service=service, config=config)


def connect_multiprocess(
    service: ServiceLike = VoidService,
    config: Config = _NO_CONFIG,
    remote_service: ServiceLike = VoidService,
    remote_config: Config = _NO_CONFIG,
    args: Mapping[str, Any] = _NO_CONFIG,
) -> Connection:
    """Start a process that serves ``remote_service``, and connect to it.

    :param args: objects to put into the remote side's ``namespace`` (services
        of the classic kind) or ``exposed_namespace`` (other services). Shared
        memory stays shared.
    """
    from multiprocessing import Process

    with closing(_listen_for_own()) as listener:
        Process(target=_server, args=(listener, remote_service, remote_config, args)).start()
        host, port = listener.getsockname()
        return connect(host, port, service=service, config=config)


def _broadcaster(timeout: float) -> RegistryClient:
    """The default registrar."""
    # Programs replace the name in this module, so it is read from there.
    client: type[UDPRegistryClient] = sys.modules[__name__].UDPRegistryClient
    return client(timeout=timeout)


def _listen_for_own() -> socket.socket:
    listener = socket.socket()
    listener.bind(("localhost", 0))
    listener.listen(1)
    # If the caller never comes, the serving side must not wait for ever.
    listener.settimeout(_ACCEPT_TIMEOUT)
    return listener


def _server(
    listener: socket.socket,
    remote_service: ServiceLike,
    remote_config: Config,
    args: Mapping[str, Any] | None = None,
) -> None:
    """Serve the first client of ``listener``; the far side of the two above."""
    try:
        with closing(listener):
            client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn = connect_stream(SocketStream(client), service=remote_service, config=remote_config)
        if args:
            _fill_namespace(conn._local_root, args)
        conn.serve_all()
    except KeyboardInterrupt:
        interrupt_main()


def _fill_namespace(root: Any, args: Mapping[str, Any]) -> None:
    """Put the objects where the peer finds them."""
    if isinstance(root, VoidService):
        return
    name = "namespace" if isinstance(root, (MasterService, SlaveService)) else "exposed_namespace"
    namespace = getattr(root, name, None)
    if namespace is None:
        setattr(root, name, dict(args))
    else:
        namespace.update(args)
