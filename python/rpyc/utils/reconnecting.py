"""A client that connects again when its connection was lost.

A connection and the proxies of its objects stay what they are: of one conversation with one peer,
which is over when it is over. So this is not a connection but something that has one. Whoever asks
it for its root gets that of a live connection; proxies of an earlier one raise ``ConnectionLost``, and
never reach another object. A call that was under way when the connection was lost raises, too: it
may have been performed or not, and only the program knows whether to repeat it.
"""

from __future__ import annotations

import contextlib
import logging
import select
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rpyc.core.protocol import Connection, ConnectionLost

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ReconnectEvent", "ReconnectingClient"]

_HINT = (
    "; the object belongs to an earlier connection of a ReconnectingClient: "
    "get it again from the client's root"
)

# Not every system tells of a peer that only closed its own direction.
_HANGUP = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)

_log = logging.getLogger("rpyc.reconnecting")


@dataclass(frozen=True)
class ReconnectEvent:
    """What happened to a :class:`ReconnectingClient`.

    ``kind``: ``connected``, ``lost``, ``failed`` (one attempt; the next one follows after ``delay``
    seconds) or ``gave up``. ``attempt`` counts the attempts since the loss, from 1; 0 for a loss.
    ``error`` is why, for the last three. ``connection`` is the one that was made or lost.
    """

    kind: Literal["connected", "lost", "failed", "gave up"]
    attempt: int = 0
    delay: float = 0.0
    error: BaseException | None = None
    connection: Connection | None = None


class ReconnectingClient:
    """Has a connection, and makes a new one when that was lost.

    :param connect: makes a connection, for instance ``lambda: rpyc.connect("host", 18861)``.
    :param attempts: how often it is tried until the client gives up.
    :param time_limit: seconds after which no further attempt begins.
    :param first_delay: seconds before the second attempt, about. Each pause is up to twice as long
        as the one before; how long exactly is chosen at random, so that many clients of one
        server don't come back together.
    :param longest_delay: the longest pause in seconds.
    :param on_event: called with a :class:`ReconnectEvent` when something happens, by the thread that
        found out. It must not use the client. Everything is also logged, by the logger
        ``rpyc.reconnecting``.

    The first connection is made at once, in the same way. Later a loss is noticed when the client is
    used, or when something waits on the connection; ``heartbeat`` in the connection's config finds
    silent peers. Attempts that fail with ``OSError``, ``EOFError`` or ``TimeoutError`` are repeated,
    other errors are raised. Any thread may use a client; only one connects.

    :raises ConnectionLost: with the cause ``unreachable``: the client has given up. The next use
        tries again.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        attempts: int = 10,
        time_limit: float = 60.0,
        first_delay: float = 0.1,
        longest_delay: float = 5.0,
        on_event: Callable[[ReconnectEvent], object] | None = None,
    ) -> None:
        if attempts < 1:
            raise ValueError(f"a client makes at least one attempt to connect, not {attempts!r}")
        self._connect = connect
        self._attempts = attempts
        self._time_limit = time_limit
        self._first_delay = first_delay
        self._longest_delay = longest_delay
        self._on_event = on_event
        self._lock = threading.Lock()
        self._conn: Connection | None = None
        # What the threads that find one connecting wait for, and who that is.
        self._pending: Future[Connection] | None = None
        self._connector: int | None = None
        self._closed = threading.Event()
        self.connection  # noqa: B018 - so that errors show here, and not at the first use

    @property
    def connection(self) -> Connection:
        """A live connection: the current one, or a new one."""
        while True:
            with self._lock:
                self._check_open()
                conn, pending = self._conn, self._pending
                mine = pending is None
                if mine and (conn is None or not _is_alive(conn)):
                    self._pending = pending = Future()
                    self._connector = threading.get_ident()
                elif mine and conn is not None:
                    return conn
            if pending is None:
                continue
            if mine:
                return self._make(pending, conn)
            if self._connector == threading.get_ident():
                raise RuntimeError("a ReconnectingClient is used by what it calls to connect")
            # Bounded: the thread that connects gives up at some time.
            return pending.result()

    @property
    def root(self) -> Any:
        """The root of the peer, over a live connection."""
        conn = self.connection
        try:
            return conn.root
        except ConnectionLost:
            # Lost just now; nothing was asked for yet.
            return self.connection.root

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed.is_set()

    def close(self) -> None:
        """Close the connection, and make no new one. An attempt under way ends at its next pause."""
        self._closed.set()
        with self._lock:
            conn, self._conn = self._conn, None
        if conn is not None:
            conn.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"over {self._conn!r}"
        return f"<ReconnectingClient {state}>"

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ConnectionLost("the ReconnectingClient has been closed", "closed")

    def _make(self, pending: Future[Connection], lost: Connection | None) -> Connection:
        """Replace the lost connection, for all threads that wait for it."""
        try:
            if lost is not None:
                self._bury(lost)
            conn = self._try_to_connect()
        except BaseException as error:
            with self._lock:
                self._pending = self._connector = None
            pending.set_exception(error)
            raise
        with self._lock:
            self._pending = self._connector = None
            closed = self._closed.is_set()
            self._conn = None if closed else conn
        if closed:
            conn.close()
            refused = ConnectionLost("the ReconnectingClient has been closed", "closed")
            pending.set_exception(refused)
            raise refused
        pending.set_result(conn)
        return conn

    def _bury(self, lost: Connection) -> None:
        lost._lost_hint = _HINT
        # It has ended; its service may not have been told yet.
        with contextlib.suppress(Exception):
            lost.close()
        error = lost._connection_lost(lost._end_reason or "it was closed", lost._end_cause, None)
        self._tell(ReconnectEvent("lost", error=error, connection=lost))

    def _try_to_connect(self) -> Connection:
        # Imported here: a program that never reconnects does not pay for it.
        import random

        started = time.monotonic()
        attempt = 0
        while True:
            self._check_open()
            attempt += 1
            try:
                conn = self._connect()
            except (OSError, EOFError) as error:
                elapsed = time.monotonic() - started
                if attempt >= self._attempts or elapsed >= self._time_limit:
                    raise self._give_up(attempt, elapsed, error) from error
                delay = min(self._first_delay * 2 ** min(attempt - 1, 60), self._longest_delay)
                delay = min(delay * random.uniform(0.5, 1.0), self._time_limit - elapsed)
                self._tell(ReconnectEvent("failed", attempt, delay, error))
                self._closed.wait(delay)
            else:
                self._tell(ReconnectEvent("connected", attempt, connection=conn))
                return conn

    def _give_up(self, attempts: int, elapsed: float, error: BaseException) -> ConnectionLost:
        self._tell(ReconnectEvent("gave up", attempts, error=error))
        return ConnectionLost(
            f"the ReconnectingClient could not connect: {attempts} attempts in {elapsed:.1f} "
            f"seconds (its parameters attempts and time_limit); the last one: {error}",
            "unreachable",
        )

    def _tell(self, event: ReconnectEvent) -> None:
        level = logging.INFO if event.kind == "connected" else logging.WARNING
        about = event.error or event.connection
        _log.log(level, "%s (attempt %d): %s", event.kind, event.attempt, about)
        if self._on_event is not None:
            try:
                self._on_event(event)
            # What a listener does wrong must not cost the connection.
            except Exception:
                _log.exception("on_event of a ReconnectingClient failed")


def _is_alive(conn: Connection) -> bool:
    """Whether a connection goes on, as far as one can tell without asking the peer."""
    if conn.closed or conn._end_reason is not None:
        return False
    # The peer may have hung up while nobody was looking.
    try:
        poller = select.poll()
        poller.register(conn.fileno(), _HANGUP)
        return not poller.poll(0)
    except (OSError, EOFError, ValueError, AttributeError):
        # Not a transport of the operating system; or just closed, which its use will tell.
        return True
