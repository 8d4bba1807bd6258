"""A server that serves each connection in a greenlet."""

from __future__ import annotations

import socket
from typing import Any

from rpyc.utils._servers.base import Server


class GeventServer(Server):
    """Serves each connection in a new greenlet of gevent.

    The program must have called ``gevent.monkey.patch_all()`` before it
    imported anything else; otherwise the first waiting greenlet stops all.

    :raises ImportError: gevent is not installed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            import gevent
            from gevent import monkey
        except ImportError as exc:
            raise ImportError("GeventServer needs gevent: pip install gevent") from exc
        super().__init__(*args, **kwargs)
        self._spawn = gevent.spawn
        if not monkey.is_module_patched("socket"):
            self._journal.warning(
                "gevent has not patched the socket module: call gevent.monkey.patch_all() first"
            )

    def _accept_method(self, sock: socket.socket) -> None:
        self._spawn(self._authenticate_and_serve_client, sock)

    def _register(self) -> None:
        if self.auto_register:
            self._spawn(self._bg_register)
