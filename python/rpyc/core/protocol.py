"""The connection: the object that both ends of a link program against.

# Layout

``Connection`` stands on the native ``Engine``, which owns the link, the tables and the common
handlers. The layers between are Python: :mod:`~rpyc.core._connection.handlers` (one method per
handler), :mod:`~rpyc.core._connection.portable` (the protocol in terms of methods that programs
override), :mod:`~rpyc.core._connection.extensions` (what the peer can do beyond RPyC's protocol), and
here the life of a connection: opening, serving, closing. Which of the two paths a connection takes
decides :mod:`~rpyc.core._connection.native`.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import operator
import os
import sys
import threading
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rpyc import _rpyc
from rpyc.core import consts
from rpyc.core._connection import heartbeat, native
from rpyc.core._connection.config import DEFAULT_CONFIG, FACTS, STRICT, shared
from rpyc.core._connection.errors import ConnectionLost
from rpyc.core._connection.extensions import Extensions
from rpyc.core._connection.handlers import Handler
from rpyc.core._connection.limits import TimeLimit
from rpyc.core._connection.views import ReadLock, on_demand
from rpyc.core.async_ import AsyncResult
from rpyc.core.channel import Channel
from rpyc.lib import Timeout, get_id_pack, spawn
from rpyc.lib.network import describe_peer
from rpyc.lib.watching import WatchedDict, watched_module

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "DEFAULT_CONFIG",
    "STRICT",
    "UNBOUND_THREAD_ID",
    "AsyncResult",
    "Connection",
    "ConnectionLost",
    "PingError",
    "get_id_pack",
]

UNBOUND_THREAD_ID = 0
"""The thread id of messages that any thread may handle."""

_connection_numbers: Iterator[int] = itertools.count(1)
_NO_FACTS = dict.fromkeys(FACTS)
_limits_of = operator.itemgetter(
    "max_frame_size",
    "max_inflated_size",
    "max_backlog",
    "max_pending_requests",
    "max_exported_objects",
    "max_nested_requests",
)
_MOST_LATE = 1000
"""Messages that ``poll_all`` handles after its time is over."""

_PING_DATA = "abcdefghijklmnopqrstuvwxyz" * 20


class PingError(Exception):
    """The answer to a ping was not what had been sent."""


def _always() -> bool:
    return True


class Connection(Extensions):
    """One end of a link: serves the local root to the peer, and reaches the peer's root.

    ``root`` is the service to offer; ``channel`` moves the messages; ``config`` overlays
    ``DEFAULT_CONFIG``. Any thread may use a connection; whoever waits for an answer serves the
    peer's requests meanwhile.
    """

    _lost_hint = ""
    """What the errors of a lost connection say in addition."""

    _closed: bool
    _closing: threading.Lock
    _channel: Any
    _last_traceback: types.TracebackType | None
    _bind_threads: bool

    # Set by the services of classic mode, and by `connect_subproc`.
    modules: Any
    builtin: Any
    builtins: Any
    eval: Any
    execute: Any
    namespace: Any
    teleport: Any
    proc: Any

    def __init__(
        self,
        root: Any,
        channel: Any,
        config: dict[str, Any] | None = {},  # noqa: B006 - only read
    ) -> None:
        settings = {**DEFAULT_CONFIG, **(config or {})}
        facts = [settings.get(name) for name in FACTS]
        if facts[0] is None:
            facts[0] = f"conn{next(_connection_numbers)}"
        settings.update(_NO_FACTS)
        self._share_config(shared(settings), FACTS, tuple(facts))
        # At once: `__setattr__` looks for hooks, and there are none among these.
        self.__dict__.update(
            _closed=True,
            _closing=threading.Lock(),
            _channel=channel,
            _last_traceback=None,
            _bind_threads=bool(settings["bind_threads"]),
        )
        self._local_root = root
        self._set_limits(*_limits_of(settings))
        self._set_liveness(settings["tcp_keepalive"], settings["send_timeout"])
        if settings["unguessable_ids"]:
            self._hide_addresses()
        if settings["protocol_version"] is not None:
            self._speak(settings["protocol_version"])
        if self._bind_threads:
            self._bind_to_threads()
        self._open()
        self._closed = False
        if settings["heartbeat"] is not None:
            heartbeat.watch(self, settings["heartbeat"])

    def _open(self) -> None:
        """Give the channel to the engine: natively if it is a plain one."""
        if native.has_green_threads():
            _rpyc.use_greenlets()
        channel = self._channel
        stream: Any = getattr(channel, "stream", None)
        self._peer = describe_peer(stream)
        if isinstance(channel, Channel):
            channel.limit(self._settings["max_frame_size"], self._settings["max_inflated_size"])
        if not native.is_plain_channel(channel):
            self._open_channel(channel)
        elif native.is_plain_socket_stream(stream):
            fd = stream.fileno()
            if stream.sock.gettimeout() is not None:
                # A wait is then one system call. The stream's own methods work in either mode.
                os.set_blocking(fd, True)
            threshold = channel.COMPRESSION_THRESHOLD if channel.compress else None
            self._open_socket(fd, threshold, self._settings["busy_poll"])
            stream._engine_io = _EngineIO(self)
        elif native.is_plain_pipe_stream(stream):
            self._open_pipe(stream.incoming.fileno(), stream.outgoing.fileno())
            stream._engine_io = _EngineIO(self)
        else:
            with contextlib.suppress(OSError, EOFError, AttributeError, TypeError):
                # No socket at the bottom of it, or none that can be set up.
                self._notice_lost_peer(stream.sock.fileno())
            self._open_channel(channel)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in native.HOOKS:
            _rpyc.extension_changed()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        if name in native.HOOKS:
            _rpyc.extension_changed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        cls = type(self)
        name = f"{cls.__module__}.{cls.__qualname__}"
        return f"<{name} {self._config['connid']!r} object at {id(self):#x}>"

    def __del__(self) -> None:
        # Nobody waits for an answer here: that could take long, and at interpreter exit for ever.
        # A copy in a forked child is dropped silently: the parent goes on.
        if not getattr(self, "_closed", True) and not self._is_inherited:
            self._closed = True
            with contextlib.suppress(Exception):
                self._async_request(consts.HANDLE_CLOSE)
            with contextlib.suppress(Exception):
                self._cleanup()

    # The peer.

    def ping(self, data: Any = None, timeout: float | None = 3) -> Any:
        """Let the peer echo ``data`` (default: 520 letters) and return the echo.

        Raises :class:`PingError` if the echo differs, ``AsyncResultTimeout`` if it does not come
        within ``timeout`` seconds, :class:`ConnectionLost` if the connection has ended.
        """
        if data is None:
            data = _PING_DATA
        echo = self.async_request(consts.HANDLE_PING, data, timeout=timeout).value
        if echo != data:
            raise PingError("echo mismatches sent data")
        return echo

    def timeout(self, seconds: float) -> TimeLimit:
        """Limit the time of all requests that this thread makes on this connection, in a block::

            with conn.timeout(2):
                conn.root.compute(data)

        ``seconds`` count from the start of the block. A request that has no answer by then raises
        ``AsyncResultTimeout``, and so do those that are made later in the block. The limit holds
        for everything that asks the peer, such as reading an attribute of a proxy, and in addition
        to ``sync_request_timeout``. Blocks may be nested; the earlier end counts.
        """
        return TimeLimit(self, seconds)

    # Serving.

    def serve(
        self,
        timeout: float | Timeout | None = 1,
        wait_for_lock: bool = True,
        waiting: Callable[[], bool] = _always,
    ) -> bool:
        """Handle at most one message, which arrives within ``timeout`` seconds.

        True if one was handled. If another thread is reading, it counts when that one has handled a
        message; with ``wait_for_lock`` false there is no waiting for it. ``waiting`` says whether
        there is still something to wait for. Raises ``EOFError`` if the connection ends.
        """
        return waiting() and self._serve(timeout, wait_for_lock)

    def poll(self, timeout: float | Timeout | None = 0) -> bool:
        """:meth:`serve` that never waits for another reader."""
        return self.serve(timeout, False)

    def poll_all(self, timeout: float | Timeout | None = 0) -> bool:
        """Handle all messages that arrive within ``timeout`` seconds; True if there were any.

        The end of the connection ends it quietly.
        """
        limit = Timeout(timeout)
        served, late = False, 0
        with contextlib.suppress(EOFError):
            while late < _MOST_LATE:
                if self.serve(limit.timeleft()):
                    served = True
                    # What is there by then is handled too; but a peer may send without a pause.
                    late += limit.expired()
                elif limit.expired():
                    break
        return served

    def serve_all(self) -> None:
        """Handle messages until the connection ends, then close it.

        Raises ``ValueError`` if the connection ended because of what the peer sent.
        """
        try:
            if native.is_original(self, "serve"):
                self._serve_forever()
            while True:
                self.serve(None)
        except EOFError:
            if self._peer_misbehaved:
                raise ValueError(self._end_reason) from None
        except OSError:
            if not self.closed:
                raise
        finally:
            self.close()

    def serve_forever(self) -> None:
        """The same as :meth:`serve_all`."""
        self.serve_all()

    def serve_threaded(self, thread_count: int = 10) -> None:
        """Handle messages in several threads until the connection ends, then close it."""

        def serve() -> None:
            with contextlib.suppress(EOFError):
                while True:
                    self.serve(None)

        try:
            threads = [spawn(serve) for _ in range(thread_count)]
            for thread in threads:
                thread.join()
        finally:
            self.close()

    # The end.

    @property
    def closed(self) -> bool:
        """Whether the connection is closed, or being closed."""
        return self._closed

    def fileno(self) -> int:
        """The descriptor to wait on for reading."""
        fd: int = self._channel.fileno()
        return fd

    def close(self) -> None:
        """Close the connection: tell the peer, and let go of everything.

        Calls the config's ``before_closed`` with the root first, while requests still work. Closing
        again does nothing. The peer has ``close_timeout`` seconds, and no more than
        ``sync_request_timeout``, to answer.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
        try:
            before_closed = self._settings.get("before_closed")
            if before_closed is not None:
                before_closed(self.root)
            self._lift_request_limit()
            with self.timeout(self._settings["close_timeout"]):
                self.sync_request(consts.HANDLE_CLOSE)
        except (EOFError, TimeoutError):
            # The peer hangs up instead of answering, or is gone already.
            pass
        except Exception:
            if not self._settings["close_catchall"]:
                raise
        finally:
            self._cleanup()

    def _handle_heartbeat(self, seconds: float) -> None:
        heartbeat.beat(self, seconds)

    def _on_link_end(self) -> None:
        """The engine found that the link has ended."""
        if not self._closed:
            self.close()

    def _cleanup(self, _anyway: bool = True) -> None:
        """Let go of everything. The local root is told, once."""
        mine = object()
        # The first one's stays, in one step, and no lock is held where a signal may interrupt.
        if (self._closed and not _anyway) or self.__dict__.setdefault("_cleaned", mine) is not mine:
            return
        self._closed = True
        self._finish()
        heartbeat.forget(self)
        root = self._local_root
        try:
            with contextlib.suppress(EOFError):
                self._channel.close()
            if root is not None:
                root.on_disconnect(self)
        finally:
            self._clear_tables()
            self.__dict__.pop("_netref_classes_cache", None)
            self._local_root = None
            self._remote_root = None

    def _connection_lost(self, text: str, cause: str, operation: str | None) -> ConnectionLost:
        """Make the error of a wait that the end of the connection has ended."""
        what = (
            f"{self._peer} is not served any more"
            if operation is None
            else (f"no answer to {operation} from {self._peer}")
        )
        return ConnectionLost(f"{text}: {what}{self._lost_hint}", cause, self._peer, operation)

    # Names that programs look at.

    @property
    def _HANDLERS(self) -> dict[int, Handler]:  # noqa: N802 - RPyC's name
        """The handlers of this connection by number; may be changed."""
        table = self.__dict__.get("_handler_table")
        if table is None:
            # The notice must not keep the connection alive.
            me = weakref.ref(self)
            table = WatchedDict(self._request_handlers(), lambda: _note_handlers(me()))
            self.__dict__["_handler_table"] = table
        return table

    @_HANDLERS.setter
    def _HANDLERS(self, table: dict[int, Handler]) -> None:  # noqa: N802
        self.__dict__["_handler_table"] = table
        _note_handlers(self)

    @property
    def _recvlock(self) -> ReadLock:
        return ReadLock(self)

    # The engine needs none of these.
    _sendlock = on_demand("_sendlock", threading.Lock)
    _send_queue = on_demand("_send_queue", deque)
    _recv_event = on_demand("_recv_event", threading.Condition)
    _threads = on_demand("_threads", dict)

    @property
    def _seqcounter(self) -> Iterator[int]:
        """Takes sequence numbers."""
        return iter(self._get_seq_id, None)


class _EngineIO:
    """What a stream tells when it is closed: the connection that drives its descriptor."""

    __slots__ = ("_conn",)

    def __init__(self, conn: Connection) -> None:
        self._conn = weakref.ref(conn)

    def close(self) -> bool:
        conn = self._conn()
        if conn is None:
            return False
        conn._finish()
        return True


def _note_handlers(conn: Connection | None) -> None:
    if conn is not None:
        conn.__dict__["_handlers_changed"] = True
        _rpyc.extension_changed()


native.remember(Connection)

# Seconds that the end of the interpreter waits for requests that daemon threads perform.
atexit.register(_rpyc.quiesce, 1.0)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_rpyc.prepare_fork, after_in_child=_rpyc.note_fork)

sys.modules[__name__].__class__ = watched_module(
    {"get_id_pack", "AsyncResult", "DEFAULT_CONFIG"}, _rpyc.extension_changed
)
