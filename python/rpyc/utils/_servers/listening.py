"""Listening sockets: binding them, waking who waits on them, cleaning up."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import NamedTuple


def bind_tcp(hostname: str | None, port: int, *, ipv6: bool, reuse_addr: bool) -> socket.socket:
    """Return a TCP socket bound to the first address that ``hostname`` has.

    ``None`` stands for all interfaces. An unknown host raises
    :class:`socket.gaierror`, an unusable address :class:`OSError`.
    """
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    found = socket.getaddrinfo(
        hostname, port, family, socket.SOCK_STREAM, socket.IPPROTO_TCP, socket.AI_PASSIVE
    )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if reuse_addr:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(found[0][4])
    except OSError as exc:
        listener.close()
        raise _cannot_listen(f"[{hostname or '*'}]:{port}", exc) from exc
    return listener


class SocketFile(NamedTuple):
    """The file of a Unix socket that this server created."""

    path: str
    identity: tuple[int, int]

    def remove(self) -> None:
        """Remove the file, unless it is gone or another server's by now."""
        with suppress(OSError):
            if _identity(self.path) == self.identity:
                os.unlink(self.path)


def bind_unix(path: str) -> tuple[socket.socket, SocketFile]:
    """Return a Unix socket bound to ``path`` and the file that this made.

    An existing file, left by a dead server for instance, raises
    :class:`OSError`: it might belong to somebody.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        return listener, SocketFile(path, _identity(path))
    except OSError as exc:
        listener.close()
        raise _cannot_listen(path, exc) from exc


def wake_and_close(listener: socket.socket) -> None:
    """Close a listening socket, after waking the threads that accept on it."""
    # Closing alone does not wake them, and would let the kernel give the
    # descriptor's number away under their feet.
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def hang_up(sock: socket.socket) -> None:
    """End a connection in both directions; whoever waits on it sees its end.

    The descriptor stays open: it is closed by the thread that uses it.
    """
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def send_at_once(sock: socket.socket) -> None:
    """Let small writes of a TCP socket leave immediately."""
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def is_loopback(host: str) -> bool:
    """Whether a numeric address is only reachable from this machine."""
    import ipaddress

    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _cannot_listen(where: str, exc: OSError) -> OSError:
    return OSError(exc.errno, f"cannot listen on {where}: {exc.strerror}")
