"""The commands, as users start them."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, eventually

import rpyc
from rpyc.cli import rpyc_classic, rpyc_registry
from rpyc.core.service import SlaveService
from rpyc.utils import classic
from rpyc.utils.authenticators import SSLAuthenticator
from rpyc.utils.factory import connect_subproc
from rpyc.utils.registry import TCPRegistryClient, UDPRegistryClient
from rpyc.utils.server import ForkingServer, OneShotServer, ThreadedServer

Start = Callable[..., "Command"]


class Command:
    """A running command; its log is read line by line."""

    def __init__(self, name: str, *arguments: str) -> None:
        self._read = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"rpyc.cli.{name}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )

    def line_with(self, text: str) -> str:
        """The next line that contains a text; AssertionError if none comes in time."""
        assert self.process.stdout is not None
        limit = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while True:
                while b"\n" in self._read:
                    line, _, self._read = self._read.partition(b"\n")
                    if text in line.decode():
                        return line.decode()
                assert selector.select(limit - time.monotonic()), f"no line with {text!r}"
                piece = self.process.stdout.read(65536)
                assert piece, (
                    f"it ended with {self.process.wait(5)} before a line with {text!r}: {self._read!r}"
                )
                self._read += piece

    def rest(self) -> str:
        """What it still says until it ends."""
        output, _ = self.process.communicate(timeout=PATIENCE)
        return (self._read + output).decode()


@pytest.fixture
def start(leak_check: None) -> Iterator[Start]:
    """Starts commands, and ends them after the test."""
    commands: list[Command] = []

    def run(*arguments: str) -> Command:
        commands.append(Command(*arguments))
        return commands[-1]

    yield run
    for command in commands:
        command.process.kill()
        with command.process:
            pass


def finished(name: str, *arguments: str) -> tuple[int, str, str]:
    """Run a command to its end: status, output, errors."""
    done = subprocess.run(
        [sys.executable, "-m", f"rpyc.cli.{name}", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


# ------------------------------------------------------------------------- classic


@pytest.mark.parametrize("mode", ["threaded", "forking", "THREADED"])
def test_classic_serves_clients_until_interrupted(start: Start, mode: str) -> None:
    command = start("rpyc_classic", "-m", mode, "-p", "0")
    port = int(command.line_with("server started on [127.0.0.1]:").rpartition(":")[2])
    conns = [classic.connect("127.0.0.1", port) for _ in range(2)]
    for conn in conns:
        assert (conn.modules.os.getpid() == command.process.pid) == (mode != "forking")
        conn.close()
    command.process.send_signal(signal.SIGINT)
    assert "keyboard interrupt" in command.rest()
    assert command.process.returncode == 0


def test_one_shot_says_where_it_is_and_ends_with_its_connection(start: Start) -> None:
    command = start("rpyc_classic", "-m", "oneshot", "-p", "0", "-q")
    command.line_with("rpyc-oneshot")
    host, port = command.line_with("\t").split("\t")
    assert host == "127.0.0.1"
    # It listens already, however fast the client is.
    conn = classic.connect(host, int(port))
    assert conn.eval("6 * 7") == 42
    conn.close()
    assert command.process.wait(PATIENCE) == 0
    assert command.rest() == ""


def test_one_shot_can_be_interrupted(start: Start) -> None:
    command = start("rpyc_classic", "-m", "oneshot", "-p", "0")
    command.line_with("\t")
    command.process.send_signal(signal.SIGINT)
    assert command.process.wait(PATIENCE) == 0


def test_stdio_serves_its_pipes(leak_check: None) -> None:
    conn = connect_subproc(
        [sys.executable, "-m", "rpyc.cli.rpyc_classic", "-m", "stdio", "-q"], rpyc.ClassicService
    )
    assert conn.modules.os.getpid() == conn.proc.pid
    # Whatever is printed over there must not get into the protocol.
    conn.execute(
        "import sys; print('noise'); print('noise', file=sys.stderr, flush=True); line = sys.stdin.read()"
    )
    assert conn.namespace["line"] == ""
    conn.close()
    assert conn.proc.wait(PATIENCE) == 0


def test_classic_over_ipv6(start: Start) -> None:
    command = start("rpyc_classic", "--ipv6", "-p", "0")
    port = int(command.line_with("server started on [::1]:").rpartition(":")[2])
    conn = classic.connect("::1", port, ipv6=True)
    assert conn.eval("1 + 1") == 2
    conn.close()


def test_classic_logs_to_a_file(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    start("rpyc_classic", "-p", "0", "--logfile", str(log))
    eventually(lambda: log.exists() and "server started on" in log.read_text())


def test_classic_beyond_this_machine_warns(start: Start) -> None:
    command = start("rpyc_classic", "-p", "0", "--host", "0.0.0.0")
    assert "WARNING" in command.line_with("ANYBODY")


def test_classic_registers(start: Start) -> None:
    registry = start("rpyc_registry", "-m", "tcp", "-p", "0", "-l")
    port = int(registry.line_with("server started on").rpartition(":")[2])
    server = start(
        "rpyc_classic",
        "-p",
        "0",
        "--register",
        "--registry-type",
        "tcp",
        "--registry-host",
        "127.0.0.1",
        "--registry-port",
        str(port),
    )
    served = int(server.line_with("server started on").rpartition(":")[2])
    client = TCPRegistryClient("127.0.0.1", port)
    eventually(lambda: client.discover("SLAVE") == (("127.0.0.1", served),))
    assert client.list() == ("SLAVE",)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(PATIENCE) == 0
    assert client.discover("SLAVE") == ()


def test_a_tcp_registry_needs_a_host() -> None:
    status, _, errors = finished("rpyc_classic", "--registry-type", "TCP", "-p", "0")
    assert status == 1
    assert errors == "rpyc_classic: with a TCP registry, --registry-host is required\n"


def test_an_occupied_port_is_told_in_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        status, _, errors = finished("rpyc_classic", "-p", str(port))
    assert status == 1
    assert (
        errors
        == f"rpyc_classic: [Errno 98] cannot listen on [127.0.0.1]:{port}: Address already in use\n"
    )


# ------------------------------------------------------------------ its parameters


class Caught(Exception):
    """Carries the server out of the command."""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """What server the command would start: its class and parameters."""

    def run(*arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def note(kind: type) -> Any:
            def make(service: Any, **options: Any) -> None:
                found.update(options, kind=kind, service=service)
                raise Caught

            return make

        for kind in (ThreadedServer, ForkingServer, OneShotServer):
            monkeypatch.setattr(rpyc_classic, kind.__name__, note(kind))
        monkeypatch.setattr(rpyc_classic, "setup_logger", lambda *args: found.update(logger=args))
        with pytest.raises(Caught):
            rpyc_classic.ClassicServer.run(["rpyc_classic", *arguments])
        return found

    return run


def test_what_classic_starts_by_default(made: Callable[..., dict[str, Any]]) -> None:
    found = made()
    assert (found["kind"], found["service"]) == (ThreadedServer, SlaveService)
    assert (found["hostname"], found["port"], found["ipv6"]) == ("127.0.0.1", 18812, False)
    assert (found["authenticator"], found["auto_register"], found["logger"]) == (
        None,
        False,
        (False, None),
    )
    registrar = found["registrar"]
    assert (type(registrar), registrar.ip, registrar.port) == (
        UDPRegistryClient,
        "255.255.255.255",
        18811,
    )


def test_what_classic_starts_with_options(
    made: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    for name in ("key", "crt", "ca"):
        (tmp_path / name).touch()
    tls = ["--ssl-keyfile", str(tmp_path / "key"), "--ssl-certfile", str(tmp_path / "crt")]
    found = made(
        "-m",
        "Forking",
        "-q",
        "--logfile",
        "x",
        "--register",
        "--registry-host",
        "h",
        "--registry-port",
        "5",
        *tls,
    )
    assert (found["kind"], found["port"], found["auto_register"], found["logger"]) == (
        ForkingServer,
        18821,
        True,
        (True, "x"),
    )
    assert (found["registrar"].ip, found["registrar"].port) == ("h", 5)
    authenticator = found["authenticator"]
    assert isinstance(authenticator, SSLAuthenticator)
    assert (authenticator.keyfile, authenticator.ca_certs) == (str(tmp_path / "key"), None)
    found = made(
        "-m",
        "oneshot",
        "--port",
        "7",
        "--host",
        "1.2.3.4",
        "--ipv6",
        *tls,
        "--ssl-cafile",
        str(tmp_path / "ca"),
    )
    assert (found["kind"], found["hostname"], found["port"], found["ipv6"]) == (
        OneShotServer,
        "1.2.3.4",
        7,
        True,
    )
    assert found["authenticator"].ca_certs == str(tmp_path / "ca")
    assert made("--ipv6")["hostname"] == "::1"


# ------------------------------------------------------------------------ registry


@pytest.mark.parametrize("kind", [UDPRegistryClient, TCPRegistryClient])
@pytest.mark.parametrize(
    ("options", "listing"),
    [
        ((), False),
        (("-l",), True),
        (("-l", "yes"), True),
        (("--listing", "False"), False),
        (("--listing=0",), False),
    ],
)
def test_registry_answers(start: Start, kind: Any, options: tuple[str, ...], listing: bool) -> None:
    command = start(
        "rpyc_registry",
        "-m",
        "UDP" if kind is UDPRegistryClient else "TCP",
        "-p",
        "0",
        "-t",
        "100",
        *options,
    )
    client = kind("127.0.0.1", int(command.line_with("server started on").rpartition(":")[2]))
    assert client.register(("foo",), 5)
    assert client.discover("foo") == (("127.0.0.1", 5),)
    assert client.list() == (("FOO",) if listing else None)
    command.process.send_signal(signal.SIGINT)
    assert command.process.wait(PATIENCE) == 0


def test_what_the_registry_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []

    class Fake:
        def __init__(self, **options: Any) -> None:
            found.append(options)

        def start(self) -> None:
            found.append("started")

    monkeypatch.setattr(rpyc_registry, "UDPRegistryServer", Fake)
    monkeypatch.setattr(rpyc_registry, "setup_logger", lambda *args: found.append(args))
    defaults = {"host": "0.0.0.0", "port": 18811, "pruning_timeout": 240, "allow_listing": False}
    for arguments, logger, changed in (
        ([], (False, None), {}),
        (["-q"], (True, None), {}),
        (["-q", "no"], (False, None), {}),
        (
            ["--quiet", "1", "-6", "--logfile", "f", "-t", "5"],
            (True, "f"),
            {"host": "::", "pruning_timeout": 5},
        ),
    ):
        del found[:]
        _, status = rpyc_registry.RegistryServer.run(["rpyc_registry", *arguments], exit=False)
        assert status == 0
        assert found == [logger, {**defaults, **changed}, "started"]


# ---------------------------------------------------------------------------- help


@pytest.mark.parametrize("name", ["rpyc_classic", "rpyc_registry"])
def test_help_and_version(name: str) -> None:
    status, text, _ = finished(name, "--help")
    assert status == 0
    assert text.startswith(f"usage: {name}")
    assert "--logfile" in text
    assert "18811" in text
    assert finished(name, "--help-all") == (0, text, "")
    assert finished(name, "-v") == (0, f"{name} {rpyc.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("rpyc_classic", "--bogus"),
        ("rpyc_classic", "-m", "bad"),
        ("rpyc_classic", "-p", "65536"),
        ("rpyc_classic", "-p", "x"),
        ("rpyc_classic", "--ssl-keyfile", __file__),
        ("rpyc_classic", "--ssl-certfile", __file__),
        ("rpyc_classic", "--ssl-cafile", __file__),
        ("rpyc_classic", "--ssl-keyfile", "/no/such/file", "--ssl-certfile", __file__),
        ("rpyc_registry", "-l", "perhaps"),
        ("rpyc_registry", "-t", "x"),
        ("rpyc_registry", "surplus"),
    ],
)
def test_bad_usage_shows_the_help_and_fails(arguments: tuple[str, ...]) -> None:
    status, output, errors = finished(*arguments)
    assert (status, output) == (2, "")
    assert errors.startswith(f"usage: {arguments[0]}")
    assert f"{arguments[0]}: error: " in errors.splitlines()[-1]


def test_completions() -> None:
    status, script, _ = finished("rpyc_classic", "--completions", "bash")
    assert status == 0
    asked = f'{script}\ncomplete -p rpyc_classic; compgen -W "$(complete -p rpyc_classic | cut -d\\\' -f2)" -- --ssl-k'
    shown = subprocess.run(
        ["bash", "-c", asked],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env=dict(os.environ),
    ).stdout
    assert shown.splitlines()[-1] == "--ssl-keyfile"
    status, script, _ = finished("rpyc_registry", "--completions", "fish")
    assert status == 0
    assert "complete -c rpyc_registry -l listing\n" in script
    assert "complete -c rpyc_registry -s l\n" in script
