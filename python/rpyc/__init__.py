"""RPyC, Remote Python Call: transparent and symmetric remote procedure calls.

A server offers a service::

    import rpyc
    from rpyc.utils.server import ThreadedServer

    class CalculatorService(rpyc.Service):
        @rpyc.exposed
        def add(self, a, b):
            return a + b

    ThreadedServer(CalculatorService, port=18861).start()

and a client uses it as if it were here::

    conn = rpyc.connect("localhost", 18861)
    conn.root.add(2, 3)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpyc import cli, version
from rpyc.core import (
    DEFAULT_CONFIG,
    STRICT,
    AsyncResult,
    AsyncResultTimeout,
    BaseNetref,
    Channel,
    ClassicService,
    Connection,
    ConnectionLost,
    GenericException,
    MasterService,
    PingError,
    PipeStream,
    Service,
    SlaveService,
    SocketStream,
    TunneledSocketStream,
    VoidService,
    is_cancelled,
)
from rpyc.lib import setup_logger, spawn
from rpyc.lib.deferred import lazily
from rpyc.utils import exposed, service
from rpyc.utils.factory import (
    connect,
    connect_by_service,
    connect_channel,
    connect_pipes,
    connect_stdpipes,
    connect_stream,
    connect_subproc,
    connect_thread,
    discover,
    list_services,
    ssh_connect,
    ssl_connect,
    unix_connect,
)
from rpyc.utils.helpers import BgServingThread, async_, buffiter, restricted, timed
from rpyc.version import __version__

if TYPE_CHECKING:
    from rpyc.utils import authenticators, classic, registry
    from rpyc.utils.reconnecting import ReconnectEvent, ReconnectingClient
    from rpyc.utils.server import ForkingServer, OneShotServer, ThreadedServer, ThreadPoolServer
else:
    # Programs that only connect need none of these.
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "ForkingServer": "rpyc.utils.server",
            "OneShotServer": "rpyc.utils.server",
            "ReconnectEvent": "rpyc.utils.reconnecting",
            "ReconnectingClient": "rpyc.utils.reconnecting",
            "ThreadPoolServer": "rpyc.utils.server",
            "ThreadedServer": "rpyc.utils.server",
            "authenticators": "rpyc.utils.authenticators",
            "classic": "rpyc.utils.classic",
            "registry": "rpyc.utils.registry",
        },
    )

__author__ = "The rpyc-rs contributors"

__all__ = [
    "DEFAULT_CONFIG",
    "STRICT",
    "AsyncResult",
    "AsyncResultTimeout",
    "BaseNetref",
    "BgServingThread",
    "Channel",
    "ClassicService",
    "Connection",
    "ConnectionLost",
    "ForkingServer",
    "GenericException",
    "MasterService",
    "OneShotServer",
    "PingError",
    "PipeStream",
    "ReconnectEvent",
    "ReconnectingClient",
    "Service",
    "SlaveService",
    "SocketStream",
    "ThreadPoolServer",
    "ThreadedServer",
    "TunneledSocketStream",
    "VoidService",
    "__author__",
    "__version__",
    "async_",
    "authenticators",
    "buffiter",
    "classic",
    "cli",
    "connect",
    "connect_by_service",
    "connect_channel",
    "connect_pipes",
    "connect_stdpipes",
    "connect_stream",
    "connect_subproc",
    "connect_thread",
    "discover",
    "exposed",
    "is_cancelled",
    "list_services",
    "registry",
    "restricted",
    "service",
    "setup_logger",
    "spawn",
    "ssh_connect",
    "ssl_connect",
    "timed",
    "unix_connect",
    "version",
]

# The name before it became a keyword; getattr() still reaches it.
globals()["async"] = async_
