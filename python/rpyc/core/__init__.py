"""The protocol: streams, channels, connections, netrefs, services."""

from __future__ import annotations

import sys

from rpyc.core import async_
from rpyc.core.async_ import AsyncResult, AsyncResultTimeout, is_cancelled
from rpyc.core.channel import Channel
from rpyc.core.netref import BaseNetref
from rpyc.core.protocol import DEFAULT_CONFIG, STRICT, Connection, ConnectionLost, PingError
from rpyc.core.service import (
    ClassicService,
    MasterService,
    Service,
    SlaveService,
    VoidService,
)
from rpyc.core.stream import PipeStream, SocketStream, TunneledSocketStream
from rpyc.core.vinegar import GenericException

__all__ = [
    "DEFAULT_CONFIG",
    "STRICT",
    "AsyncResult",
    "AsyncResultTimeout",
    "BaseNetref",
    "Channel",
    "ClassicService",
    "Connection",
    "ConnectionLost",
    "GenericException",
    "MasterService",
    "PingError",
    "PipeStream",
    "Service",
    "SlaveService",
    "SocketStream",
    "TunneledSocketStream",
    "VoidService",
    "is_cancelled",
]

# The module's name before "async" became a keyword; importlib still finds it.
sys.modules[f"{__name__}.async"] = async_
