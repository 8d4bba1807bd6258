"""Zero-deploy, with a stand-in for the other machine: real copies, real processes, real tunnels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, eventually

import rpyc
from rpyc.core.stream import SocketStream
from rpyc.utils import zerodeploy
from rpyc.utils.zerodeploy import DeployedServer, MultiServerDeployment, TimeoutExpired


class Folder:
    """A path of the machine, with plumbum's operations."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.path / name)

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def __fspath__(self) -> str:
        return str(self.path)


class Process(subprocess.Popen):  # type: ignore[type-arg]
    """Notes with which timeouts it was waited for."""

    timeouts: list[Any]

    def communicate(self, input: Any = None, timeout: Any = None) -> Any:
        self.__dict__.setdefault("timeouts", []).append(timeout)
        return super().communicate(input, timeout)


class Interpreter:
    """A command of the machine."""

    def __init__(self, *argv: str) -> None:
        self.argv = argv
        self.started: list[Process] = []

    def popen(self, script: Folder, new_session: bool) -> Process:
        assert new_session
        pipe = subprocess.PIPE
        self.started.append(
            Process([*self.argv, str(script.path)], stdin=pipe, stdout=pipe, stderr=pipe)
        )
        return self.started[-1]


class Session:
    """The session of a machine or a tunnel."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self.proc = Process([sys.executable, "-c", "input()"], stdin=pipe, stdout=pipe, stderr=pipe)


class Machine:
    """Looks like plumbum's `SshMachine`; its tunnels lead back to this machine."""

    def __init__(self, python: Interpreter | None = None, versioned: bool = True) -> None:
        self.python = python or Interpreter(sys.executable)
        self.versioned = versioned
        self.asked: list[str] = []
        self.folder: Path | None = None
        self.tunnels: list[Tunnel] = []
        self.closed = 0
        self._session = Session()

    def __getitem__(self, name: str) -> Interpreter:
        self.asked.append(name)
        if not self.versioned:
            raise AttributeError(name)
        return self.python

    def tempdir(self) -> Any:
        return TempDir(self)

    def upload(self, source: str, target: Folder) -> None:
        shutil.copytree(source, target.path)

    def tunnel(self, local_port: int, remote_port: int) -> Any:
        self.tunnels.append(Tunnel(local_port, remote_port))
        return self.tunnels[-1]

    def close(self) -> None:
        self.closed += 1


class TempDir:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def __enter__(self) -> Folder:
        self.machine.folder = Path(tempfile.mkdtemp())
        return Folder(self.machine.folder)

    def __exit__(self, *_: object) -> None:
        assert self.machine.folder is not None
        shutil.rmtree(self.machine.folder, ignore_errors=True)


class Tunnel:
    """Only remembers; the stand-in's `_connect` below goes the direct way."""

    def __init__(self, local_port: int, remote_port: int) -> None:
        self.local_port, self.remote_port = local_port, remote_port
        self.closed = 0
        self._session = Session()

    def close(self) -> None:
        self.closed += 1


class DirectMachine(Machine):
    """Looks like plumbum's `ParamikoMachine`: makes sockets itself."""

    def connect_sock(self, port: int) -> Any:
        return SocketStream._connect("localhost", port)


@pytest.fixture
def machines(leak_check: None) -> Iterator[list[Machine]]:
    """The machines of a test; after it nothing of them may be left."""
    used: list[Machine] = []
    yield used
    for machine in used:
        for session in (machine._session, *(tunnel._session for tunnel in machine.tunnels)):
            session.proc.kill()
            with session.proc:
                pass
        for process in machine.python.started:
            process.kill()
            with process:
                pass
        assert machine.folder is None or not machine.folder.exists()


@pytest.fixture
def machine(machines: list[Machine]) -> DirectMachine:
    made = DirectMachine()
    machines.append(made)
    return made


def test_deploys_connects_and_cleans_up(machine: DirectMachine) -> None:
    with DeployedServer(machine) as server:
        assert server.local_port is None
        assert machine.asked == [f"python{sys.version_info[0]}.{sys.version_info[1]}"]
        conn: Any = server.classic_connect()
        assert conn.modules.os.getpid() == server.proc.pid
        # The copy is what runs there.
        assert Path(conn.modules.rpyc.__file__).parent == machine.folder / "rpyc"  # type: ignore[operator]
        conn.close()
        plain = server.connect(rpyc.VoidService, {"connid": "plain"})
        assert plain.root.eval("1 + 1") == 2
        plain.close()
        function = server.classic_connect().modules.os.getpid
        process = server.proc
    with pytest.raises(EOFError):
        function()
    assert process.returncode is not None
    assert machine.closed == 1
    server.close()
    assert machine.closed == 1
    with pytest.raises(EOFError, match="was closed"):
        server.connect()


def test_the_far_side_removes_its_directory(machine: DirectMachine) -> None:
    server = DeployedServer(machine)
    server.proc.stdin.close()
    assert server.proc.wait(PATIENCE) == 0
    assert machine.folder is not None
    assert not machine.folder.exists()
    server.close()


def test_a_tunnel_is_used_where_there_are_no_direct_sockets(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    machines.append(machine)
    real = SocketStream._connect

    def connect(host: str, port: int, **options: Any) -> Any:
        (tunnel,) = machine.tunnels
        assert (host, port) == ("localhost", tunnel.local_port)
        return real(host, tunnel.remote_port, **options)

    monkeypatch.setattr(SocketStream, "_connect", staticmethod(connect))
    server = DeployedServer(machine)
    assert server.tun is machine.tunnels[0]
    assert (server.tun.local_port, server.tun.remote_port) == (
        server.local_port,
        server.remote_port,
    )
    conn: Any = server.classic_connect()
    assert conn.eval("6 * 7") == 42
    conn.close()
    waited = [server.proc, server.tun._session.proc, machine._session.proc]
    server.close(timeout=7)
    assert [process.timeouts for process in waited] == [[7], [7], [7]]
    assert machine.tunnels[0].closed == machine.closed == 1


def test_the_interpreter_can_be_chosen(machines: list[Machine]) -> None:
    version = sys.version_info
    for wanted, versioned, asked in (
        (None, False, [f"python{version[0]}.{version[1]}", f"python{version[0]}"]),
        ("some-python", True, ["some-python"]),
        (Interpreter(sys.executable), True, []),
    ):
        machine = DirectMachine(versioned=versioned)
        machines.append(machine)
        server = DeployedServer(machine, python_executable=wanted)
        server.classic_connect().close()
        server.close()
        assert machine.asked == asked
        if isinstance(wanted, Interpreter):
            with wanted.started[0]:
                pass


def test_server_service_and_setup_can_be_chosen(machine: DirectMachine) -> None:
    server = DeployedServer(
        machine,
        server_class="rpyc.utils.server.ThreadPoolServer",
        service_class="rpyc.core.service.ClassicService",
        extra_setup="ServiceCls.exposed_extra = 'extra'\nimport logging\nlogger = logging.getLogger('own')",
    )
    conn: Any = server.classic_connect()
    assert conn.root.exposed_extra == "extra"
    assert conn.eval("type(__import__('gc').get_objects).__name__") == "builtin_function_or_method"
    conn.execute(
        "import gc; kinds = {type(o).__name__ for o in gc.get_objects()}; loggers = __import__('logging').root.manager.loggerDict"
    )
    assert conn.eval("'ThreadPoolServer' in kinds and 'own' in loggers")
    conn.close()
    server.close()


def test_the_script_can_be_chosen(machine: DirectMachine) -> None:
    script = zerodeploy.SERVER_SCRIPT.replace(
        "logger = None", "os.environ['MARK'] = '$SERVICE_CLASS$'; logger = None"
    )
    server = DeployedServer(machine, server_script=script)
    conn: Any = server.classic_connect()
    assert conn.modules.os.environ["MARK"] == "SlaveService"
    conn.close()
    server.close()


# ------------------------------------------------------------------------- failures


def expect_failure(machine: Machine, text: str, **options: Any) -> None:
    before = machine.closed
    with pytest.raises((RuntimeError, OSError)) as info:
        DeployedServer(machine, **options)
    assert text in str(info.value)
    # What was made is gone, and the machine is closed, as after a deployment that succeeds.
    assert machine.closed == before + 1
    assert machine.folder is not None
    assert not machine.folder.exists()
    eventually(lambda: all(process.poll() is not None for process in machine.python.started))


def test_a_python_that_cannot_load_the_package_says_so(machine: DirectMachine) -> None:
    real = machine.upload

    def upload(source: str, target: Folder) -> None:
        real(source, target)
        # As if compiled for another platform.
        broken = "raise ImportError('_rpyc.so: wrong ELF class')\n"
        (target.path / "__init__.py").write_text(broken)

    machine.upload = upload  # type: ignore[method-assign]
    expect_failure(machine, "the deployed package cannot be loaded by CPython")
    expect_failure(machine, "wrong ELF class")


def test_an_error_of_the_setup_is_told(machine: DirectMachine) -> None:
    expect_failure(machine, "ZeroDivisionError", extra_setup="1 / 0")


def test_a_program_that_is_no_server_is_told(machine: DirectMachine) -> None:
    expect_failure(machine, "what now?", server_script="print('what now?'); input()")


def test_a_silent_program_is_not_waited_for_for_ever(
    machine: DirectMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zerodeploy, "_START_TIMEOUT", 0.3)
    expect_failure(machine, "", server_script="input()")


def test_a_process_that_does_not_end_is_killed(machine: DirectMachine) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    script = zerodeploy.SERVER_SCRIPT.replace("sys.stdin.read()", "import time; time.sleep(600)")
    server = DeployedServer(machine, extra_setup=stubborn, server_script=script)
    process = server.proc
    with pytest.raises(TimeoutExpired):
        server.close(timeout=0.2)
    assert process.wait(PATIENCE) == -9
    # The other steps were done all the same.
    assert machine.closed == 1
    server.close()
    assert machine.folder is not None
    eventually(lambda: not machine.folder.exists())  # type: ignore[union-attr]


def test_names_for_programs_with_plumbum(monkeypatch: pytest.MonkeyPatch) -> None:
    assert zerodeploy.TimeoutExpired is subprocess.TimeoutExpired
    monkeypatch.setitem(sys.modules, "plumbum.commands.processes", None)
    with pytest.raises(ImportError, match="pip install plumbum"):
        _ = zerodeploy.ProcessExecutionError
    with pytest.raises(AttributeError):
        _ = zerodeploy.nothing_of_this_name


# -------------------------------------------------------------------- several servers


def test_several_machines(machines: list[Machine]) -> None:
    machines.extend(DirectMachine() for _ in range(2))
    with MultiServerDeployment(machines) as deployment:
        assert len(deployment) == 2
        assert [server.remote_machine for server in deployment] == machines
        assert deployment[0].remote_machine is machines[0]
        conns: list[Any] = deployment.classic_connect_all()
        pids = [conn.modules.os.getpid() for conn in conns]
        assert pids == [server.proc.pid for server in deployment]
        for conn in (*conns, *deployment.connect_all()):
            conn.close()
    assert [machine.closed for machine in machines] == [1, 1]
    assert len(deployment) == 0
    assert os.getpid() not in pids


def test_a_failure_on_one_machine_ends_the_deployment(machines: list[Machine]) -> None:
    machines.append(DirectMachine())
    machines.append(DirectMachine(Interpreter(sys.executable, "-c", "print('no')")))
    with pytest.raises((RuntimeError, OSError), match="no"):
        MultiServerDeployment(machines)
    assert machines[0].closed == 1
