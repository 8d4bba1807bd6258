"""Asking a registry, over UDP and over TCP."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from rpyc.utils._registry.messages import (
    ACKNOWLEDGED,
    MAX_REPLY_SIZE,
    REGISTRY_PORT,
    Address,
    MalformedMessage,
    decode_value,
    encode_request,
)

# Stands for "nobody answered", which is not the answer None.
_SILENCE: Any = object()


class RegistryClient:
    """What servers and programs ask of a registry; subclasses know the transport.

    :param ip: the registry's address.
    :param port: the registry's port.
    :param timeout: seconds to wait for an answer.
    :param logger: where to log; by default a logger named after the transport.
    """

    #: Seconds after which a server registers again.
    REREGISTER_INTERVAL = 60

    def __init__(
        self, ip: str, port: int, timeout: float, logger: logging.Logger | None = None
    ) -> None:
        self.ip = ip
        self.port = port
        self.timeout = timeout
        self.logger = self._get_logger() if logger is None else logger

    def discover(self, name: str) -> tuple[Address, ...]:
        """Return the addresses of servers that offer a service; ``()`` if no answer comes."""
        reply = self._ask(encode_request("QUERY", name))
        return reply if isinstance(reply, tuple) else ()

    def list(self, filter_host: str | None = None) -> tuple[str, ...] | None:
        """Return the names of all services.

        :param filter_host: only those that have a server on this address.
        :returns: ``()`` if no answer comes, ``None`` if the registry forbids listing.
        """
        reply = self._ask(encode_request("LIST", (filter_host,)))
        return reply if reply is None or isinstance(reply, tuple) else ()

    def register(self, aliases: Iterable[str], port: int, interface: str = "") -> bool:
        """Announce a service of this host.

        :param aliases: the service's names.
        :param port: the port its server listens on.
        :param interface: the local address to announce it from, and so the one
            that clients are given.
        :returns: whether the registry acknowledged it.
        """
        self.logger.info("registering on %s:%s", self.ip, self.port)
        request = encode_request("REGISTER", tuple(aliases), port)
        try:
            acknowledged = bool(self._ask(request, interface, own_port_only=True) == ACKNOWLEDGED)
        except OSError as exc:
            self.logger.warning("could not connect to registry %s:%s: %s", self.ip, self.port, exc)
            return False
        if acknowledged:
            self.logger.info("registry %s:%s acknowledged", self.ip, self.port)
        else:
            self.logger.warning("registry %s:%s did not acknowledge", self.ip, self.port)
        return acknowledged

    def unregister(self, port: int) -> None:
        """Withdraw everything this host announced for ``port``."""
        self.logger.info("unregistering from %s:%s", self.ip, self.port)
        try:
            self._tell(encode_request("UNREGISTER", port))
        except OSError as exc:
            self.logger.warning("could not connect to registry %s:%s: %s", self.ip, self.port, exc)

    def _get_logger(self) -> logging.Logger:
        return logging.getLogger("REGCLNT")

    def _ask(self, request: bytes, interface: str = "", own_port_only: bool = False) -> Any:
        """Return the decoded answer, or _SILENCE. May raise OSError."""
        raise NotImplementedError(
            f"{type(self).__name__} has no transport: override _ask and _tell"
        )

    def _tell(self, request: bytes) -> None:
        """Send a request whose answer does not matter. May raise OSError."""
        raise NotImplementedError(
            f"{type(self).__name__} has no transport: override _ask and _tell"
        )


class UDPRegistryClient(RegistryClient):
    """Asks by datagram; by default everybody in the local network.

    :param ip: the registry's address, or a broadcast address.
    :param bcast: whether ``ip`` is a broadcast address; by default so if one of
        its four parts is 255.
    :param ipv6: whether ``ip`` is an IPv6 address.

    The other parameters are those of
    :class:`~rpyc.utils.registry.RegistryClient`.
    """

    def __init__(
        self,
        ip: str = "255.255.255.255",
        port: int = REGISTRY_PORT,
        timeout: float = 2,
        bcast: bool | None = None,
        logger: logging.Logger | None = None,
        ipv6: bool = False,
    ) -> None:
        super().__init__(ip, port, timeout, logger)
        self.sock_family = socket.AF_INET6 if ipv6 else socket.AF_INET
        self.bcast = (not ipv6 and "255" in ip.split(".")) if bcast is None else bcast

    def _get_logger(self) -> logging.Logger:
        return logging.getLogger("REGCLNT/UDP")

    def _ask(self, request: bytes, interface: str = "", own_port_only: bool = False) -> Any:
        with closing(self._open(interface)) as sock:
            sock.sendto(request, (self.ip, self.port))
            deadline = time.monotonic() + self.timeout
            while (left := deadline - time.monotonic()) > 0:
                sock.settimeout(left)
                try:
                    data, sender = sock.recvfrom(MAX_REPLY_SIZE)
                except TimeoutError:
                    break
                # Anybody may send to this port. Who asks for discovery takes the
                # first answer that makes sense; who registers wants the registry's.
                if own_port_only and sender[1] != self.port:
                    continue
                try:
                    return decode_value(data)
                except MalformedMessage as exc:
                    self.logger.warning("reply from %s ignored: %s", sender[0], exc)
        return _SILENCE

    def _tell(self, request: bytes) -> None:
        with closing(self._open()) as sock:
            sock.sendto(request, (self.ip, self.port))

    def _open(self, interface: str = "") -> socket.socket:
        sock = socket.socket(self.sock_family, socket.SOCK_DGRAM)
        try:
            if self.bcast:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if interface:
                sock.bind((interface, 0))
        except BaseException:
            sock.close()
            raise
        return sock


class TCPRegistryClient(RegistryClient):
    """Asks over a TCP connection per question.

    :param ip: the registry's address.

    The other parameters are those of
    :class:`~rpyc.utils.registry.RegistryClient`. :meth:`discover` and
    :meth:`list` raise :class:`OSError` if the registry cannot be reached.
    """

    def __init__(
        self,
        ip: str,
        port: int = REGISTRY_PORT,
        timeout: float = 2,
        logger: logging.Logger | None = None,
    ) -> None:
        super().__init__(ip, port, timeout, logger)

    def _get_logger(self) -> logging.Logger:
        return logging.getLogger("REGCLNT/TCP")

    def _ask(self, request: bytes, interface: str = "", own_port_only: bool = False) -> Any:
        source = (interface, 0) if interface else None
        with closing(socket.create_connection((self.ip, self.port), self.timeout, source)) as sock:
            sock.sendall(request)
            return _read_reply(sock, self.timeout)

    def _tell(self, request: bytes) -> None:
        # The answer is waited for: a connection that is closed with an unread
        # answer under way might take the request with it.
        self._ask(request)


def _read_reply(sock: socket.socket, timeout: float) -> Any:
    """Read until the bytes make sense, the registry hangs up or time is over."""
    received = bytearray()
    deadline = time.monotonic() + timeout
    while len(received) < MAX_REPLY_SIZE and (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            chunk = sock.recv(MAX_REPLY_SIZE)
        except (TimeoutError, ConnectionResetError):
            break
        if not chunk:
            break
        received += chunk
        try:
            return decode_value(bytes(received))
        except MalformedMessage:
            # Incomplete as yet, or nonsense: both end with the timeout.
            continue
    return _SILENCE
