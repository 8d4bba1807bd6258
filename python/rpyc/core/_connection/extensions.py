"""What a peer can do beyond RPyC's protocol: learned when it is needed first.

Nothing is exchanged when a connection starts. A peer that has extensions answers a request for their
names; RPyC answers it with an exception, and so says that it has none. (``protocol.md``, section 19.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rpyc.core import consts
from rpyc.core._connection.batch import Batch
from rpyc.core._connection.errors import ConnectionLost
from rpyc.core._connection.portable import PortablePath
from rpyc.core.async_ import AsyncResult

_OLD_DIALECT = 5
"""Peers that speak it have no extensions: they are never ours, or were told not to act like it."""


class Extensions(PortablePath):
    """Asks the peer for its extensions, and offers those that programs use by name."""

    def batch(self) -> Batch:
        """Collect calls in a block; they go out together and come back together::

            with conn.batch() as batch:
                results = [batch(conn.root.add, n, 1) for n in range(100)]
            print([result.value for result in results])

        ``batch(proxy, *args, **kwargs)`` returns an ``AsyncResult``. When the block ends, the calls
        are sent; the peer performs them one after the other, and all have their results or
        exceptions then. If the block is left with an exception, what was not sent is dropped.

        More than 1000 calls are sent in several messages, the first ones before the block ends.
        TimeoutError if the peer answers none of them within ``sync_request_timeout`` seconds.
        """
        return Batch(self)

    def _post(self, handler: int, args: tuple[Any, ...], waiter: Callable[[bool, Any], None]) -> None:
        """Queue a request; on the Python path, send it. ``waiter`` is called with the answer."""
        if self._native:
            self._queue(handler, args, waiter)
        else:
            self._async_request(handler, args, waiter)

    def _learn_features(self) -> None:
        """Ask the peer for its extensions, unless it is known already, and wait for the answer.

        TimeoutError after ``sync_request_timeout``, EOFError if the connection ended.
        """
        if not self._knows_features:
            asked = self._ask_features(self._settings["sync_request_timeout"])
            if asked is not None:
                asked.wait()
                self._note_features(asked)

    def _ask_features(self, timeout: float | None = None) -> AsyncResult | None:
        """Ask the peer for its extensions without waiting; None if nothing has to be asked.

        ``_knows_features`` turns true when the answer arrives within ``timeout`` seconds.
        """
        if self._knows_features:
            return None
        if self._dialect == _OLD_DIALECT:
            self._keep_features([])
            return None
        asked = self.async_request(consts.HANDLE_FEATURES, timeout=timeout)
        asked.add_callback(self._note_features)
        return asked

    def _note_features(self, answer: AsyncResult) -> None:
        # An exception: the peer does not know the question. An answer of another shape is no better.
        if isinstance(answer._obj, ConnectionLost):
            return
        names = () if answer.error else answer.value
        names = names if type(names) is tuple else ()
        self._keep_features([name for name in names if type(name) is str])
