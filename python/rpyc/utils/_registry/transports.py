"""Registry servers over UDP and over TCP."""

from __future__ import annotations

import logging
import selectors
import socket
import time
from typing import Any

from rpyc.utils._registry.messages import (
    MAX_DGRAM_SIZE,
    REGISTRY_PORT,
    MalformedMessage,
    decode_value,
)
from rpyc.utils._registry.server import RegistryServer


class UDPRegistryServer(RegistryServer):
    """A registry that answers datagrams; the usual kind.

    :param host: the address to listen on; ``"::"`` for IPv6.
    :param port: the port, 0 for any free one.

    The other parameters are those of
    :class:`~rpyc.utils.registry.RegistryServer`.
    """

    #: Seconds of one wait for a datagram.
    TIMEOUT = 1.0

    def __init__(
        self,
        host: str = "0.0.0.0",
        port: int = REGISTRY_PORT,
        pruning_timeout: float | None = None,
        logger: logging.Logger | None = None,
        allow_listing: bool = False,
    ) -> None:
        sock = _bind(host, port, socket.SOCK_DGRAM, reuse_addr=False)
        sock.settimeout(self.TIMEOUT)
        super().__init__(
            sock, pruning_timeout=pruning_timeout, logger=logger, allow_listing=allow_listing
        )

    def _get_logger(self) -> logging.Logger:
        return logging.getLogger(f"REGSRV/UDP/{self.port}")

    def _recv(self) -> tuple[bytes, Any]:
        return self.sock.recvfrom(MAX_DGRAM_SIZE)

    def _send(self, data: bytes | None, addrinfo: Any) -> None:
        if data is not None:
            self.sock.sendto(data, addrinfo)

    def _wake(self) -> None:
        # Shutting down a socket without peer wakes nobody; a datagram to itself does.
        self.sock.sendto(b"", self.sock.getsockname())


class TCPRegistryServer(RegistryServer):
    """A registry that answers one request per TCP connection.

    :param host: the address to listen on; ``"::"`` for IPv6.
    :param port: the port, 0 for any free one.
    :param reuse_addr: listen although connections of an earlier registry on
        this port are still fading out.

    The other parameters are those of
    :class:`~rpyc.utils.registry.RegistryServer`. Clients are waited for side by
    side: one that says nothing is dropped after :attr:`TIMEOUT` seconds and
    keeps nobody waiting.
    """

    #: Seconds a client may take to send its request.
    TIMEOUT = 3.0
    #: Clients that are waited for at the same time; one more, and the oldest is dropped.
    MAX_CLIENTS = 128

    def __init__(
        self,
        host: str = "0.0.0.0",
        port: int = REGISTRY_PORT,
        pruning_timeout: float | None = None,
        logger: logging.Logger | None = None,
        reuse_addr: bool = True,
        allow_listing: bool = False,
    ) -> None:
        sock = _bind(host, port, socket.SOCK_STREAM, reuse_addr=reuse_addr)
        sock.listen(10)
        sock.setblocking(False)
        super().__init__(
            sock, pruning_timeout=pruning_timeout, logger=logger, allow_listing=allow_listing
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)
        # In order of arrival, so the first one is the one to expire first.
        self._clients: dict[Any, _Client] = {}

    def _get_logger(self) -> logging.Logger:
        return logging.getLogger(f"REGSRV/TCP/{self.port}")

    def _recv(self) -> tuple[bytes, Any]:
        while self.active:
            self._drop_expired()
            events = self._selector.select(self.TIMEOUT)
            for key, _ in events:
                client: _Client | None = key.data
                if client is None:
                    self._admit()
                elif self._has_request(client):
                    return bytes(client.request), client.addrinfo
        raise TimeoutError("the registry is closing")

    def _send(self, data: bytes | None, addrinfo: Any) -> None:
        client = self._clients[addrinfo]
        try:
            if data is not None and client.sock.send(data) < len(data):
                raise OSError(f"the client does not take a reply of {len(data)} bytes")
        finally:
            self._drop(client)

    def _dispose(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.close()
        super()._dispose()

    def _admit(self) -> None:
        try:
            sock, addrinfo = self.sock.accept()
        except BlockingIOError:
            # It went away again before it was accepted.
            return
        sock.setblocking(False)
        if len(self._clients) >= self.MAX_CLIENTS:
            self._drop(next(iter(self._clients.values())))
        client = _Client(sock, addrinfo, expires=time.monotonic() + self.TIMEOUT)
        self._clients[addrinfo] = client
        self._selector.register(sock, selectors.EVENT_READ, client)

    def _has_request(self, client: _Client) -> bool:
        """Read what is there; say whether the request is complete."""
        if self._clients.get(client.addrinfo) is not client:
            # Dropped to make room, in the same round that reported it.
            return False
        try:
            chunk = client.sock.recv(MAX_DGRAM_SIZE)
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""
        if not chunk:
            self._drop(client)
            return False
        client.request += chunk
        if len(client.request) >= MAX_DGRAM_SIZE:
            return True
        try:
            decode_value(bytes(client.request))
        except MalformedMessage:
            # There is no framing: bad and incomplete look alike, the timeout decides.
            return False
        return True

    def _drop_expired(self) -> None:
        now = time.monotonic()
        while self._clients:
            oldest = next(iter(self._clients.values()))
            if oldest.expires > now:
                return
            if oldest.request:
                self.logger.warning(
                    "request from %s ignored: not a registry message", oldest.addrinfo[0]
                )
            self._drop(oldest)

    def _drop(self, client: _Client) -> None:
        del self._clients[client.addrinfo]
        self._selector.unregister(client.sock)
        client.sock.close()


class _Client:
    """A TCP client whose request is being read."""

    __slots__ = ("addrinfo", "expires", "request", "sock")

    def __init__(self, sock: socket.socket, addrinfo: Any, expires: float) -> None:
        self.sock = sock
        self.addrinfo = addrinfo
        self.expires = expires
        self.request = bytearray()


def _bind(host: str, port: int, kind: socket.SocketKind, reuse_addr: bool) -> socket.socket:
    family, _, proto, _, address = socket.getaddrinfo(
        host, port, type=kind, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, proto)
    try:
        if reuse_addr:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as exc:
        sock.close()
        raise OSError(
            exc.errno, f"the registry cannot listen on {host}:{port}: {exc.strerror}"
        ) from exc
    return sock
