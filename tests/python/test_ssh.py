"""Zero-deploy and tunnels over real SSH, to a server of its own on loopback."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Rig, eventually, in_threads
from plumbum.commands import CommandNotFound, ProcessExecutionError
from plumbum.machines.remote import ClosedRemoteMachine
from ssh_server import SSHD, Far, Machine, Sshd, free_port

import rpyc
from rpyc.utils import zerodeploy
from rpyc.utils.zerodeploy import DeployedServer, MultiServerDeployment

pytestmark = pytest.mark.skipif(SSHD is None, reason="no sshd here (Debian: apt-get install openssh-server)")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture
def far(leak_check: None, sshd: Sshd) -> Iterator[Far]:
    """The other side; after the test nothing may be left of what ran there."""
    side = Far(sshd)
    try:
        yield side
    finally:
        side.close()
    eventually(side.nothing_left)
    assert not os.listdir(sshd.home)


# ----------------------------------------------------------------------- zero-deploy


def test_deploys_connects_and_leaves_nothing(far: Far) -> None:
    machine = far.machine()
    with DeployedServer(machine) as server:
        conn: Any = server.classic_connect()
        modules = conn.modules
        # It runs over there, with the Python of our version, and it is our package.
        assert "SSH_CONNECTION" in modules.os.environ
        assert modules.sys.executable == sys.executable
        (folder,) = far.sshd.temp.iterdir()
        assert Path(modules.rpyc.__file__).parent == folder / "rpyc"
        assert Path(modules["rpyc._rpyc"].__file__).parent == folder / "rpyc"
        assert modules.os.getpid() not in (os.getpid(), server.proc.pid)
        assert modules["xml.dom.minidom"].parseString("<a/>").documentElement.tagName == "a"
        conn.execute("def double(x): return 2 * x")
        assert conn.namespace["double"](21) == 42
        assert list(conn.modules.builtins.sorted([3, 1, 2], key=lambda x: -x)) == [3, 2, 1]
        assert isinstance(server.local_port, int)
        assert isinstance(server.remote_port, int)
        assert server.local_port != server.remote_port
        kept = modules.os.getpid
    with pytest.raises(EOFError):
        kept()
    assert machine.running() == []
    eventually(far.nothing_left)


def test_several_connections_to_one_server(far: Far) -> None:
    with DeployedServer(far.machine()) as server:
        plain = server.connect(rpyc.VoidService, {"connid": "plain"})
        assert plain._config["connid"] == "plain"
        assert plain.root.eval("6 * 7") == 42
        conns: list[Any] = in_threads(server.classic_connect, server.classic_connect)
        for number, conn in enumerate(conns):
            conn.namespace["number"] = number
        assert [conn.eval("number") for conn in conns] == [0, 1]
        # Larger than any window on the way, there and back.
        data = os.urandom(5_000_000)
        conns[0].namespace["data"] = data
        assert conns[0].eval("data[::-1]") == data[::-1]
        for conn in (plain, *conns):
            conn.close()


def test_server_and_service_and_setup_can_be_chosen(far: Far) -> None:
    setup = """
class Counter(ServiceCls):
    def exposed_where(self):
        return type(server).__name__
ServiceCls = Counter
"""
    machine = far.machine()
    with DeployedServer(
        machine,
        server_class="rpyc.utils.server.OneShotServer",
        service_class="rpyc.Service",
        server_script=zerodeploy.SERVER_SCRIPT + "print('script of ours')\n",
        extra_setup=setup,
        python_executable=machine[sys.executable]["-X", "dev"],
    ) as server:
        conn = server.connect()
        assert conn.root.where() == "OneShotServer"
        conn.close()
        process = server.proc
        process.stdin.close()
        assert process.stdout.readline() == b"script of ours\n"


def test_the_machine_s_environment_reaches_the_server(far: Far) -> None:
    machine = far.machine()
    machine.env["RPYC_BIND_THREADS"] = "true"
    with DeployedServer(machine) as server:
        conn: Any = server.connect(rpyc.ClassicService, {"bind_threads": True})
        assert conn.modules.os.environ["RPYC_BIND_THREADS"] == "true"
        assert list(conn.modules.builtins.sorted([3, 1, 2], key=lambda x: -x)) == [3, 2, 1]
        conn.close()


@pytest.mark.parametrize("timeouts", [(), (PATIENCE,)])
def test_close_passes_its_timeout(far: Far, timeouts: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    server = DeployedServer(far.machine())
    conn: Any = server.classic_connect()
    ended: list[tuple[Any, Any]] = []
    communicate = subprocess.Popen.communicate

    def noting(self: Any, input: Any = None, timeout: Any = None) -> Any:
        ended.append((self.pid, timeout))
        return communicate(self, input, timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", noting)
    expected = [server.proc.pid, server.tun._session.proc.pid, server.remote_machine._session.proc.pid]
    server.close(*timeouts)
    assert ended == [(pid, timeouts[0] if timeouts else None) for pid in expected]
    assert [server.proc, server.tun, server.remote_machine] == [None, None, None]
    server.close()
    assert len(ended) == 3
    with pytest.raises(EOFError):
        conn.eval("1")
    with pytest.raises(EOFError, match="was closed"):
        server.connect()


def test_a_broken_session_ends_the_server(far: Far) -> None:
    with DeployedServer(far.machine()) as server:
        conn: Any = server.classic_connect()
        sleep = rpyc.async_(conn.modules.time.sleep)(600)
        assert len(far.programs()) >= 1
        server.proc.kill()
        # Nobody told it to end: its standard input ended.
        with pytest.raises(EOFError):
            sleep.value  # noqa: B018
        eventually(lambda: not far.programs() and not os.listdir(far.sshd.temp))


def test_a_server_that_is_forgotten_closes(far: Far) -> None:
    machine = far.machine()
    server = DeployedServer(machine)
    assert far.programs()
    del server
    eventually(lambda: not machine.running())
    eventually(far.nothing_left)


def test_several_machines(far: Far) -> None:
    machines = [far.machine(), far.machine()]
    with MultiServerDeployment(machines) as deployment:
        assert len(deployment) == 2
        conns: list[Any] = deployment.classic_connect_all()
        pids = {conn.modules.os.getpid() for conn in conns}
        assert len(pids) == 2
        plain = deployment.connect_all()
        assert {conn.root.eval("__import__('os').getpid()") for conn in plain} == pids
        assert [server.remote_machine for server in deployment] == machines
        for conn in plain:
            conn.close()
        kept = [conn.modules.os.getpid for conn in conns]
    for function in kept:
        with pytest.raises(EOFError):
            function()
    assert [machine.running() for machine in machines] == [[], []]


# -------------------------------------------------------------- Pythons that do not suit


def refused(machine: Machine, error: type[OSError] = ProcessExecutionError, **options: Any) -> str:
    """Deploy in vain; the message. As in RPyC the machine is closed then, and nothing is left."""
    before = len(machine.processes)
    with pytest.raises(error) as info:
        DeployedServer(machine, **options)
    made = machine.processes[before:]
    assert made
    eventually(lambda: all(process.poll() is not None for process in made))
    with pytest.raises(ClosedRemoteMachine):
        machine["echo"]("still here")
    return str(info.value)


def test_a_python_that_cannot_load_the_extension(far: Far) -> None:
    # Of another version or platform: what it takes for an extension has another name.
    far.sshd.program("other-python", f"exec '{sys.executable}' -c '{WITHOUT_EXTENSIONS}' \"$@\"")
    text = refused(far.machine(), python_executable="other-python")
    assert f"cannot be loaded by CPython {sys.version.split()[0]} on " in text
    assert "_rpyc" in text
    assert_tells_the_way_out(text)


def test_a_python_of_another_time(far: Far) -> None:
    pythons = old_pythons()
    if not pythons:
        pytest.skip("no Python older than 3.10 here")
    for version, path in pythons.items():
        text = refused(far.machine(), python_executable=path)
        assert f"cannot be loaded by CPython {version}" in text
        assert_tells_the_way_out(text)


def assert_tells_the_way_out(text: str) -> None:
    assert f"built for CPython {sys.version_info[0]}.{sys.version_info[1]} on {os.uname().sysname}" in text
    assert "python_executable" in text


def test_a_python_that_is_not_there(far: Far) -> None:
    with pytest.raises(CommandNotFound, match="python-of-dreams"):
        DeployedServer(far.machine(), python_executable="python-of-dreams")
    assert "No such file" in refused(far.machine(), python_executable="/no/such/python")


def test_an_error_of_the_setup_is_told(far: Far) -> None:
    assert "ZeroDivisionError" in refused(far.machine(), extra_setup="1 / 0")


def test_a_tunnel_that_cannot_be_made(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    # The server runs by then, and has to end again.
    monkeypatch.setattr(zerodeploy, "_get_free_port", lambda: 65536)
    # plumbum reads what ssh says, or, if ssh is gone already, can't write to it.
    text = refused(far.machine(), OSError)
    assert "Bad local forwarding specification" in text or "Broken pipe" in text


# After this only what is on the path already has compiled modules.
WITHOUT_EXTENSIONS = """
import importlib.machinery, importlib.util, runpy, sys
importlib.util.find_spec("nothing_of_this_name")
sources = (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES)
sys.path_hooks[:] = [importlib.machinery.FileFinder.path_hook(sources)]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def old_pythons() -> dict[str, str]:
    """The oldest and the newest CPython here that is older than the package supports: version and path."""
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    paths = [*map(shutil.which, ("python2.7", "python3.8", "python3.9"))]
    for versions in ("2.*", "3.[0-9].*"):
        paths += glob.glob(f"{pyenv}/versions/{versions}/bin/python")
    found = {}
    for path in filter(None, paths):
        asked = subprocess.run(
            [path, "-c", "import platform; print(platform.python_version())"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=PATIENCE, text=True,
        )
        # A name that pyenv only keeps a place for says nothing.
        if version := asked.stdout.strip():
            found[version] = path
    ordered = sorted(found, key=lambda version: tuple(map(int, version.split(".")[:2])))
    return {version: found[version] for version in (*ordered[:1], *ordered[-1:])}


# ------------------------------------------------------------------------- tunnels


SERVER = """
import sys
from rpyc.utils import server
service = getattr(__import__("rpyc"), sys.argv[1])
made = server.ThreadedServer(service, hostname="localhost", port=0)
thread = made._start_in_thread()
print(made.port)
sys.stdin.read()
"""


@pytest.fixture
def classic_port(rig: Rig) -> Callable[[str], tuple[int, Any]]:
    """Starts a server process that only listens on loopback; its port and the process."""

    def start(service: str) -> tuple[int, Any]:
        program = rig.program(SERVER, service)
        return int(program.line()), program

    return start


def tunnel_process(conn: Any) -> Any:
    return conn._channel.stream.tun._session.proc


def test_classic_connect_through_a_tunnel(far: Far, classic_port: Callable[[str], tuple[int, Any]]) -> None:
    port, program = classic_port("ClassicService")
    conn: Any = rpyc.classic.ssh_connect(far.machine(), port)
    assert conn.modules.os.getpid() == program.process.pid
    # The peer of the server is sshd, not this process.
    assert conn.modules.sys.stdout.write("over the tunnel\n") == 16
    assert program.line() == "over the tunnel"
    data = os.urandom(5_000_000)
    conn.namespace["data"] = data
    assert conn.eval("data[::-1]") == data[::-1]
    process = tunnel_process(conn)
    assert process.poll() is None
    conn.close()
    process.wait(PATIENCE)
    with pytest.raises(EOFError):
        conn.eval("1")


@pytest.mark.parametrize("service", [rpyc.MasterService, rpyc.VoidService])
def test_services_through_a_tunnel(
    far: Far, classic_port: Callable[[str], tuple[int, Any]], service: type[rpyc.Service]
) -> None:
    port, program = classic_port("SlaveService")
    with rpyc.ssh_connect(far.machine(), port, service=service, config={"connid": "tunnelled"}) as conn:
        assert isinstance(conn._channel.stream, rpyc.TunneledSocketStream)
        assert conn._config["connid"] == "tunnelled"
        assert conn.root.getmodule("os").getpid() == program.process.pid
        if service is rpyc.MasterService:
            conn.modules.sys.stdout.write("master\n")
            assert program.line() == "master"


def test_tunnels_side_by_side(far: Far, classic_port: Callable[[str], tuple[int, Any]]) -> None:
    port, _ = classic_port("SlaveService")
    machine = far.machine()

    def connect() -> Any:
        return rpyc.ssh_connect(machine, port)

    conns = in_threads(connect, connect, connect)
    assert len({conn._channel.stream.tun.lport for conn in conns}) == 3
    for number, conn in enumerate(conns):
        conn.root.namespace["number"] = number
    assert [conn.root.eval("number") for conn in conns] == [0, 1, 2]
    for conn in conns:
        conn.close()


def test_the_end_of_the_tunnel_ends_the_connection(far: Far, classic_port: Callable[[str], tuple[int, Any]]) -> None:
    port, program = classic_port("SlaveService")
    conn: Any = rpyc.ssh_connect(far.machine(), port)
    sleep = rpyc.async_(conn.root.getmodule("time").sleep)(600)
    tunnel_process(conn).kill()
    with pytest.raises(EOFError):
        sleep.value  # noqa: B018
    conn.close()
    assert program.process.poll() is None


def test_nobody_at_the_end_of_the_tunnel(far: Far) -> None:
    machine = far.machine()
    with pytest.raises(EOFError):
        rpyc.classic.ssh_connect(machine, free_port())
    # The tunnel is not left open.
    session, tunnel = machine.processes
    assert tunnel.wait(PATIENCE) is not None
    assert session.poll() is None
