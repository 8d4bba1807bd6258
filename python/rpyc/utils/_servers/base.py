"""What all servers have in common.

The life of a server::

    constructor          binds the listener at once, so ``port`` is known
    start()              listens, registers, then accepts until closed
      accept()           one client; its socket joins ``clients``
        _accept_method   (subclass) finds somebody to look after the client
          _authenticate_and_serve_client
            _serve_client        makes the connection
              _handle_connection serves it until it ends
                                 the socket is closed and leaves ``clients``
    close()              ends all of it

Every step is a method, because programs override them.
"""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rpyc.core.channel import Channel
from rpyc.core.protocol import DEFAULT_CONFIG
from rpyc.core.stream import SocketStream
from rpyc.lib import spawn, spawn_waitready
from rpyc.utils._servers.exposure import warn_if_exposed
from rpyc.utils._servers.handshake import Handshakes
from rpyc.utils._servers.journal import Journal
from rpyc.utils._servers.listening import (
    SocketFile,
    bind_tcp,
    bind_unix,
    hang_up,
    send_at_once,
    wake_and_close,
)
from rpyc.utils.authenticators import AuthenticationError, Authenticator
from rpyc.utils.registry import RegistryClient, UDPRegistryClient

if TYPE_CHECKING:
    from rpyc.core.protocol import Connection
    from rpyc.core.service import Service

# The client was gone before it was accepted.
_CLIENT_GONE = frozenset(
    {errno.ECONNABORTED, errno.EPROTO, errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR}
)
# The machine has no room for another client now; it may have soon.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# Seconds until the next attempt in that case, and after a failed registration.
_EXHAUSTED_PAUSE = 0.1
_REGISTER_PAUSE = 1.0
# Seconds that close() waits for those who serve clients.
_CLOSE_GRACE = 0.5


class Server:
    """A server for one service; subclasses decide what runs a connection.

    :param service: a service class, for one instance per connection, or an
        instance, which all connections share.
    :param hostname: the address to listen on; ``None`` for all interfaces.
    :param ipv6: listen on IPv6.
    :param port: the port, 0 for any free one.
    :param backlog: connections that may wait to be accepted.
    :param reuse_addr: listen although connections of an earlier server on this
        port are still fading out.
    :param authenticator: decides who may connect; see
        :mod:`rpyc.utils.authenticators`.
    :param registrar: the registry client to register with; by default UDP
        broadcast.
    :param auto_register: whether to register; by default only if a
        ``registrar`` is given.
    :param protocol_config: the configuration of the connections. It is read
        again for each of them, and gets the server's logger under ``"logger"``.
        ``"endpoints_timeout"`` is the number of seconds that a client may take
        to authenticate.
    :param logger: where to log; by default a logger named after the service and
        the port.
    :param listener_timeout: seconds of one wait for a client. Closing does not
        wait for it.
    :param max_connections: clients at the same time, those that authenticate
        included; one more is hung up on. ``None`` for no limit.
    :param socket_path: listen on a Unix socket of this path instead, which must
        not exist. ``close`` removes the file (RPyC leaves it behind).

    Attributes: ``active`` (accepting), ``clients`` (the sockets of all current
    connections), ``listener``, ``host``, ``port`` (the path of a Unix socket),
    ``logger`` and the parameters of the same names.

    :raises ValueError: ``socket_path`` together with a TCP parameter.
    """

    def __init__(
        self,
        service: Service | type[Service],
        hostname: str | None = None,
        ipv6: bool = False,
        port: int = 0,
        backlog: int = socket.SOMAXCONN,
        reuse_addr: bool = True,
        authenticator: Authenticator | None = None,
        registrar: RegistryClient | None = None,
        auto_register: bool | None = None,
        protocol_config: dict[str, Any] | None = None,
        logger: logging.Logger | None = None,
        listener_timeout: float = 0.5,
        socket_path: str | None = None,
        max_connections: int | None = 10_000,
    ) -> None:
        self.active = False
        self._closed = False
        self.service = service
        self.authenticator = authenticator
        self.backlog = backlog
        self.max_connections = max_connections
        self.auto_register = bool(registrar) if auto_register is None else auto_register
        self.protocol_config = {} if protocol_config is None else protocol_config
        self.clients: set[socket.socket] = set()
        self._handshakes = Handshakes()
        self._stopping = threading.Event()
        self._drained = threading.Event()
        self._own_thread = threading.local()
        self._socket_file: SocketFile | None = None

        self.host: str
        self.port: Any
        if socket_path is None:
            self.listener = bind_tcp(hostname, port, ipv6=ipv6, reuse_addr=reuse_addr)
            self.host, self.port = self.listener.getsockname()[:2]
        else:
            if hostname is not None or port != 0 or ipv6:
                raise ValueError("socket_path excludes hostname, port and ipv6")
            self.listener, self._socket_file = bind_unix(socket_path)
            self.host, self.port = "", socket_path
        self.listener.settimeout(listener_timeout)

        if logger is None:
            logger = logging.getLogger(f"{self.service.get_service_name()}/{self.port}")
        self.logger = logger
        self.protocol_config.setdefault("logger", logger)
        self.registrar = UDPRegistryClient(logger=logger) if registrar is None else registrar

    @property
    def _journal(self) -> Journal:
        # The attribute is looked up each time: programs replace it.
        return Journal(self.logger)

    # ---------------------------------------------------------------- lifetime

    def start(self) -> None:
        """Serve until :meth:`close` is called or Ctrl-C is pressed.

        :raises OSError: the server was closed before.
        """
        self._listen()
        self._register()
        try:
            while self.active:
                self.accept()
        except EOFError:
            # The listener broke; accept() has logged it.
            pass
        except KeyboardInterrupt:
            print()
            self._journal.warning("keyboard interrupt!")
        finally:
            self._journal.info("server has terminated")
            self.close()

    def close(self) -> None:
        """End the server and its connections. Further calls do nothing.

        The clients are disconnected, and those who serve them get half a second
        to notice. A request that still runs then goes on, but its reply cannot
        be sent any more.
        """
        if self._closed:
            return
        self._closed = True
        self.active = False
        self._stopping.set()
        if self.auto_register:
            self._unregister()
        wake_and_close(self.listener)
        if self._socket_file is not None:
            self._socket_file.remove()
        self._journal.info("listener closed")
        self._disconnect_clients()

    def fileno(self) -> int:
        """Return the listener's descriptor."""
        return self.listener.fileno()

    def accept(self) -> None:
        """Accept one client and have it served.

        Returns without one if the server is not active.

        :raises EOFError: the listener is broken.
        """
        while self.active:
            try:
                sock, addrinfo = self.listener.accept()
                break
            except TimeoutError:
                continue
            except OSError as exc:
                if not self.active:
                    return
                self._tolerate(exc)
        else:
            return
        if self.max_connections is not None and self._connections() >= self.max_connections:
            self._journal.warning(
                "client %s turned away: there are %s already (max_connections)",
                addrinfo,
                self.max_connections,
            )
            sock.close()
            return
        if sock.gettimeout() is not None:
            sock.setblocking(True)
        if self._socket_file is None:
            send_at_once(sock)
        self._journal.info("accepted %s with fd %s", addrinfo, sock.fileno())
        self.clients.add(sock)
        if self._closed:
            # close() may have looked at the clients just before.
            self._dismiss(sock)
            return
        self._accept_method(sock)

    # ------------------------------------------------------------------- hooks

    def _accept_method(self, sock: socket.socket) -> None:
        """Find somebody to call ``_authenticate_and_serve_client``; must not wait for it."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it serves a client")

    def _authenticate_and_serve_client(self, sock: socket.socket) -> None:
        """Look after a client until it is gone."""
        served = sock
        try:
            with self._as_own_thread():
                admitted = self._authenticate(sock)
                if admitted is None:
                    return
                served, credentials = admitted
                self._serve_client(served, credentials)
        except Exception:
            self._journal.exception("client connection terminated abruptly")
            raise
        finally:
            self._dismiss(sock, served)

    def _serve_client(self, sock: socket.socket, credentials: Any) -> None:
        """Make the connection of an authenticated client and serve it."""
        addrinfo = self._address_of(sock)
        if addrinfo is None:
            return
        self._log_welcome(addrinfo, credentials)
        try:
            config = self._connection_config(sock, addrinfo, credentials)
            conn = self.service._connect(Channel(SocketStream(sock)), config)
            try:
                self._handle_connection(conn)
            finally:
                # An overridden method may leave it open. Hung up first, since the
                # client might take its time to answer to an orderly close.
                if not conn.closed:
                    hang_up(sock)
                    conn.close()
                self._note_end(conn, addrinfo)
        finally:
            self._journal.info("goodbye %s", addrinfo)

    def _note_end(self, conn: Connection, addrinfo: Any) -> None:
        """Log how a connection has ended, if that is worth a line."""
        if getattr(conn, "_end_cause", None) == "cut":
            self._journal.warning("client %s has left in the middle of a message", addrinfo)

    def _connections(self) -> int:
        """How many clients there are."""
        return len(self.clients)

    def _handle_connection(self, conn: Connection) -> None:
        """Serve a connection until it ends."""
        conn.serve_all()

    # ------------------------------------------------------- parts for subclasses

    def _listen(self) -> None:
        """Start listening, unless the server does already."""
        if self.active:
            return
        if self._closed:
            raise OSError(
                errno.EBADF, f"the server on [{self.host}]:{self.port} was closed; make a new one"
            )
        self.listener.listen(self.backlog)
        self.active = True
        self._journal.info("server started on [%s]:%s", self.host, self.port)
        warn_if_exposed(self)

    def _start_in_thread(self) -> threading.Thread:
        """Start the server in a daemon thread; return that when it listens."""
        thread, _ = spawn_waitready(self._listen, self.start)
        return thread

    def _address_of(self, sock: socket.socket) -> Any:
        """Return the address of a client; ``None`` if it has left already, at whatever moment."""
        try:
            return sock.getpeername()
        except OSError as exc:
            self._journal.info("client left before it was served (%s)", exc)
            return None

    def _authenticate(self, sock: socket.socket) -> tuple[socket.socket, Any] | None:
        """Return the socket to serve and the credentials; ``None`` to serve it not."""
        if self.authenticator is None:
            return sock, None
        addrinfo = self._address_of(sock)
        if addrinfo is None:
            return None
        timeout = self.protocol_config.get("endpoints_timeout", DEFAULT_CONFIG["endpoints_timeout"])
        handshake = self._handshakes.begin(sock)
        try:
            if self._closed:
                handshake.abort()
            admitted, credentials = handshake.run(self.authenticator, sock, timeout)
        except AuthenticationError as exc:
            self._journal.info(
                "%s failed to authenticate... rejecting connection (%s)", addrinfo, exc
            )
            return None
        finally:
            self._handshakes.end(handshake)
        self._journal.info("%s authenticated successfully", addrinfo)
        if admitted is not sock:
            # close() must find the socket that now holds the descriptor.
            self.clients.add(admitted)
            self.clients.discard(sock)
            if self._closed:
                hang_up(admitted)
        return admitted, credentials

    def _connection_config(
        self, sock: socket.socket, addrinfo: Any, credentials: Any
    ) -> dict[str, Any]:
        """Return the configuration of one connection."""
        return {
            **self.protocol_config,
            "credentials": credentials,
            "endpoints": (sock.getsockname(), addrinfo),
            "logger": self.logger,
        }

    def _log_welcome(self, addrinfo: Any, credentials: Any) -> None:
        if credentials:
            self._journal.info("welcome %s (%r)", addrinfo, credentials)
        else:
            self._journal.info("welcome %s", addrinfo)

    def _dismiss(self, *socks: socket.socket) -> None:
        """Close the sockets of a client and forget them."""
        for sock in dict.fromkeys(socks):
            # Its connection has closed it, most likely.
            if sock.fileno() >= 0:
                hang_up(sock)
                sock.close()
            self.clients.discard(sock)
        if self._closed and not self.clients:
            self._drained.set()

    @contextmanager
    def _as_own_thread(self) -> Iterator[None]:
        """Mark this thread as one of those that close() must not wait for when it runs in one."""
        self._own_thread.flag = True
        try:
            yield
        finally:
            self._own_thread.flag = False

    def _disconnect_clients(self) -> None:
        for sock in list(self.clients):
            hang_up(sock)
        self._handshakes.abort()
        if self.clients and not getattr(self._own_thread, "flag", False):
            self._drained.wait(_CLOSE_GRACE)

    def _tolerate(self, exc: OSError) -> None:
        """Pass over an error of accept() that the next attempt may not have."""
        if exc.errno in _CLIENT_GONE:
            return
        if exc.errno in _EXHAUSTED:
            self._journal.error("cannot accept a client now: %s", exc)
            self._stopping.wait(_EXHAUSTED_PAUSE)
            return
        self._journal.error("cannot accept clients any more: %s", exc)
        raise EOFError(f"the listener on [{self.host}]:{self.port} is broken: {exc}") from exc

    # ------------------------------------------------------------- registration

    def _register(self) -> None:
        """Start registering in the background, if wanted."""
        if self.auto_register:
            spawn(self._bg_register)

    def _bg_register(self) -> None:
        """Register again and again until the server is closed."""
        interval = self.registrar.REREGISTER_INTERVAL
        self._journal.info("started background auto-register thread (interval = %s)", interval)
        aliases = self.service.get_service_aliases()
        while not self._closed:
            try:
                done = self.registrar.register(aliases, self.port, interface=self.host)
            # A registrar may be anybody's code; one failure is not the last word.
            except Exception:
                self._journal.exception("registering failed")
                done = False
            if self._closed and done:
                # close() has unregistered, but perhaps before this.
                self._unregister()
            self._stopping.wait(interval if done else _REGISTER_PAUSE)
        self._journal.info("background auto-register thread finished")

    def _unregister(self) -> None:
        try:
            self.registrar.unregister(self.port)
        except Exception:
            self._journal.exception("unregistering failed")
