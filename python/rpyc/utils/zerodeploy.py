"""Deploying a server to another machine that only has Python.

The package is copied into a temporary directory there and started, and is gone
when the server ends. The machine is given as an object of plumbum
(``SshMachine``, ``ParamikoMachine``), or anything else with its methods
``tempdir``, ``upload``, ``tunnel`` and ``[command]``; plumbum itself is only
needed for what it provides.

The package holds an extension that was compiled for this platform and Python
version. Where the other Python cannot load it the deployment fails and says so.
"""

from __future__ import annotations

import os
import platform
import queue
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any

from rpyc.core.service import ClassicService, VoidService
from rpyc.core.stream import SocketStream
from rpyc.lib import spawn
from rpyc.utils.factory import _NO_CONFIG, _get_free_port, connect_stream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rpyc.core.protocol import Connection
    from rpyc.utils.factory import Config, ServiceLike

__all__ = ["SERVER_SCRIPT", "DeployedServer", "MultiServerDeployment", "TimeoutExpired"]

#: The program that runs on the other machine. ``$EXTRA_SETUP$`` is replaced by
#: code that may change the names ``logger``, ``ServerCls`` and ``ServiceCls``,
#: ``$BUILT_FOR$`` by the Python and the platform of the package here.
#: It prints the server's port, or one line with the word that the package
#: cannot be loaded; so it must be valid for every Python.
SERVER_SCRIPT = r"""
import atexit, os, platform, shutil, sys

here = os.path.dirname(os.path.abspath(__file__))
atexit.register(shutil.rmtree, here, True)
os.chdir(here)
for folder, subfolders, files in os.walk(here):
    if "__pycache__" in subfolders:
        subfolders.remove("__pycache__")
        shutil.rmtree(os.path.join(folder, "__pycache__"), True)

sys.path.insert(0, here)
try:
    from $SERVER_MODULE$ import $SERVER_CLASS$ as ServerCls
    from $SERVICE_MODULE$ import $SERVICE_CLASS$ as ServiceCls
except (ImportError, SyntaxError):
    error = str(sys.exc_info()[1]).replace("\n", " ")
    python = platform.python_implementation() + " " + platform.python_version()
    python += " on " + platform.platform()
    sys.stdout.write("the deployed package cannot be loaded by " + python + ": " + error)
    sys.stdout.write("; it was built for $BUILT_FOR$: name such a Python in python_executable\n")
    sys.stdout.flush()
    sys.exit(1)

logger = None
$EXTRA_SETUP$

server = ServerCls(ServiceCls, hostname="localhost", port=0, reuse_addr=True, logger=logger)
thread = server._start_in_thread()
sys.stdout.write(str(server.port) + "\n")
sys.stdout.flush()
try:
    sys.stdin.read()
finally:
    server.close()
    thread.join(2)
"""

# Seconds that the other machine may take to start the server.
_START_TIMEOUT = 60

# Seconds that a program may take to end after it printed something else than a port.
_END_TIMEOUT = 1


class DeployedServer:
    """A server on another machine, for as long as this object is open.

    :param remote_machine: the machine. Closing the server closes it, too.
    :param server_class: dotted name of the server class.
    :param service_class: dotted name of the service class.
    :param server_script: the program to run, with the placeholders of
        :data:`SERVER_SCRIPT`.
    :param extra_setup: Python code to run before the server is made.
    :param python_executable: the interpreter: a command of the machine, or its
        name there. By default one of this interpreter's version, else the
        machine's ``python``.

    Raises plumbum's ``ProcessExecutionError``, with the text of the other side,
    if the server does not start (:class:`RuntimeError` where plumbum is not
    installed).

    Attributes: ``remote_machine``, ``remote_port``, ``local_port`` (the tunnel's
    end, ``None`` if the machine connects directly), ``proc`` and ``tun``.
    """

    def __init__(
        self,
        remote_machine: Any,
        server_class: str = "rpyc.utils.server.ThreadedServer",
        service_class: str = "rpyc.core.service.SlaveService",
        server_script: str = SERVER_SCRIPT,
        extra_setup: str = "",
        python_executable: Any = None,
    ) -> None:
        self.proc: Any = None
        self.tun: Any = None
        self.remote_machine = remote_machine
        self.remote_port: int | None = None
        self.local_port: int | None = None
        self._tempdir: Any = remote_machine.tempdir()
        folder = self._tempdir.__enter__()
        try:
            script = folder / "deployed-rpyc.py"
            _copy_package(remote_machine, folder / "rpyc")
            script.write(_fill_in(server_script, server_class, service_class, extra_setup))
            python = _find_python(remote_machine, python_executable)
            self.proc = python.popen(script, new_session=True)
            self.remote_port = _read_port(self.proc, script)
            if not hasattr(remote_machine, "connect_sock"):
                self.local_port = _get_free_port()
                self.tun = remote_machine.tunnel(self.local_port, self.remote_port)
        except BaseException:
            with suppress(Exception):
                self.close(timeout=5)
            raise

    def __del__(self) -> None:
        # A constructor that failed at its first step leaves nothing to close.
        if "_tempdir" in self.__dict__:
            with suppress(Exception):
                self.close()

    def __enter__(self) -> DeployedServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def connect(
        self, service: ServiceLike = VoidService, config: Config = _NO_CONFIG
    ) -> Connection:
        """Connect to the server with the given local service."""
        return connect_stream(SocketStream(self._connect_sock()), service=service, config=config)

    def classic_connect(self) -> Connection:
        """Connect to the server in classic mode."""
        return self.connect(ClassicService)

    def close(self, timeout: float | None = None) -> None:
        """End the server, the tunnel and the machine's session, in this order.

        :param timeout: seconds that each process may take to end. One that
            takes longer is killed, and :class:`subprocess.TimeoutExpired` is
            raised. Other errors are ignored.
        """
        proc, self.proc = self.proc, None
        tunnel, self.tun = self.tun, None
        machine, self.remote_machine = self.remote_machine, None
        tempdir, self._tempdir = self._tempdir, None
        # All of it is closed, whichever of the steps fails; last in, first out.
        with ExitStack() as steps:
            if machine is not None:
                steps.callback(_end_session, machine, timeout)
            if tempdir is not None:
                # Over the machine's session. A server that started removes the folder itself.
                steps.callback(_leave, tempdir)
            if tunnel is not None:
                steps.callback(_end_session, tunnel, timeout)
            if proc is not None:
                steps.callback(_end_process, proc, timeout)

    def _connect_sock(self) -> Any:
        if self.remote_machine is None:
            raise EOFError("cannot connect to the deployed server: it was closed")
        if self.local_port is None:
            return self.remote_machine.connect_sock(self.remote_port)
        return SocketStream._connect("localhost", self.local_port)


class MultiServerDeployment:
    """A sequence of servers, one on each of several machines.

    :param remote_machines: the machines.
    :param server_class: dotted name of the server class.
    """

    def __init__(
        self, remote_machines: Iterable[Any], server_class: str = "rpyc.utils.server.ThreadedServer"
    ) -> None:
        self.remote_machines = list(remote_machines)
        self.servers: list[DeployedServer] = []
        try:
            for machine in self.remote_machines:
                self.servers.append(DeployedServer(machine, server_class))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> MultiServerDeployment:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[DeployedServer]:
        return iter(self.servers)

    def __len__(self) -> int:
        return len(self.servers)

    def __getitem__(self, index: int) -> DeployedServer:
        return self.servers[index]

    def connect_all(
        self, service: ServiceLike = VoidService, config: Config = _NO_CONFIG
    ) -> list[Connection]:
        """Connect to all servers, in order."""
        return [server.connect(service, config) for server in self.servers]

    def classic_connect_all(self) -> list[Connection]:
        """Connect to all servers in classic mode, in order."""
        return [server.classic_connect() for server in self.servers]

    def close(self) -> None:
        """Close all servers."""
        with ExitStack() as steps:
            while self.servers:
                steps.callback(self.servers.pop().close)


def _copy_package(machine: Any, target: Any) -> None:
    import rpyc

    source = os.path.dirname(os.path.abspath(rpyc.__file__))
    if hasattr(machine, "upload"):
        machine.upload(source, target)
    else:
        # A machine that has no way to upload shares our file system.
        shutil.copytree(source, target)


def _fill_in(script: str, server_class: str, service_class: str, extra_setup: str) -> str:
    for kind, name in (("SERVER", server_class), ("SERVICE", service_class)):
        module, _, cls = name.rpartition(".")
        script = script.replace(f"${kind}_MODULE$", module).replace(f"${kind}_CLASS$", cls)
    built_for = f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]}"
    script = script.replace("$BUILT_FOR$", f"{built_for} on {platform.platform()}")
    return script.replace("$EXTRA_SETUP$", extra_setup)


def _find_python(machine: Any, wanted: Any) -> Any:
    if isinstance(wanted, str):
        return machine[wanted]
    if wanted is not None:
        return wanted
    major, minor = sys.version_info[:2]
    for name in (f"python{major}.{minor}", f"python{major}"):
        # What a machine raises for an unknown command is its own affair;
        # plumbum's error is an AttributeError.
        with suppress(AttributeError, LookupError, OSError):
            return machine[name]
    return machine.python


def _read_port(proc: Any, script: Any) -> int:
    """Wait for the line with the server's port."""
    line = _within(_START_TIMEOUT, proc.stdout.readline)
    text = _text(line).strip()
    if text.isdigit():
        return int(text)
    # It may be about to end by itself, with all of its errors and its own status.
    with suppress(Exception):
        proc.wait(timeout=_END_TIMEOUT)
    with suppress(Exception):
        proc.terminate()
    # Its error output has an end only now.
    stdout, stderr = _within(_START_TIMEOUT, proc.communicate) or (b"", b"")
    argv = getattr(proc, "argv", [str(script)])
    raise _process_error(
        argv, getattr(proc, "returncode", None), f"{text}\n{_text(stdout)}", _text(stderr)
    )


def _within(seconds: float, func: Callable[[], Any]) -> Any:
    """Call something that may block; return ``None`` if it takes too long or fails."""
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def call() -> None:
        try:
            results.put(func())
        except Exception:
            results.put(None)

    spawn(call)
    try:
        return results.get(timeout=seconds)
    except queue.Empty:
        return None


def _text(data: Any) -> str:
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else str(data or "")


def _process_error(argv: Any, code: int | None, stdout: str, stderr: str) -> Exception:
    try:
        from plumbum.commands.processes import ProcessExecutionError
    except ImportError:
        said = f"{stdout.strip()}\n{stderr.strip()}"
        return RuntimeError(f"the deployed server did not start (exit status {code}): {said}")
    error: Exception = ProcessExecutionError(argv, code, stdout, stderr)
    return error


def _end_session(owner: Any, timeout: float | None) -> None:
    """Close a tunnel or a machine, after the process of its session."""
    session = getattr(owner, "_session", None)
    proc = getattr(session, "proc", None)
    try:
        if proc is not None:
            _end_process(proc, timeout)
    finally:
        with suppress(Exception):
            owner.close()


def _leave(tempdir: Any) -> None:
    # The program over there has removed it, most likely.
    with suppress(Exception):
        tempdir.__exit__(None, None, None)


def _end_process(proc: Any, timeout: float | None) -> None:
    try:
        proc.terminate()
        proc.communicate(timeout=timeout)
    except TimeoutExpired:
        proc.kill()
        raise
    # It may have ended by itself, or the way to it.
    except Exception:
        return


def __getattr__(name: str) -> Any:
    if name != "ProcessExecutionError":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from plumbum.commands.processes import ProcessExecutionError
    except ImportError as exc:
        raise ImportError("ProcessExecutionError is plumbum's: pip install plumbum") from exc
    return ProcessExecutionError
