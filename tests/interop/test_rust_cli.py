"""The command `rpyc` and Python: classic servers of ours and of PyPI's rpyc, TLS, tokens, registries, a terminal.

The command is a Rust program: environment variable RPYC_CLI, or `target/debug/rpyc` (`cargo build -p rpyc-cli`).
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import rpyc
from rpyc.utils.authenticators import TokenAuthenticator
from rpyc.utils.factory import connect, ssl_connect, unix_connect
from rpyc.utils.registry import TCPRegistryClient, UDPRegistryClient

ROOT = Path(__file__).resolve().parents[2]
CLI = os.environ.get("RPYC_CLI") or str(ROOT / "target" / "debug" / "rpyc")
RIVAL = os.environ.get("RPYC_RIVAL_PYTHON") or str(ROOT / ".venv-rival" / "bin" / "python")
PYTHONS = {"ours": sys.executable, "rival": RIVAL}
TOKEN = "a token of more than sixteen bytes"

CLASSIC = """
from rpyc.core.service import SlaveService
from rpyc.utils.server import ThreadedServer
server = ThreadedServer(SlaveService, hostname="127.0.0.1", port=0)
thread = server._start_in_thread()
print("serving at 127.0.0.1:%d" % server.port, flush=True)
thread.join()
"""

TLS = """
import sys
import rpyc
from rpyc.utils.authenticators import SSLAuthenticator
from rpyc.utils.server import ThreadedServer
class Echo(rpyc.Service):
    def exposed_echo(self, value):
        return value
folder = sys.argv[1]
authenticator = SSLAuthenticator(folder + "/server.key", folder + "/server.crt", ca_certs=folder + "/ca.crt")
server = ThreadedServer(Echo, hostname="127.0.0.1", port=0, authenticator=authenticator)
thread = server._start_in_thread()
print("serving at ssl://localhost:%d" % server.port, flush=True)
thread.join()
"""

TLS_CLIENT = """
import sys
from rpyc.utils.factory import ssl_connect
folder, port = sys.argv[1:]
conn = ssl_connect("localhost", int(port), keyfile=folder + "/client.key", certfile=folder + "/client.crt",
                   ca_certs=folder + "/ca.crt")
print(conn.root.add(1, 2), len(conn.root.zeros(1 << 20)))
"""

REGISTRY_CLIENT = """
import sys
from rpyc.utils.registry import TCPRegistryClient, UDPRegistryClient
kind, port = sys.argv[1:]
client = {"tcp": TCPRegistryClient, "udp": UDPRegistryClient}[kind]("127.0.0.1", port=int(port))
assert client.register(("calc", "math"), 4242)
print(client.discover("calc"), sorted(client.list()))
"""

REGISTRY_SERVER = """
import sys
from rpyc.utils.registry import TCPRegistryServer, UDPRegistryServer
kind = sys.argv[1]
server = {"tcp": TCPRegistryServer, "udp": UDPRegistryServer}[kind]("127.0.0.1", port=0, allow_listing=True)
print("serving at %s://127.0.0.1:%d" % (kind, server.port), flush=True)
server.start()
"""


@contextlib.contextmanager
def running(*command: str) -> Iterator[str]:
    """A process that says in its first line where it listens; yields that."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert ":" in line, f"{command} said {line!r}"
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([CLI, *arguments], input=stdin, capture_output=True, text=True, timeout=60)


def printed(*arguments: str, stdin: str = "") -> str:
    """What the command prints; it succeeds."""
    done = run(*arguments, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.rstrip("\n")


@pytest.fixture(scope="module", params=["ours", "rival"])
def classic(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a classic server."""
    with running(PYTHONS[request.param], "-c", CLASSIC) as address:
        yield address


@pytest.mark.timeout(60)
def test_a_classic_server_is_looked_at(classic: str) -> None:
    info = json.loads(printed("info", classic, "--json"))
    assert info["class"].endswith("SlaveService")
    assert info["python"].startswith("3.")
    assert "eval" in info["exposed"]
    assert printed("eval", classic, "6 * 7") == "42"
    evaluated = printed("eval", classic, "{'a': [1, 2.5], 'b': {3}, 'c': None}", "--json")
    assert json.loads(evaluated) == {"a": [1, 2.5], "b": {"set": [3]}, "c": None}
    assert printed("call", classic, "root.getmodule", "os.path").startswith("<module 'posixpath'")
    assert printed("get", classic, "root.getmodule('math').pi") == "3.141592653589793"
    done = run("eval", classic, "1 / 0", "--traceback")
    assert done.returncode == 1
    assert done.stderr.startswith("rpyc: ZeroDivisionError: division by zero\n")
    assert "Traceback" in done.stderr


@pytest.mark.timeout(60)
def test_a_script_of_several_lines_runs_in_a_classic_server(classic: str) -> None:
    script = "def f(n):\n    return n * n\n\nfor i in range(3):\n    print(f(i))\n\nf(9)\n"
    assert printed("shell", classic, stdin=script) == "0\n1\n4\n81"
    done = run("shell", classic, stdin="print('before')\nnothing_here\nprint('after')\n")
    assert (done.returncode, done.stdout) == (1, "before\n")
    assert done.stderr == "rpyc: NameError: name 'nothing_here' is not defined\n"
    assert run("shell", classic, stdin="x = (\n").returncode == 2


@pytest.mark.timeout(60)
def test_a_terminal_has_completion_history_and_interruption(classic: str, tmp_path: Path) -> None:
    history = tmp_path / "history"
    terminal = Terminal(CLI, "shell", classic, "--history", str(history))
    terminal.until(">>> ")
    terminal.type("import os.path\r")
    terminal.until(">>> ")
    terminal.type("os.path.basen\t")
    terminal.until("os.path.basename")
    terminal.type("('/a/b')\r")
    terminal.until("'b'")
    terminal.until(">>> ")
    terminal.type("if True:\r")
    terminal.until("... ")
    terminal.type("\x03")  # Ctrl-C: the statement is given up
    terminal.until(">>> ")
    terminal.type("1 / 0\r")
    terminal.until("ZeroDivisionError")
    terminal.until(">>> ")
    terminal.type("\x1b[A")  # up
    terminal.until("1 / 0")
    terminal.type("\x15exit\r")  # Ctrl-U clears the line
    assert terminal.ended() == 0
    assert "import os.path" in history.read_text()


@pytest.mark.timeout(60)
def test_python_drives_the_demo(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with running(CLI, "serve-demo", f"unix:{path}", "--pool", "2"):
        conn = unix_connect(str(path))
        assert conn.root.add(1, 2) == 3
        assert list(conn.root.squares(4)) == [0, 1, 4, 9]
        assert conn.root.apply(lambda x: x + 1, 3) == (1, 2, 3)
        with pytest.raises(ZeroDivisionError, match="division by zero"):
            conn.root.divide(1, 0)
        assert "sum of two numbers" in conn.root.add.__doc__
        conn.close()
    assert not path.exists()


@pytest.mark.timeout(60)
def test_tokens_are_the_same_in_both_languages(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    with running(CLI, "serve-demo", "127.0.0.1:0", "--token-file", str(token)) as address:
        host, port = address.split(":")
        with connect(host, int(port), authenticator=TokenAuthenticator(TOKEN)) as conn:
            assert conn.root.add(1, 2) == 3
        with pytest.raises(rpyc.utils.authenticators.AuthenticationError):
            connect(host, int(port), authenticator=TokenAuthenticator("another token, long enough"))
    server = rpyc.ThreadedServer(rpyc.VoidService, hostname="127.0.0.1", authenticator=TokenAuthenticator(TOKEN))
    thread = server._start_in_thread()
    try:
        address = f"127.0.0.1:{server.port}"
        assert "is alive" in printed("ping", address, "--token-file", str(token))
        token.write_text("another token, long enough")
        done = run("ping", address, "--token-file", str(token))
        assert (done.returncode, "refuses the token" in done.stderr) == (3, True)
    finally:
        server.close()
        thread.join(30)


@pytest.mark.timeout(60)
def test_tls_by_files_with_pypi_rpyc_and_ours(certificates: Path) -> None:
    file = {name: str(certificates / name) for name in ("ca.crt", "client.crt", "client.key")}
    tls = ["--ca-file", file["ca.crt"], "--cert", file["client.crt"], "--key", file["client.key"]]
    for python in PYTHONS.values():
        with running(python, "-c", TLS, str(certificates)) as address:
            assert printed("call", address, "root.echo", "5", *tls) == "5"
            assert run("ping", address, *tls[:2]).returncode in (3, 5)
            assert run("ping", address).returncode == 3
    demo = ["serve-demo", "ssl://localhost:0", "--cert", str(certificates / "server.crt")]
    demo += ["--key", str(certificates / "server.key"), "--client-ca", file["ca.crt"]]
    with running(CLI, *demo) as address:
        port = address.rsplit(":", 1)[1]
        told = subprocess.run(
            [RIVAL, "-c", TLS_CLIENT, str(certificates), port], capture_output=True, text=True, timeout=60, check=True
        )
        assert told.stdout == "3 1048576\n"
        conn = ssl_connect(
            "localhost", int(port), file["client.key"], file["client.crt"], ca_certs=file["ca.crt"]
        )
        assert conn.root.add(1, 2) == 3
        conn.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_registries_understand_each_other(kind: str) -> None:
    with running(CLI, "registry", "127.0.0.1:0", *(["--tcp"] if kind == "tcp" else [])) as url:
        port = url.rsplit(":", 1)[1]
        told = subprocess.run(
            [RIVAL, "-c", REGISTRY_CLIENT, kind, port], capture_output=True, text=True, timeout=60, check=True
        )
        assert told.stdout == "(('127.0.0.1', 4242),) ['CALC', 'MATH']\n"
        ours = {"tcp": TCPRegistryClient, "udp": UDPRegistryClient}[kind]("127.0.0.1", port=int(port))
        ours.unregister(4242)
        assert ours.discover("calc") == ()
    for python in PYTHONS.values():
        with (
            running(python, "-c", REGISTRY_SERVER, kind) as url,
            running(CLI, "serve-demo", "127.0.0.1:0", "--register", url) as address,
        ):
            deadline = time.monotonic() + 30
            while not (found := printed("list", "demo", "--registry", url)):
                assert time.monotonic() < deadline
            assert found == address
            assert json.loads(printed("list", "--registry", url, "--json")) == ["DEMO"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and "server" (localhost) and "client" signed by it."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    key = ("-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    openssl("req", "-x509", *key, "-subj", "/CN=ca", "-days", "2", "-keyout", "ca.key", "-out", "ca.crt",
            "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost\nauthorityKeyIdentifier=keyid\n")
    for name in ("server", "client"):
        openssl("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", "names", "-in", f"{name}.csr", "-out", f"{name}.crt")  # fmt: skip
    return folder


class Terminal:
    """A command at a terminal."""

    def __init__(self, *command: str) -> None:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            # A copy of the tests must not go on here, whatever happens.
            try:
                os.environ["TERM"] = "xterm"
                os.execv(command[0], command)
            finally:
                os._exit(127)
        self._read = ""

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def until(self, text: str) -> None:
        """Read until this text is shown; what comes before is forgotten."""
        deadline = time.monotonic() + 30
        while True:
            # What moves the cursor and colours the text is not shown.
            shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._read)
            if text in shown:
                self._read = shown.partition(text)[2]
                return
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} was not shown, but {shown!r}"
            self._read += os.read(self._fd, 65536).decode()

    def ended(self) -> int:
        """Wait for its end; return the exit code."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                os.close(self._fd)
                return os.waitstatus_to_exitcode(status)
            # It can't end while nobody takes what it shows.
            if select.select([self._fd], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    os.read(self._fd, 65536)
        raise AssertionError("the command did not end")
