"""Two interpreters, two packages: every scenario with every pair of client and server, over every transport.

"ours" is the interpreter that runs pytest. "rival" is one where PyPI's rpyc is installed: environment variable
RPYC_RIVAL_PYTHON, or `.venv-rival/bin/python` at the top of the repository. Without it the tests fail: the whole point
is the other implementation.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scenarios import SCENARIOS

HERE = Path(__file__).resolve().parent
RIVAL = os.environ.get("RPYC_RIVAL_PYTHON") or str(HERE.parents[1] / ".venv-rival" / "bin" / "python")
PAIRS = [("ours", "rival"), ("rival", "ours"), ("ours", "ours")]
TRANSPORTS = ["tcp", "unix", "stdio"]

START_LIMIT = 20.0
SCENARIO_LIMIT = 40.0


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """The processes of the whole session: started when first needed, ended at the end."""
    with Stage() as started:
        yield started


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", sorted(SCENARIOS))
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_scenario(stage: Stage, client: str, server: str, transport: str, name: str) -> None:
    """The scenario holds for this client, this server and this transport."""
    error = stage.client(client, server, transport).run(name)
    if error is not None:
        pytest.fail(f"{client} client, {server} server, {transport}:\n{error}", pytrace=False)


@pytest.mark.timeout(60)
def test_the_rival_is_pypi_rpyc(stage: Stage) -> None:
    """The other side is what it claims to be: PyPI's 6.0.2, without our extension."""
    about = stage.client("rival", "ours", "tcp").about
    assert about["version"] == "6.0.2"
    assert not about["native"], f"{about['file']} has the Rust extension"


@pytest.mark.timeout(60)
def test_ours_is_the_rust_engine(stage: Stage) -> None:
    """Intended difference: our side has the extension, so PyPI's package fails this test in the role of ours."""
    about = stage.client("ours", "ours", "tcp").about
    assert about["native"], f"{about['file']} has no Rust extension"
    assert sorted(SCENARIOS) == about["scenarios"]


class Stage:
    """Starts servers and clients on demand and keeps them for the following scenarios."""

    def __init__(self) -> None:
        self._ends = contextlib.ExitStack()
        self._servers: dict[tuple[str, str], dict[str, Any]] = {}
        self._clients: dict[tuple[str, str, str], Client] = {}

    def __enter__(self) -> Stage:
        self._directory = Path(self._ends.enter_context(tempfile.TemporaryDirectory(prefix="rpyc-interop-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def client(self, client: str, server: str, transport: str) -> Client:
        """The client process of this combination; a new one if the last one had to be ended."""
        key = (client, server, transport)
        known = self._clients.get(key)
        if known is None or known.ended:
            parameters = {
                "transport": transport,
                "addresses": {} if transport == "stdio" else self._addresses(server, transport),
                "server_command": [interpreter(server), "-u", str(HERE / "peer_server.py"), "stdio"],
            }
            log = self._directory / f"client-{client}-{server}-{transport}.log"
            command = [interpreter(client), "-u", str(HERE / "peer_client.py"), json.dumps(parameters)]
            known = self._clients[key] = Client(self._ends.enter_context(program(command, log)), log)
        return known

    def _addresses(self, server: str, transport: str) -> dict[str, Any]:
        """The addresses of the server process of this package and transport."""
        key = (server, transport)
        if key not in self._servers:
            log = self._directory / f"server-{server}-{transport}.log"
            command = [interpreter(server), "-u", str(HERE / "peer_server.py"), transport]
            if transport == "unix":
                sockets = self._directory / server
                sockets.mkdir()
                command.append(str(sockets))
            process = self._ends.enter_context(program(command, log))
            self._servers[key] = read_json(process, log, START_LIMIT)
        return self._servers[key]


class Client:
    """A running client process."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process, self._log = process, log
        self.ended = False
        self.about = read_json(process, log, START_LIMIT)

    def run(self, name: str) -> str | None:
        """Let it play a scenario; what went wrong, or None."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(name + "\n")
            self._process.stdin.flush()
            answer = read_json(self._process, self._log, SCENARIO_LIMIT)
        except (OSError, AssertionError):
            # Whatever it says later would be taken for the next scenario's answer.
            self.ended = True
            self._process.kill()
            raise
        assert answer["name"] == name
        error: str | None = answer["error"]
        return error


def interpreter(package: str) -> str:
    """The Python of a package; fails the test if there is none."""
    if package == "ours":
        return sys.executable
    if not os.access(RIVAL, os.X_OK):
        pytest.fail(
            f"no interpreter with PyPI's rpyc at {RIVAL}: run `make rival`, or set RPYC_RIVAL_PYTHON "
            "to a Python where rpyc==6.0.2 is installed",
            pytrace=False,
        )
    return RIVAL


@contextlib.contextmanager
def program(command: list[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with text pipes; it is asked to end by the end of its stdin, and made to after five seconds."""
    # Neither the package path nor the thread mode of the environment may leak into the other interpreter.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "RPYC_BIND_THREADS")}
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
    with process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def read_json(process: subprocess.Popen[str], log: Path, seconds: float) -> Any:
    """The next line of the process's output, decoded; AssertionError with its error output if none comes in time."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        in_time = selector.select(seconds)
    if not in_time:
        # Both peer programs print the stacks of all their threads on this signal.
        process.send_signal(signal.SIGUSR1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        raise AssertionError(f"{process.args!r} said nothing for {seconds} s:\n{log.read_text()[-6000:]}")
    line = process.stdout.readline()
    assert line, f"{process.args!r} ended with code {process.wait(5)}:\n{log.read_text()[-6000:]}"
    return json.loads(line)
