"""Deciding about a new client, in bounded time and away from the accept loop."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rpyc.lib import spawn
from rpyc.utils._servers.listening import hang_up
from rpyc.utils.authenticators import AuthenticationError, Authenticator

# After a refusal: how long the client may take to read why, in seconds, and how
# much of what it has sent meanwhile is thrown away, in bytes.
_LINGER_TIME = 1.0
_LINGER_SIZE = 1 << 20


class Handshake:
    """One run of an authenticator, which ends when its time is over.

    An authenticator is foreign code that reads from the client, so the only way
    to end it is to end the connection under it. It may also wrap the socket and
    thereby take the descriptor away from the socket object it was given (TLS
    does), so a duplicate of the descriptor is kept for that purpose.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._wire = sock.dup()
        self._lock = threading.Lock()
        self._running = True
        self._expired = False

    def run(
        self, authenticator: Authenticator, sock: socket.socket, timeout: float | None
    ) -> tuple[socket.socket, Any]:
        """Return what the authenticator returns.

        :param timeout: seconds it may take, ``None`` for no limit.
        :raises AuthenticationError: it refuses the client, or took too long.
        """
        timer = None
        if timeout is not None and timeout >= 0:
            timer = threading.Timer(timeout, self._expire)
            timer.daemon = True
            timer.start()
        too_slow = AuthenticationError(f"the client did not authenticate within {timeout} seconds")
        try:
            admitted = authenticator(sock)
        except Exception as exc:
            if self._finish():
                raise too_slow from exc
            if isinstance(exc, AuthenticationError):
                self._linger()
            raise
        else:
            if self._finish():
                admitted[0].close()
                raise too_slow
            return admitted
        finally:
            self._finish()
            if timer is not None:
                timer.cancel()
            self._wire.close()

    def abort(self) -> None:
        """End the connection, if the authenticator still runs."""
        with self._lock:
            if self._running:
                hang_up(self._wire)

    def _expire(self) -> None:
        with self._lock:
            self._expired = self._running
        self.abort()

    def _finish(self) -> bool:
        """From here on the connection is not ended from outside; return whether it was too late."""
        with self._lock:
            self._running = False
            return self._expired

    def _linger(self) -> None:
        # Closing a socket with unread data resets the connection, and the reset
        # overtakes the refusal that a TLS layer has just sent.
        with suppress(OSError):
            self._wire.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + _LINGER_TIME
            left = _LINGER_SIZE
            while left > 0 and (seconds := deadline - time.monotonic()) > 0:
                self._wire.settimeout(seconds)
                chunk = self._wire.recv(65536)
                if not chunk:
                    return
                left -= len(chunk)


class Handshakes:
    """All handshakes of a server that are going on.

    :param waiting: how many clients wait for one of them to end. For each of them, the handshake
        that has had the most time is ended. So clients that say nothing can't keep others out,
        however many they are.
    """

    def __init__(self, waiting: Callable[[], int] = lambda: 0) -> None:
        self._waiting = waiting
        self._lock = threading.Lock()
        # In the order of their beginning.
        self._running: dict[Handshake, None] = {}
        self._ending: set[Handshake] = set()

    def __len__(self) -> int:
        with self._lock:
            return len(self._running)

    def begin(self, sock: socket.socket) -> Handshake:
        """A handshake with this client; :meth:`end` must follow."""
        handshake = Handshake(sock)
        with self._lock:
            self._running[handshake] = None
        self.make_room()
        return handshake

    def end(self, handshake: Handshake) -> None:
        """This one is over."""
        with self._lock:
            self._running.pop(handshake, None)
            self._ending.discard(handshake)

    def make_room(self) -> None:
        """End as many as there are clients waiting for it, the oldest first."""
        waiting = self._waiting()
        with self._lock:
            while self._running and len(self._ending) < waiting:
                oldest = next(iter(self._running))
                del self._running[oldest]
                self._ending.add(oldest)
                oldest.abort()

    def abort(self) -> None:
        """End all of them: the server closes."""
        with self._lock:
            handshakes = [*self._running, *self._ending]
        for handshake in handshakes:
            handshake.abort()


class Doorkeepers:
    """A few threads that take new clients in, one each at a time.

    They exist only while there are new clients. If all are busy, newcomers
    wait; those already served never do.

    :param admit: called with each client's socket; must not raise.
    :param size: the largest number of threads.
    """

    def __init__(self, admit: Callable[[socket.socket], None], size: int) -> None:
        self._admit = admit
        self._size = size
        self._lock = threading.Lock()
        self._waiting: deque[socket.socket] = deque()
        self._threads = 0

    def waiting(self) -> int:
        """How many newcomers wait for a doorkeeper."""
        with self._lock:
            return len(self._waiting) if self._threads >= self._size else 0

    def submit(self, sock: socket.socket) -> None:
        """Have a client admitted soon. Does not wait.

        :raises RuntimeError: no thread can be started, and none is running.
        """
        with self._lock:
            self._waiting.append(sock)
            if self._threads >= self._size:
                return
            self._threads += 1
        try:
            spawn(self._work)
        except RuntimeError:
            with self._lock:
                self._threads -= 1
                if self._threads:
                    return
                self._waiting.remove(sock)
            raise

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                sock = self._waiting.popleft()
            self._admit(sock)
