"""Small tools around proxies and connections."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from threading import Event, Thread, current_thread
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakValueDictionary

from rpyc._rpyc import fetch_if_just_read
from rpyc.core.consts import HANDLE_BUFFITER, HANDLE_CALL
from rpyc.core.netref import BaseNetref, asyncreq, syncreq
from rpyc.lib import spawn

if TYPE_CHECKING:
    from rpyc.core.async_ import AsyncResult
    from rpyc.core.protocol import Connection

__all__ = [
    "HANDLE_BUFFITER",
    "HANDLE_CALL",
    "BgServingThread",
    "async_",
    "asyncreq",
    "buffiter",
    "classpartial",
    "restricted",
    "syncreq",
    "timed",
]

_T = TypeVar("_T")


def buffiter(obj: Any, chunk: int = 10, max_chunk: int = 1000, factor: int = 2) -> Iterator[Any]:
    """Iterate over a remote iterable, fetching its items in growing batches.

    :param obj: a proxy of an iterable.
    :param chunk: number of items of the first request; 0 yields nothing.
    :param max_chunk: limit for the number of items of one request.
    :param factor: each batch is this many times larger than the one before.

    A ``factor`` below 1 raises :class:`ValueError` at the first ``next``. An
    object that is no proxy raises :class:`AttributeError`.
    """
    if factor < 1:
        raise ValueError(f"buffiter: factor must be at least 1, not {factor!r}")
    source = iter(obj)
    size = min(chunk, max_chunk)
    while items := syncreq(source, HANDLE_BUFFITER, size):
        yield from items
        size = min(size * factor, max_chunk)


def restricted(obj: Any, attrs: Container[str], wattrs: Container[str] | None = None) -> Any:
    """Wrap an object so that only some of its attributes are reachable.

    :param obj: the object to guard.
    :param attrs: names that may be read.
    :param wattrs: names that may be written; by default those of ``attrs``,
        ``()`` makes a read-only view.

    The rule holds locally and for peers, whatever the connection's
    configuration says. Other names raise :class:`AttributeError`.
    """
    writable = attrs if wattrs is None else wattrs

    class Restricted:
        def _rpyc_getattr(self, name: str) -> Any:
            if name not in attrs:
                raise AttributeError(name)
            return getattr(obj, name)

        __getattr__ = _rpyc_getattr

        def _rpyc_setattr(self, name: str, value: Any) -> None:
            if name not in writable:
                raise AttributeError(name)
            setattr(obj, name, value)

        __setattr__ = _rpyc_setattr

    return Restricted()


class _Async:
    """The asynchronous form of a remote callable; made by :func:`async_`."""

    __slots__ = ("__weakref__", "proxy")

    def __init__(self, proxy: Any) -> None:
        self.proxy = proxy

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Send the call and return its result-to-be without waiting."""
        result: AsyncResult = asyncreq(self.proxy, HANDLE_CALL, args, tuple(kwargs.items()))
        return result

    def __repr__(self) -> str:
        return f"async_({self.proxy!r})"


# Keyed by the id of the proxy. An entry lives as long as its wrapper, and the
# wrapper holds the proxy, so an id is never reused while it is a key.
_async_proxies_cache: WeakValueDictionary[int, _Async] = WeakValueDictionary()


def async_(proxy: Any) -> _Async:
    """Return the asynchronous form of a remote callable.

    Calling it returns an :class:`~rpyc.core.async_.AsyncResult` at once. The
    same proxy gives the same wrapper while that lives, and a wrapper gives
    itself. Also reachable as the attribute named ``async``.

    :raises TypeError: ``proxy`` is no proxy, or is not callable.
    """
    # Looked at by its type only: what else a proxy is asked for may be a request.
    kind = type(proxy)
    if issubclass(kind, _Async):
        return cast("_Async", proxy)
    known = _async_proxies_cache.get(id(proxy))
    if known is not None:
        return known
    if issubclass(kind, BaseNetref):
        fetch_if_just_read(proxy)
    elif not hasattr(proxy, "____conn__") or not hasattr(proxy, "____id_pack__"):
        raise TypeError(f"'proxy' must be a Netref: {proxy!r}")
    if not callable(proxy):
        raise TypeError(f"'proxy' must be callable: {proxy!r}")
    wrapper = _Async(proxy)
    _async_proxies_cache[id(proxy)] = wrapper
    return wrapper


# "async" became a keyword; programs still reach the old name by getattr.
globals()["async"] = async_


class timed:  # noqa: N801 (the name of RPyC's API)
    """A remote callable whose asynchronous results expire.

    :param proxy: a proxy of a callable, or what :func:`async_` returned for it.
    :param timeout: seconds a result may take, counted from the call.

    Calling it returns an :class:`~rpyc.core.async_.AsyncResult` with that
    expiry; reading its value later raises
    :class:`~rpyc.core.async_.AsyncResultTimeout` if it came too late.
    """

    __slots__ = ("__weakref__", "proxy", "timeout")

    def __init__(self, proxy: Any, timeout: float | None) -> None:
        self.proxy = async_(proxy)
        self.timeout = timeout

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Send the call and return its result-to-be."""
        result = self.proxy(*args, **kwargs)
        result.set_expiry(self.timeout)
        return result

    def __repr__(self) -> str:
        return f"timed({self.proxy.proxy!r}, {self.timeout!r})"


class BgServingThread:
    """A daemon thread that serves a connection's incoming requests.

    :param conn: the connection to serve.
    :param callback: called without arguments when serving fails, for instance
        because the connection ended. Without it the error is raised in the
        thread.
    :param serve_interval: seconds of each attempt to serve.
    :param sleep_interval: seconds to sleep between two attempts.

    By default the thread waits for data, so a request is served when it arrives.
    It steps aside while other threads make calls one after the other, because they
    get their answers sooner if they read them themselves: a request is served by one
    of them then, or two milliseconds after the last call at the latest. A caller
    that names one of the intervals gets the polling loop that RPyC has, with
    :attr:`SERVE_INTERVAL` and :attr:`SLEEP_INTERVAL` for the one not named.

    The thread starts at once. Which thread of the process runs a given request
    is not determined while others wait on the same connection.
    """

    #: Seconds of one attempt to serve, in the polling loop.
    SERVE_INTERVAL = 0.0
    #: Seconds between two attempts, in the polling loop.
    SLEEP_INTERVAL = 0.1
    # How long one wait for data lasts. Data ends it at once; only stop() on an
    # idle connection ever sees the rest of it.
    _WAIT = 0.05
    # For how long at a time it steps aside, if calls follow each other within that time.
    _ASIDE = 0.001

    def __init__(
        self,
        conn: Connection,
        callback: Callable[[], object] | None = None,
        serve_interval: float | None = None,
        sleep_interval: float | None = None,
    ) -> None:
        self._polls = (serve_interval, sleep_interval) != (None, None)
        if serve_interval is None:
            serve_interval = self.SERVE_INTERVAL if self._polls else self._WAIT
        self._serve_interval = serve_interval
        self._sleep_interval = self.SLEEP_INTERVAL if sleep_interval is None else sleep_interval
        self._conn: Connection | None = conn
        self._callback = callback
        self._active = True
        self._passed_on_at = 0.0
        self._stopped = Event()
        self._thread: Thread = spawn(self._bg_server)

    def __del__(self) -> None:
        # A constructor that failed leaves no thread to stop.
        if "_thread" in self.__dict__ and self._active:
            self.stop()

    def stop(self) -> None:
        """End the thread, wait for it, and forget the connection.

        :raises AssertionError: it was stopped before, or serving failed.
        """
        if not self._active:
            raise AssertionError(
                "this BgServingThread is not running: it was stopped, or its connection failed"
            )
        self._active = False
        self._stopped.set()
        # A request that calls stop() runs in the very thread to be ended.
        if self._thread is not current_thread():
            self._thread.join()
        self._conn = None

    def _serve_considerately(self, conn: Connection) -> None:
        """Serve once. If that brought another thread's answer, soon after the last one, step aside until
        no thread gets any."""
        _, passed_on = answers = conn._answers
        conn.serve(self._serve_interval)
        if conn._answers[1] == passed_on:
            return
        before, self._passed_on_at = self._passed_on_at, monotonic()
        if self._passed_on_at - before > self._ASIDE:
            return
        while self._active and answers != conn._answers:
            answers = conn._answers
            self._stopped.wait(self._ASIDE)

    def _bg_server(self) -> None:
        conn = self._conn
        try:
            while self._active and conn is not None:
                if self._polls:
                    conn.serve(self._serve_interval)
                    if self._sleep_interval > 0:
                        self._stopped.wait(self._sleep_interval)
                else:
                    self._serve_considerately(conn)
        except Exception:
            if not self._active:
                return
            self._active = False
            if self._callback is None:
                raise
            self._callback()


def classpartial(cls: type[_T], /, *args: Any, **kwargs: Any) -> type[Any]:
    """Return a stand-in for a class that is instantiated without arguments.

    Instantiating it yields ``cls(*args, **kwargs)``. It keeps the name of the
    class, and so a service's name: give it to a server to have one service
    object per connection, each made with these arguments.
    """

    def make(_: object) -> _T:
        return cls(*args, **kwargs)

    namespace: dict[str, Any] = {
        "__slots__": (),
        "__new__": make,
        "__doc__": cls.__doc__,
        "__module__": cls.__module__,
    }
    metaclass: Any = type(cls)
    partial: type[Any] = metaclass(cls.__name__, (cls,), namespace)
    return partial
