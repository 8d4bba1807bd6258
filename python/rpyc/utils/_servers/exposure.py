"""Noticing a server that hands the machine to everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpyc.core.protocol import DEFAULT_CONFIG
from rpyc.core.service import Slave
from rpyc.utils._servers.listening import is_loopback

if TYPE_CHECKING:
    from rpyc.utils._servers.base import Server


def warn_if_exposed(server: Server) -> None:
    """Log a warning if a server gives full control to whoever reaches it from outside."""
    text = exposure(server)
    if text is not None:
        server._journal.warning("%s", text)


def exposure(server: Server) -> str | None:
    """What there is to warn of; ``None`` if only those have control who are meant to.

    A Unix socket is guarded by the permissions of its file.
    """
    reason = _gives_control(server)
    if reason is None or not server.host or is_loopback(server.host):
        return None
    if server.authenticator is None:
        lack = "there is no authenticator"
    elif _asks_nobody(server.authenticator):
        lack = "its TLS asks for no client certificate (ca_certs)"
    else:
        return None
    return (
        f"ANYBODY who can reach [{server.host}]:{server.port} can run any code as this user: "
        f"{reason}, and {lack}. Listen on 127.0.0.1, or give the server a TokenAuthenticator."
    )


def _gives_control(server: Server) -> str | None:
    service = server.service if isinstance(server.service, type) else type(server.service)
    if issubclass(service, Slave):
        return f"{service.__name__} gives full control"
    config = {**DEFAULT_CONFIG, **server.protocol_config}
    if config["allow_all_attrs"] and config["allow_getattr"]:
        # From any method to its globals it is one attribute.
        return "allow_all_attrs gives full control"
    return None


def _asks_nobody(authenticator: Any) -> bool:
    """Whether an authenticator lets everybody in: TLS without certificates of clients."""
    from rpyc.utils.authenticators import Chained, SSLAuthenticator

    if isinstance(authenticator, Chained):
        return all(map(_asks_nobody, authenticator.authenticators))
    return isinstance(authenticator, SSLAuthenticator) and not authenticator.asks_for_certificate
