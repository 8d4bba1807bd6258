"""Batches: calls that go out together and come back together.

A batch collects calls and the results that were promised for them. To a peer of this package it sends
them as one request (``protocol.md``, section 19), which costs a fraction of the single requests; to
RPyC it sends as many requests, in few writes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rpyc import _rpyc
from rpyc.core import consts
from rpyc.core.async_ import AsyncResult

if TYPE_CHECKING:
    from typing_extensions import Self

    from rpyc.core._connection.extensions import Extensions

_MAX_UNANSWERED = 4
"""Messages with calls that may wait for an answer, before more are sent."""


class Batch(_rpyc.Calls):
    """Collects calls inside its ``with`` block; see ``Connection.batch``.

    ``batch(proxy, *args, **kwargs)`` collects the call of a remote object and returns an
    ``AsyncResult``. TypeError if it is no proxy of the connection, RuntimeError after the block.
    """

    def __init__(self, conn: Extensions) -> None:
        self._conn = conn
        # For each message under way, the results that come with its answer.
        self._unanswered: deque[list[AsyncResult]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, typ: type[BaseException] | None, val: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._close()
        if typ is not None:
            why = f"the call was not sent: its batch was left with {typ.__name__}"
            while results := self._take()[1]:
                _complete(results, [True] * len(results), [RuntimeError(why)] * len(results))
            return
        while self._send():
            pass
        self._wait(0)

    def _send(self) -> bool:
        """Send what was collected, one message of it. False if there is nothing. Waits while too much is unanswered."""
        calls, results = self._take()
        if not calls:
            return False
        self._wait(_MAX_UNANSWERED - 1)
        answer = _Answer(self._conn, results)
        conn = self._conn
        try:
            together = conn._peer_has("batch")
            if together:
                try:
                    conn._post(consts.HANDLE_BATCH, calls, answer)
                except Exception:
                    # An argument that can't be sent, most likely. Its call is to fail, and no other.
                    together = False
            if not together:
                for call, result in zip(calls, results, strict=True):
                    _send_alone(conn, call, result)
            conn._flush()
        except BaseException as error:
            answer(True, error)
            raise
        self._unanswered.append(results)
        return True

    def _wait(self, most: int) -> None:
        """Wait until no more than ``most`` messages are unanswered.

        TimeoutError if none is answered within ``sync_request_timeout``.
        """
        while len(self._unanswered) > most:
            for result in self._unanswered[0]:
                if not result._is_ready:
                    _wait_for(result, self._conn._settings["sync_request_timeout"])
            self._unanswered.popleft()


class _Answer:
    """What waits for the answer to a message with calls."""

    __slots__ = ("_conn", "_results")

    def __init__(self, conn: Extensions, results: list[AsyncResult]) -> None:
        self._conn = conn
        self._results = results

    def __call__(self, is_exc: bool, obj: Any) -> None:
        count = len(self._results)
        if is_exc:
            _complete(self._results, [True] * count, [obj] * count)
            return
        if not _is_answer(obj):
            why = ValueError("the peer's answer to a batch is no pair of results and positions of exceptions")
            _complete(self._results, [True] * count, [why] * count)
            return
        values, failures = list(obj[0]), obj[1]
        failed = [False] * len(values)
        for position in failures:
            failed[position] = True
            try:
                values[position] = self._conn._unbox_exc(values[position])
            except (TypeError, ValueError) as error:
                values[position] = error
        if len(values) != count:
            missing = EOFError("the peer ended the connection before it performed the call")
            failed += [True] * (count - len(values))
            values += [missing] * (count - len(values))
        _complete(self._results, failed, values)


def _is_answer(obj: Any) -> bool:
    """Whether an answer has the form that it must have. Proxies in its place could have items for ever."""
    if type(obj) is not tuple or tuple(map(type, obj)) != (tuple, tuple):
        return False
    values, failures = obj
    return all(type(position) is int and 0 <= position < len(values) for position in failures)


def _complete(results: list[AsyncResult], failed: Iterable[bool], values: Iterable[Any]) -> None:
    """Give results their values. A failing callback of one does not keep the others waiting."""
    first: BaseException | None = None
    for result, is_exc, value in zip(results, failed, values, strict=False):
        try:
            result(is_exc, value)
        except BaseException as error:
            first = first or error
    if first is not None:
        raise first


def _send_alone(conn: Extensions, call: tuple[Any, ...], result: AsyncResult) -> None:
    """Send one call as a request of its own."""
    target, args, kwargs, *name = call
    handler = consts.HANDLE_CALLATTR if name else consts.HANDLE_CALL
    try:
        conn._post(handler, (target, *name, args, kwargs), result)
    except EOFError:
        raise
    except Exception as error:
        result(True, error)


def _wait_for(result: AsyncResult, timeout: float | None) -> None:
    if type(result) is _rpyc.AsyncResult:
        result.wait(timeout)
    else:
        # A program's own: it may know no time limit of a wait.
        result.set_expiry(timeout)
        result.wait()
