"""The registry's memory and its commands, whatever the transport."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from rpyc.core import brine
from rpyc.utils._registry.messages import ACKNOWLEDGED, Address, MalformedMessage, decode_request

#: Seconds after which a server that did not register again is forgotten.
DEFAULT_PRUNING_TIMEOUT = 240


class RegistryServer:
    """Remembers which hosts offer which services.

    :param listenersock: the bound socket that requests arrive on.
    :param pruning_timeout: seconds until an entry that is not refreshed expires.
    :param logger: where to log; by default a logger named after the transport
        and the port.
    :param allow_listing: answer requests for the list of all services.

    This class holds the commands; subclasses know the transport. Each ``cmd_``
    method is a command that peers may send, called with the host that asks and
    the arguments of the request. Requests are answered one at a time, in the
    thread that called :meth:`start`.
    """

    #: Seconds the transport waits for a peer.
    TIMEOUT = 1.0
    #: Upper bound for remembered (name, address) pairs. Peers need no
    #: permission to register, so their number must have a limit.
    MAX_ENTRIES = 10_000

    def __init__(
        self,
        listenersock: socket.socket,
        pruning_timeout: float | None = None,
        logger: logging.Logger | None = None,
        allow_listing: bool = False,
    ) -> None:
        self.sock = listenersock
        self.port: int = listenersock.getsockname()[1]
        self.active = False
        #: name -> {(host, port): time of the last registration}; the times are
        #: those of ``time.monotonic``.
        self.services: dict[str, dict[Address, float]] = {}
        self.pruning_timeout = (
            DEFAULT_PRUNING_TIMEOUT if pruning_timeout is None else pruning_timeout
        )
        self.allow_listing = allow_listing
        self.logger = self._get_logger() if logger is None else logger
        self._disposed = False

    # ---------------------------------------------------------------- lifetime

    def start(self) -> None:
        """Answer requests until :meth:`close` is called.

        :raises ValueError: the server runs already, or was closed.
        """
        if self.active:
            raise ValueError(f"the registry on port {self.port} is already running")
        if self._disposed:
            raise ValueError(f"the registry on port {self.port} was closed; make a new one")
        self.active = True
        host, port = self.sock.getsockname()[:2]
        self.logger.debug("server started on %s:%s", host, port)
        try:
            while self.active:
                self._work()
        except KeyboardInterrupt:
            self.logger.warning("keyboard interrupt!")
        finally:
            self.active = False
            self._disposed = True
            self._dispose()
            self.logger.debug("server closed")

    def close(self) -> None:
        """Make :meth:`start` return soon.

        :raises ValueError: the server does not run.
        """
        if not self.active:
            raise ValueError(f"the registry on port {self.port} is not running")
        self.logger.debug("stopping server...")
        self.active = False
        # Failing that, its own timeout does.
        with suppress(OSError):
            self._wake()

    # ------------------------------------------------------------------- hooks

    def on_service_added(self, name: str, addrinfo: Address) -> None:
        """Called when an address registers a name for the first time."""

    def on_service_removed(self, name: str, addrinfo: Address) -> None:
        """Called when an address is removed from a name, on request or expired."""

    # ---------------------------------------------------------------- commands

    def cmd_query(self, host: str, name: str) -> tuple[Address, ...]:
        """Return the addresses that offer a service, oldest registration first."""
        name = name.upper()
        self.logger.debug("querying for %r", name)
        if name not in self.services:
            self.logger.debug("no such service")
            return ()
        self._prune(name)
        entries = self.services.get(name, {})
        found = tuple(sorted(entries, key=entries.__getitem__))
        self.logger.debug("replying with %r", found)
        return found

    def cmd_list(self, host: str, filter_host: tuple[str | None]) -> tuple[str, ...] | None:
        """Return the names of all services, or ``None`` if listing is disabled.

        :param filter_host: a tuple of one item: the host that must offer the
            service, or ``None``.
        """
        self.logger.debug("querying for the list of services")
        if not self.allow_listing:
            self.logger.debug("listing is disabled")
            return None
        (wanted,) = filter_host
        if not wanted:
            names = tuple(self.services)
        else:
            names = tuple(
                name
                for name, known in self.services.items()
                if any(ip == wanted for ip, _ in known)
            )
        self.logger.debug("replying with %r", names)
        return names

    def cmd_register(self, host: str, names: Iterable[str], port: int) -> str:
        """Remember that ``host`` offers the services ``names`` on ``port``."""
        # All are looked at before the first is stored: a bad request changes nothing.
        wanted = [name.upper() for name in names]
        address = _address(host, port)
        self.logger.debug("registering %s:%r as %r", host, port, wanted)
        for name in wanted:
            self._add_service(name, address)
        return ACKNOWLEDGED

    def cmd_unregister(self, host: str, port: int) -> str:
        """Forget everything that ``host`` offers on ``port``."""
        address = _address(host, port)
        self.logger.debug("unregistering %s:%r", host, port)
        for name in [name for name, known in self.services.items() if address in known]:
            self._remove_service(name, address)
        return ACKNOWLEDGED

    # ----------------------------------------------------------------- entries

    def _add_service(self, name: str, addrinfo: Address) -> None:
        known = self.services.get(name, {})
        is_new = addrinfo not in known
        if is_new and self._is_full():
            raise RuntimeError(
                f"the registry is full ({self.MAX_ENTRIES} entries); {name!r} was not registered"
            )
        # Only now: a name without address must not appear.
        self.services.setdefault(name, known)[addrinfo] = time.monotonic()
        if is_new:
            self.on_service_added(name, addrinfo)

    def _remove_service(self, name: str, addrinfo: Address) -> None:
        known = self.services[name]
        del known[addrinfo]
        if not known:
            del self.services[name]
        self.on_service_removed(name, addrinfo)

    def _prune(self, name: str) -> None:
        oldest = time.monotonic() - self.pruning_timeout
        for address in [address for address, seen in self.services[name].items() if seen < oldest]:
            self.logger.debug("discarding stale %s:%r", *address)
            self._remove_service(name, address)

    def _is_full(self) -> bool:
        if self._count() < self.MAX_ENTRIES:
            return False
        for name in list(self.services):
            self._prune(name)
        return self._count() >= self.MAX_ENTRIES

    def _count(self) -> int:
        return sum(map(len, self.services.values()))

    # --------------------------------------------------------------- transport

    def _get_logger(self) -> logging.Logger:
        return logging.getLogger(f"REGSRV/{self.port}")

    def _recv(self) -> tuple[bytes, Any]:
        """Return the next request and whom to answer (a tuple; host first).

        May raise OSError, and TimeoutError after some time without a request.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no transport: override _recv and _send"
        )

    def _send(self, data: bytes | None, addrinfo: Any) -> None:
        """Send a reply; ``None`` means that there is none to send."""
        raise NotImplementedError(
            f"{type(self).__name__} has no transport: override _recv and _send"
        )

    def _wake(self) -> None:
        """End the wait for a request in :meth:`_recv`."""
        self.sock.shutdown(socket.SHUT_RDWR)

    def _dispose(self) -> None:
        self.sock.close()

    def _work(self) -> None:
        """Answer at most one request."""
        try:
            data, addrinfo = self._recv()
        except TimeoutError:
            return
        except OSError as exc:
            if self.active:
                self.logger.warning("receiving a request failed: %s", exc)
                # A lasting failure must not become a busy loop.
                time.sleep(0.1)
            return
        if not self.active:
            return
        reply = self._answer(data, addrinfo)
        try:
            self._send(reply, addrinfo)
        except OSError as exc:
            self.logger.warning("replying to %s failed: %s", addrinfo[0], exc)

    def _answer(self, data: bytes, addrinfo: Any) -> bytes | None:
        host = addrinfo[0]
        try:
            command, args = decode_request(data)
        except MalformedMessage as exc:
            self.logger.warning("request from %s ignored: %s", host, exc)
            return None
        method = getattr(self, f"cmd_{command}", None)
        if method is None:
            self.logger.warning("request from %s ignored: unknown command %.32r", host, command)
            return None
        try:
            return brine.dump(method(host, *args))
        # Arguments come from the peer, and subclasses add code: nothing that
        # happens here may end the registry.
        except Exception:
            self.logger.exception("request %r from %s failed", command, host)
            return None


def _address(host: str, port: int) -> Address:
    # A text is the path of a server that listens on a Unix socket.
    if type(port) not in (int, str):
        raise TypeError(f"a port is a number, not {port!r}")
    return host, port
