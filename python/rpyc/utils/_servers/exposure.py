"""Noticing a server that hands the machine to everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpyc.core.service import Slave
from rpyc.utils._servers.listening import is_loopback

if TYPE_CHECKING:
    from rpyc.utils._servers.base import Server


def warn_if_exposed(server: Server) -> None:
    """Log a warning if a server gives full control to whoever reaches it from outside.

    A Unix socket is guarded by the permissions of its file.
    """
    service = server.service if isinstance(server.service, type) else type(server.service)
    if not issubclass(service, Slave) or server.authenticator is not None or not server.host:
        return
    if not is_loopback(server.host):
        server.logger.warning(
            "ANYBODY who can reach [%s]:%s can run any code as this user: %s gives full control, "
            "and there is no authenticator. Listen on 127.0.0.1, or give the server one.",
            server.host,
            server.port,
            service.__name__,
        )
