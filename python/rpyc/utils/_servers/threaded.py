"""Servers that serve a connection in one thread of its own."""

from __future__ import annotations

import socket

from rpyc.lib.threads import launch
from rpyc.utils._servers.base import Server


class ThreadedServer(Server):
    """Serves each connection in a new daemon thread.

    Authentication and the service's ``on_connect`` run in that thread too, so a
    slow client delays nobody.
    """

    def _accept_method(self, sock: socket.socket) -> None:
        try:
            launch(self._authenticate_and_serve_client, sock)
        except RuntimeError as exc:
            self._journal.error("client turned away: %s", exc)
            self._dismiss(sock)


class OneShotServer(Server):
    """Serves the first connection in the thread that accepts, then closes itself."""

    def _accept_method(self, sock: socket.socket) -> None:
        try:
            self._authenticate_and_serve_client(sock)
        finally:
            self.close()
