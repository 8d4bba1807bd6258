"""A server that serves all connections with a fixed number of threads.

Theory of operation. A connection is always in exactly one of these places:

* with a doorkeeper, while it authenticates and ``on_connect`` runs;
* in the poller's selector, while nothing has arrived: this costs no thread;
* in the queue, when something has arrived;
* with a worker, which serves a few requests and passes it on: back to the
  queue if there was always one more, else back to the selector. While no other
  connection waits, the worker lingers for a moment: the way through selector and
  queue wakes two threads, and takes several times as long as a short call.

So a connection is never served by two workers, and its descriptor is never in
the selector while somebody works on it. That makes it safe to close: only who
has the connection closes it. To close the server means to hang up on all
clients; the selector reports that like any arrival, and the workers find that
the connection has ended.
"""

from __future__ import annotations

import queue
import selectors
import socket
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rpyc.core.channel import Channel
from rpyc.core.stream import SocketStream
from rpyc.utils._servers.base import Server
from rpyc.utils._servers.handshake import Doorkeepers, Handshakes
from rpyc.utils._servers.listening import hang_up

if TYPE_CHECKING:
    from rpyc.core.protocol import Connection

# The poller also looks at idle connections this often (seconds), for those that
# were closed by threads of the service: the selector cannot tell.
_SWEEP_INTERVAL = 0.25
# Seconds that a worker waits for the next request of a connection.
_LINGER = 0.0002
# Clients that may introduce themselves at the same time. One more, and the one that
# has had the most time must go.
_MAX_NEWCOMERS = 256
# Seconds that close() waits for the poller.
_JOIN_TIMEOUT = 0.3


class ThreadPoolServer(Server):
    """Serves any number of connections with a fixed number of threads.

    :param nbThreads: the number of worker threads.
    :param requestBatchSize: how many requests of a connection are served before
        the next connection's turn.

    The other parameters are those of :class:`~rpyc.utils.server.Server`.

    Authentication and ``on_connect`` run in threads of their own, so that slow
    newcomers delay nobody. A
    request that waits, for a callback for instance, keeps its worker.

    Attributes: ``nbthreads``, ``request_batch_size``, ``workers`` and
    ``polling_thread`` (threads), ``poll_object`` (the selector), ``fd_to_conn``
    (the connections by descriptor).
    """

    def __init__(
        self, *args: Any, nbThreads: int = 20, requestBatchSize: int = 10, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.nbthreads = nbThreads
        self.request_batch_size = requestBatchSize
        self.workers: list[threading.Thread] = []
        self.polling_thread: threading.Thread | None = None
        self.poll_object: selectors.BaseSelector = selectors.DefaultSelector()
        self.fd_to_conn: dict[int, Connection] = {}
        self._active_connection_queue: queue.SimpleQueue[_Client | None] = queue.SimpleQueue()
        self._doorkeepers = Doorkeepers(self._admit, max(nbThreads, _MAX_NEWCOMERS))
        self._handshakes = Handshakes(self._doorkeepers.waiting)
        self._this = weakref.ref(self)
        # Guards the selector, which workers add to while the poller waits on it.
        self._selector_lock = threading.Lock()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_sender.setblocking(False)
        self._wake_receiver.setblocking(False)
        self.poll_object.register(self._wake_receiver, selectors.EVENT_READ)

    def close(self) -> None:
        """End the server and its connections, then its threads.

        Workers that run a request end when it does.
        """
        if self._closed:
            return
        super().close()
        if self.polling_thread is None:
            self._close_selector()
            return
        self._wake()
        if threading.current_thread() is not self.polling_thread:
            self.polling_thread.join(_JOIN_TIMEOUT)

    def _listen(self) -> None:
        if self.active:
            return
        super()._listen()
        self.polling_thread = threading.Thread(
            target=self._poll_clients, name="PollingThread", daemon=True
        )
        self.workers = [
            threading.Thread(target=self._serve_clients, name=f"Worker{number}", daemon=True)
            for number in range(self.nbthreads)
        ]
        for thread in (self.polling_thread, *self.workers):
            thread.start()

    def _accept_method(self, sock: socket.socket) -> None:
        try:
            self._doorkeepers.submit(sock)
            self._handshakes.make_room()
        except RuntimeError as exc:
            self._journal.error("client turned away: %s", exc)
            self._dismiss(sock)

    # -------------------------------------------------------------- doorkeepers

    def _admit(self, sock: socket.socket) -> None:
        """Authenticate a client and make its connection; runs in a doorkeeper."""
        served = sock
        try:
            with self._as_own_thread():
                admitted = self._authenticate(sock)
                if admitted is None:
                    self._dismiss(sock)
                    return
                served, credentials = admitted
                addrinfo = self._address_of(served)
                if addrinfo is None:
                    self._dismiss(sock, served)
                    return
                config = self._connection_config(served, addrinfo, credentials)
                config["connid"] = str(addrinfo)
                conn = self.service._connect(Channel(SocketStream(served)), config)
                client = _Client(conn, served, addrinfo)
                self._listen_for_unread(client)
        # The doorkeeper goes on with the next client, whatever a service raises.
        except BaseException:
            self._journal.exception("client connection terminated abruptly")
            self._dismiss(sock, served)
            return
        self.fd_to_conn[client.fd] = conn
        self._log_welcome(addrinfo, credentials)
        self._pass_on(client)

    def _listen_for_unread(self, client: _Client) -> None:
        """Hear of requests that a thread of the service has read along with its reply."""
        client.conn._on_unread(_Unread(self._this, client))

    # ------------------------------------------------------------------- poller

    def _pass_on(self, client: _Client, has_more: bool = False) -> None:
        """Give a connection to the queue if it has more to serve, else to the poller."""
        # Under the lock, because nothing may follow the workers' end marks into
        # the queue, nor come into the selector after the poller emptied it.
        with self._selector_lock:
            closed = self._closed
            if closed:
                pass
            elif has_more:
                self._active_connection_queue.put(client)
            else:
                with suppress(KeyError):
                    # A connection that a thread of the service has closed: the
                    # kernel has given its number to this one.
                    self._active_connection_queue.put(self.poll_object.unregister(client.fd).data)
                self.poll_object.register(client.fd, selectors.EVENT_READ, client)
        if closed:
            self._drop(client)
            return
        # Bytes that a thread of the service has read along with its reply are not
        # in the socket any more. Asked only now: earlier, it could still read some.
        if client.conn._has_buffered_input():
            self._take([client])
        if not _SELECTOR_IS_LIVE:
            self._wake()

    def _poll_clients(self) -> None:
        """Move connections from the selector to the queue; runs in the polling thread."""
        next_sweep = time.monotonic() + _SWEEP_INTERVAL
        while not self._closed:
            events = self.poll_object.select(max(0.0, next_sweep - time.monotonic()))
            with suppress(BlockingIOError):
                self._wake_receiver.recv(4096)
            self._take([key.data for key, _ in events if key.data is not None])
            if time.monotonic() >= next_sweep:
                self._take([client for client in self._watched() if client.needs_worker()])
                next_sweep = time.monotonic() + _SWEEP_INTERVAL
        self._take(self._watched())
        with self._selector_lock:
            self._close_selector()
            for _ in self.workers:
                self._active_connection_queue.put(None)

    def _watched(self) -> list[_Client]:
        with self._selector_lock:
            return [key.data for key in self.poll_object.get_map().values() if key.data is not None]

    def _take(self, clients: list[_Client]) -> None:
        """Move connections from the selector to the queue."""
        with self._selector_lock:
            watched = self.poll_object.get_map()
            for client in clients:
                if client.fd in watched and watched[client.fd].data is client:
                    self.poll_object.unregister(client.fd)
                    self._active_connection_queue.put(client)

    def _wake(self) -> None:
        # A full pipe wakes as well, and a closed one means that nobody sleeps.
        with suppress(OSError):
            self._wake_sender.send(b"\0")

    def _close_selector(self) -> None:
        self.poll_object.close()
        self._wake_sender.close()
        self._wake_receiver.close()

    # ------------------------------------------------------------------ workers

    def _serve_clients(self) -> None:
        """Serve what the queue brings; runs in each worker."""
        while (client := self._active_connection_queue.get()) is not None:
            with self._as_own_thread():
                try:
                    self._serve_requests(client)
                except EOFError:
                    self._drop(client)
                # What a handler raises past its connection (Ctrl-C aimed at the
                # process, say) ends the connection, not the worker.
                except BaseException:
                    self._journal.exception("client connection terminated abruptly")
                    self._drop(client)

    def _serve_requests(self, client: _Client) -> None:
        """Serve a batch of a connection's requests, then pass it on."""
        waiting = self._active_connection_queue
        for _ in range(self.request_batch_size):
            if self._closed or client.conn.closed:
                self._drop(client)
                return
            if not client.conn.poll(_LINGER if waiting.empty() else 0):
                # It may be idle for long, and there may be thousands.
                client.conn._rest()
                self._pass_on(client)
                return
        # There may be more, but it is others' turn.
        self._pass_on(client, has_more=True)

    def _drop(self, client: _Client) -> None:
        """End a connection; called by whoever has it."""
        # First, so that closing does not wait for an answer of the client.
        hang_up(client.sock)
        try:
            client.conn.close()
        # The service's on_disconnect is anybody's code.
        except BaseException:
            self._journal.exception("closing a client connection failed")
        # Its number may be another connection's by now.
        if self.fd_to_conn.get(client.fd) is client.conn:
            del self.fd_to_conn[client.fd]
        self._note_end(client.conn, client.addrinfo)
        self._journal.info("goodbye %s", client.addrinfo)
        self._dismiss(client.sock)


class _Unread:
    """Called when a connection has requests in memory that nobody serves."""

    __slots__ = ("_client", "_server")

    def __init__(self, server: weakref.ref[ThreadPoolServer], client: _Client) -> None:
        self._server = server
        # Held weakly: the connection keeps the callback.
        self._client = weakref.ref(client)

    def __call__(self) -> None:
        server, client = self._server(), self._client()
        if server is not None and client is not None and not server._closed:
            server._take([client])


class _Client:
    """A connection and what it takes to find and end it."""

    __slots__ = ("__weakref__", "addrinfo", "conn", "fd", "sock")

    def __init__(self, conn: Connection, sock: socket.socket, addrinfo: Any) -> None:
        self.conn = conn
        self.sock = sock
        self.fd = conn.fileno()
        self.addrinfo = addrinfo

    def needs_worker(self) -> bool:
        """Whether something is to be done that the selector does not report."""
        return self.conn.closed or self.conn._has_buffered_input()


# The kernel's own selectors see what is added while they wait.
_SELECTOR_IS_LIVE = hasattr(selectors, "EpollSelector") or hasattr(selectors, "KqueueSelector")
