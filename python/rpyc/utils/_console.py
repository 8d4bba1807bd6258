"""Working by hand on the other side of a classic connection."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rpyc.core.protocol import Connection

_STDIO = ("stdin", "stdout", "stderr")


@contextmanager
def redirected_stdio(conn: Connection) -> Iterator[None]:
    """Let the other side read and write this side's standard files, for a while.

    On exit the remote ``sys.stdin``, ``sys.stdout`` and ``sys.stderr`` are
    restored.
    """
    remote = conn.modules.sys
    originals = {name: getattr(remote, name) for name in _STDIO}
    try:
        for name in _STDIO:
            setattr(remote, name, getattr(sys, name))
        yield
    finally:
        for name, original in originals.items():
            setattr(remote, name, original)


def pm(conn: Connection) -> None:
    """Debug the last exception of the other side: a remote ``pdb.pm()``.

    :raises ValueError: no request of this connection has failed.
    """
    traceback = conn.root.getconn()._last_traceback
    if traceback is None:
        raise ValueError("pm: no request of this connection has raised an exception")
    with _unhurried(conn), redirected_stdio(conn):
        conn.modules.pdb.post_mortem(traceback)


def interact(conn: Connection, namespace: Mapping[str, Any] | None = None) -> None:
    """Run an interactive console on the other side, until end of file.

    :param namespace: names to offer there. The name ``conn`` is added: this
        connection.
    """
    names = {**(namespace or {}), "conn": conn}
    with _unhurried(conn), redirected_stdio(conn):
        # A real dict over there: a proxy cannot be the globals of a console.
        conn.modules.code.interact(local=conn.builtins.dict(names))


@contextmanager
def _unhurried(conn: Connection) -> Iterator[None]:
    """Let requests wait for a person, in both directions."""
    configs: tuple[Any, Any] = (conn._config, conn.root.getconn()._config)
    timeouts = [config["sync_request_timeout"] for config in configs]
    try:
        for config in configs:
            config["sync_request_timeout"] = None
        yield
    finally:
        for config, timeout in zip(configs, timeouts, strict=True):
            config["sync_request_timeout"] = timeout
