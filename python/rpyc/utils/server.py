"""Servers: accept connections and serve them.

================================  =============================================
:class:`ThreadedServer`           one thread per connection
:class:`ThreadPoolServer`         a fixed number of threads for all connections
:class:`OneShotServer`            serves one connection, then closes itself
:class:`ForkingServer`            one child process per connection
:class:`GeventServer`             one greenlet per connection
================================  =============================================

All are subclasses of :class:`Server`, which documents their parameters.
"""

from __future__ import annotations

from rpyc.utils._servers.base import Server
from rpyc.utils._servers.forking import ForkingServer
from rpyc.utils._servers.greenlets import GeventServer
from rpyc.utils._servers.pool import ThreadPoolServer
from rpyc.utils._servers.threaded import OneShotServer, ThreadedServer

__all__ = [
    "ForkingServer",
    "GeventServer",
    "OneShotServer",
    "Server",
    "ThreadPoolServer",
    "ThreadedServer",
]
