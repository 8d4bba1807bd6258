"""A server that serves each connection in a child process."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Any

from rpyc.lib import spawn
from rpyc.utils._servers.base import Server


class ForkingServer(Server):
    """Forks for each connection; the child serves it and exits.

    Children outlive the server: closing it ends no connection. ``clients``
    stays empty in the parent.

    Children that ended are reaped by a handler of ``SIGCHLD``, installed by the
    constructor and removed by :meth:`close`, if both are called in the main
    thread. It calls the handler that was there before. Handlers only run when
    the main thread gets to it; so a server that runs in another thread keeps a
    waiting thread per child instead.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._children: set[int] = set()
        self._handles_sigchld = _in_main_thread()
        self._previous_handler: Any = None
        if self._handles_sigchld:
            self._previous_handler = signal.signal(signal.SIGCHLD, self._handle_sigchld)

    def close(self) -> None:
        """End the server. Its children go on."""
        if self._closed:
            return
        super().close()
        if self._handles_sigchld and _in_main_thread():
            self._restore_handler()
            for pid in list(self._children):
                spawn(self._wait_for, pid)

    def _connections(self) -> int:
        return len(self._children)

    def _accept_method(self, sock: socket.socket) -> None:
        # What is buffered now would be written by both processes.
        _flush_stdio()
        try:
            pid = os.fork()
        except OSError as exc:
            self._journal.error("client turned away: cannot fork: %s", exc)
            self._dismiss(sock)
            return
        if pid == 0:
            self._live_as_child(sock)
        # The connection belongs to the child now, so it is closed here but not
        # shut down.
        sock.close()
        self.clients.discard(sock)
        self._children.add(pid)
        if self._handles_sigchld and _in_main_thread():
            # It may have ended before it was known to be ours.
            self._reap(pid, os.WNOHANG)
        else:
            spawn(self._wait_for, pid)

    def _live_as_child(self, sock: socket.socket) -> None:
        """Serve the client, then end this process; never returns."""
        try:
            self._part_from_parent()
            self._authenticate_and_serve_client(sock)
        except KeyboardInterrupt:
            self._journal.warning("keyboard interrupt!")
        # The server's code has logged it. Nothing of the parent's stack, its
        # exit handlers included, may run in the child.
        except BaseException:
            self._journal.debug("child process ends with an error", exc_info=True)
        finally:
            logging.shutdown()
            _flush_stdio()
            os._exit(0)

    def _part_from_parent(self) -> None:
        """Give up what is the parent's: the listener, its children, its registration."""
        if self._handles_sigchld:
            self._restore_handler()
        self._children.clear()
        self._socket_file = None
        self.auto_register = False
        self.active = False
        self.listener.close()

    def _restore_handler(self) -> None:
        # None: the handler was installed by something other than Python.
        previous = signal.SIG_DFL if self._previous_handler is None else self._previous_handler
        # Equal, not identical: each access makes a new bound method.
        if signal.getsignal(signal.SIGCHLD) == self._handle_sigchld:
            signal.signal(signal.SIGCHLD, previous)

    def _handle_sigchld(self, signum: int, frame: Any) -> None:
        """Reap the own children that have ended, and nobody else's."""
        for pid in list(self._children):
            self._reap(pid, os.WNOHANG)
        if callable(self._previous_handler):
            self._previous_handler(signum, frame)

    def _wait_for(self, pid: int) -> None:
        self._reap(pid, 0)

    def _reap(self, pid: int, options: int) -> None:
        try:
            reaped, _ = os.waitpid(pid, options)
        except ChildProcessError:
            # Somebody else has reaped it.
            reaped = pid
        if reaped:
            self._children.discard(pid)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _flush_stdio() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
