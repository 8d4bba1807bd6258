"""The registry: servers announce their services, clients ask who offers what.

A registry is a small server (:class:`UDPRegistryServer` or
:class:`TCPRegistryServer`, also the command ``rpyc_registry``). Servers tell it
the names of their service and their port every minute; what was not repeated
for a while is forgotten. Clients ask it through :class:`UDPRegistryClient`,
which can find it by broadcast, or :class:`TCPRegistryClient`.

The message format is described in :mod:`rpyc.utils._registry.messages`.
"""

from __future__ import annotations

from rpyc.utils._registry.client import RegistryClient, TCPRegistryClient, UDPRegistryClient
from rpyc.utils._registry.messages import MAX_DGRAM_SIZE, REGISTRY_PORT, Address
from rpyc.utils._registry.server import DEFAULT_PRUNING_TIMEOUT, RegistryServer
from rpyc.utils._registry.transports import TCPRegistryServer, UDPRegistryServer

__all__ = [
    "DEFAULT_PRUNING_TIMEOUT",
    "MAX_DGRAM_SIZE",
    "REGISTRY_PORT",
    "Address",
    "RegistryClient",
    "RegistryServer",
    "TCPRegistryClient",
    "TCPRegistryServer",
    "UDPRegistryClient",
    "UDPRegistryServer",
]
