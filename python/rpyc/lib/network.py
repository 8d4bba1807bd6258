"""Connecting: with retries, with probes for a dead peer, with TLS."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

_SLOT = 51.2e-6
"""Seconds. The slot time of classic Ethernet, whose back-off this is."""

_MAX_EXPONENT = 10

_KEEPALIVE_PROBES = 5


def exp_backoff(collision: int) -> float:
    """Return a random delay in seconds before the next attempt, after ``collision`` failures.

    The bound doubles with each failure, up to about 52 ms.
    """
    import random

    return random.uniform(0, _SLOT * 2 ** min(collision, _MAX_EXPONENT))


def socket_backoff_connect(
    family: int,
    socktype: int,
    proto: int,
    addr: tuple[object, ...] | str | bytes,
    timeout: float | None,
    attempts: int,
) -> socket.socket:
    """Connect a new socket to ``addr`` and return it, with ``timeout`` (seconds) left on it.

    Only time-outs are tried again, ``attempts`` times in all (at least once); every other
    ``OSError`` is raised at once.
    """
    failures = 0
    while True:
        sock = socket.socket(family, socktype, proto)
        try:
            sock.settimeout(timeout)
            sock.connect(addr)
        except TimeoutError:
            sock.close()
            failures += 1
            if failures >= attempts:
                raise
            time.sleep(exp_backoff(failures))
        except BaseException:
            sock.close()
            raise
        else:
            return sock


def keep_alive(sock: socket.socket, seconds: int) -> None:
    """Have the system notice a dead peer: probes after so many idle seconds, and so often."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # macOS has another name for the idle time, and no setting for the rest.
    idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
    if idle is not None:
        sock.setsockopt(socket.IPPROTO_TCP, idle, seconds)
    if hasattr(socket, "TCP_KEEPINTVL"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)


def describe_peer(stream: object) -> str:
    """Name the other end of a stream, for people: an address, a path, or what kind of stream it is."""
    sock: Any = getattr(stream, "sock", None)
    try:
        address = sock.getpeername()
        # Only the listening side of a Unix socket has a name.
        path = address or sock.getsockname()
    except (OSError, AttributeError, EOFError):
        # No socket, or one that has lost its peer already.
        return f"the peer of a {type(stream).__name__}"
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return f"the peer on {os.fsdecode(path)}" if path else "the peer on a Unix socket"


def client_context(ssl_kwargs: dict[str, Any]) -> ssl.SSLContext:
    """Take the settings of a client's TLS context out of ``ssl_kwargs``, and make it.

    The settings are those of :meth:`rpyc.core.stream.SocketStream.ssl_connect`.
    """
    import ssl

    version = ssl_kwargs.pop("ssl_version", None)
    context = ssl.create_default_context() if version is None else ssl.SSLContext(version)
    certfile = ssl_kwargs.pop("certfile", None)
    keyfile = ssl_kwargs.pop("keyfile", None)
    if certfile is not None:
        context.load_cert_chain(certfile, keyfile=keyfile)
    ca_certs = ssl_kwargs.pop("ca_certs", None)
    if ca_certs is not None:
        context.load_verify_locations(ca_certs)
    ciphers = ssl_kwargs.pop("ciphers", None)
    if ciphers is not None:
        context.set_ciphers(ciphers)
    # This order: a context that checks host names can't do without certificates.
    check_hostname = ssl_kwargs.pop("check_hostname", None)
    if check_hostname is not None:
        context.check_hostname = check_hostname
    cert_reqs = ssl_kwargs.pop("cert_reqs", None)
    if cert_reqs is not None:
        context.verify_mode = cert_reqs
    return context
