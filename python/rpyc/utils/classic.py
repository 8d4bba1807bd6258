"""Classic mode: full control of a remote interpreter.

Both sides of these connections are a ``ClassicService``: each may import,
evaluate and run anything on the other. Use it between trusted parties only.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rpyc.core.consts import STREAM_CHUNK
from rpyc.core.service import ClassicService, MasterService, ModuleNamespace, Slave
from rpyc.utils import factory
from rpyc.utils._console import interact, pm, redirected_stdio
from rpyc.utils._transfer import (
    download,
    download_dir,
    download_file,
    upload,
    upload_dir,
    upload_file,
    upload_module,
    upload_package,
)
from rpyc.utils._values import deliver, obtain, teleport_function

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType
    from typing import IO

    from rpyc.core.channel import Channel
    from rpyc.core.protocol import Connection
    from rpyc.core.stream import Stream
    from rpyc.utils.authenticators import ClientAuthenticator

__all__ = [
    "DEFAULT_SERVER_PORT",
    "DEFAULT_SERVER_SSL_PORT",
    "STREAM_CHUNK",
    "ClassicService",
    "MockClassicConnection",
    "ModuleNamespace",
    "Slave",
    "SlaveService",
    "connect",
    "connect_channel",
    "connect_multiprocess",
    "connect_pipes",
    "connect_stdpipes",
    "connect_stream",
    "connect_subproc",
    "connect_thread",
    "deliver",
    "download",
    "download_dir",
    "download_file",
    "factory",
    "interact",
    "obtain",
    "pm",
    "redirected_stdio",
    "ssh_connect",
    "ssl_connect",
    "teleport_function",
    "unix_connect",
    "upload",
    "upload_dir",
    "upload_file",
    "upload_module",
    "upload_package",
]

#: The port of a classic server.
DEFAULT_SERVER_PORT = 18812
#: The port of a classic server that speaks TLS.
DEFAULT_SERVER_SSL_PORT = 18821

#: Under this name programs find the service of classic connections here.
SlaveService = ClassicService


def connect_channel(channel: Channel) -> Connection:
    """Connect over a channel."""
    return factory.connect_channel(channel, SlaveService)


def connect_stream(stream: Stream) -> Connection:
    """Connect over a stream."""
    return factory.connect_stream(stream, SlaveService)


def connect_stdpipes() -> Connection:
    """Connect over this process's standard input and output."""
    return factory.connect_stdpipes(SlaveService)


def connect_pipes(input: IO[bytes], output: IO[bytes]) -> Connection:
    """Connect over a pair of file objects that have descriptors."""
    return factory.connect_pipes(input, output, SlaveService)


def connect(
    host: str,
    port: int | str = DEFAULT_SERVER_PORT,
    ipv6: bool = False,
    keepalive: bool | int = False,
    authenticator: ClientAuthenticator | None = None,
) -> Connection:
    """Connect over TCP; see :func:`rpyc.utils.factory.connect`."""
    return factory.connect(
        host, port, SlaveService, ipv6=ipv6, keepalive=keepalive, authenticator=authenticator
    )


def unix_connect(path: str, authenticator: ClientAuthenticator | None = None) -> Connection:
    """Connect over a Unix domain socket."""
    return factory.unix_connect(path, SlaveService, authenticator=authenticator)


def ssl_connect(
    host: str,
    port: int | str = DEFAULT_SERVER_SSL_PORT,
    keyfile: str | None = None,
    certfile: str | None = None,
    ca_certs: str | None = None,
    cert_reqs: int | None = None,
    ssl_version: int | None = None,
    ciphers: str | None = None,
    ipv6: bool = False,
    authenticator: ClientAuthenticator | None = None,
) -> Connection:
    """Connect over TLS; the parameters are those of :func:`rpyc.utils.factory.ssl_connect`.

    Here ``cert_reqs=ssl.CERT_NONE`` is allowed and is the same as the default.
    """
    import ssl

    return factory.ssl_connect(
        host,
        port,
        keyfile=keyfile,
        certfile=certfile,
        ca_certs=ca_certs,
        cert_reqs=None if cert_reqs == ssl.CERT_NONE else cert_reqs,
        ssl_version=ssl_version,
        ciphers=ciphers,
        service=SlaveService,
        ipv6=ipv6,
        authenticator=authenticator,
    )


def ssh_connect(remote_machine: Any, remote_port: int) -> Connection:
    """Connect through a tunnel; see :func:`rpyc.utils.factory.ssh_connect`."""
    return factory.ssh_connect(remote_machine, remote_port, SlaveService)


def connect_subproc(server_file: str | None = None) -> Connection:
    """Start a classic server as a child of this process and connect to it.

    :param server_file: the server's script; by default ``rpyc_classic.py`` on
        the search path. It is run with this interpreter.
    :raises ValueError: the script is not found.
    """
    import shutil

    if server_file is None:
        server_file = shutil.which("rpyc_classic.py")
    if not server_file:
        raise ValueError(
            "connect_subproc: rpyc_classic.py is not on PATH; give its path as server_file"
        )
    return factory.connect_subproc(
        [sys.executable, "-u", server_file, "-q", "-m", "stdio"], SlaveService
    )


def connect_thread() -> Connection:
    """Start a classic server in a thread and connect to it."""
    return factory.connect_thread(SlaveService, remote_service=SlaveService)


def connect_multiprocess(args: Mapping[str, Any] = factory._NO_CONFIG) -> Connection:
    """Start a classic server in a process and connect to it.

    :param args: objects to put into the remote namespace. Shared memory stays
        shared.
    """
    return factory.connect_multiprocess(SlaveService, remote_service=SlaveService, args=args)


class MockClassicConnection:
    """Looks like a classic connection, but works on this very interpreter.

    It has ``root``, ``modules``, ``eval``, ``execute``, ``namespace``,
    ``builtins`` (also ``builtin``) and ``teleport``.
    """

    modules: ModuleNamespace
    eval: Callable[[str], Any]
    execute: Callable[[str], None]
    namespace: dict[str, Any]
    builtins: ModuleType
    builtin: ModuleType
    teleport: Callable[..., Callable[..., Any]]

    def __init__(self) -> None:
        self.root = Slave()
        MasterService._install(self, self.root)
