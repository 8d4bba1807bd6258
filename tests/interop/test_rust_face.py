"""The Rust face and its peers: programs of Rust drive Python's services and are driven by Python, ours and PyPI's.

The programs are the crate's examples, and a client that is built like one. Each runs as a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time
import types
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest

import rpyc
from rpyc.core import brine, consts
from rpyc.core.channel import Channel
from rpyc.core.stream import SocketStream

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MIXED = ROOT / "examples" / "mixed"
RIVAL = os.environ.get("RPYC_RIVAL_PYTHON") or str(ROOT / ".venv-rival" / "bin" / "python")
PYTHONS = {"ours": sys.executable, "rival": RIVAL}

START_LIMIT = 20.0
RUN_LIMIT = 40.0
BUILD_LIMIT = 600.0

both_packages = pytest.mark.parametrize("package", sorted(PYTHONS))


@pytest.fixture(scope="session")
def rust() -> dict[str, str]:
    """The programs of the crate, by name. Cargo builds what has changed."""
    # As `make test-rust` has built them.
    packages = ["--workspace", "--exclude", "rpyc-python", "--features", "rpyc/tokio,rpyc/tls"]
    command = ["cargo", "build", "--quiet", *packages, "--examples"]
    built = subprocess.run(
        [*command, "--message-format", "json"], cwd=ROOT, capture_output=True, text=True, timeout=BUILD_LIMIT, check=False
    )
    assert built.returncode == 0, built.stderr
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return {message["target"]["name"]: message["executable"] for message in messages if message.get("executable")}


@contextlib.contextmanager
def rust_server(program: str) -> Iterator[tuple[int, list[str]]]:
    """A server of Rust: its port, and, once it has ended, what it wrote to the standard error."""
    complaints: list[str] = []
    environment = {**os.environ, "RUST_BACKTRACE": "0"}
    with subprocess.Popen(
        [program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        try:
            line = first_line(process)
            found = re.search(r"serving at 127\.0\.0\.1:(\d+)", line)
            assert found is not None, line
            yield int(found[1]), complaints
            # A line ends it: it drains, and exits by itself.
            _, errors = process.communicate("\n", timeout=RUN_LIMIT)
            assert process.returncode == 0, errors
            complaints.extend(errors.splitlines())
        finally:
            process.kill()


@contextlib.contextmanager
def python_server(package: str, kind: str, path: Path | None = None) -> Iterator[int]:
    """A server of one of the packages: its port."""
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [PYTHONS[package], "-u", str(HERE / "python_lab.py"), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield int(first_line(process))
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    """The first line of the output, waited for with a bound."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(START_LIMIT), f"{process.args!r} says nothing"
    return process.stdout.readline()


def run(*command: str) -> str:
    """Lets a program end by itself, without an error; its output."""
    environment = {**os.environ, "RUST_BACKTRACE": "0"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=RUN_LIMIT, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@both_packages
def test_python_drives_a_rust_service(rust: dict[str, str], package: str) -> None:
    """Every kind of use by a Python client: tests/interop/rust_driver.py."""
    with rust_server(rust["lab_service"]) as (port, complaints):
        assert run(PYTHONS[package], str(HERE / "rust_driver.py"), str(port)) == "done\n"
    panics = [line for line in complaints if "panicked" in line]
    assert len(panics) == 1 and "lab_service.rs" in panics[0], complaints


@both_packages
def test_rust_drives_a_python_service(rust: dict[str, str], package: str) -> None:
    """Every kind of use by a Rust client: tests/interop/rust_client.rs."""
    with python_server(package, "service") as port:
        assert run(rust["interop_client"], f"127.0.0.1:{port}") == "done\n"


@both_packages
def test_rust_gives_calls_of_a_python_service_up(rust: dict[str, str], package: str) -> None:
    """Ours skips what has not begun, its handlers can ask, and it shows that it lives; PyPI's is not disturbed.

    What is checked is in rust_patience.rs.
    """
    with python_server(package, "service") as port:
        assert run(rust["interop_patience"], f"127.0.0.1:{port}", package) == "done\n"


def test_python_gives_calls_of_a_rust_service_up(rust: dict[str, str]) -> None:
    """What has not begun is skipped, and methods can ask."""
    with rust_server(rust["interop_patience"]) as (port, complaints):
        with rpyc.connect("127.0.0.1", port) as conn, rpyc.connect("127.0.0.1", port) as other:
            # Fetched before the service is busy.
            hold, tick, work = conn.root.hold, conn.root.tick, conn.root.work
            held = rpyc.async_(hold)()
            assert rpyc.async_(tick)().cancel()
            with pytest.raises(TimeoutError), conn.timeout(0.05):
                tick()
            other.root.open_gate()
            assert held.value is True
            assert tick() == 1
            with pytest.raises(TimeoutError), conn.timeout(0.1):
                work()
            assert other.root.noticed() is True
    assert complaints == []


def test_a_rust_service_introduces_itself(rust: dict[str, str]) -> None:
    """The first call takes two requests, and so does each one to Python's own eyes: a method is a method."""
    with rust_server(rust["calculator_server"]) as (port, _):
        asked: list[int] = []

        class Counting(Channel):
            def send(self, data: bytes) -> None:
                asked.append(brine.load(data[1:])[1][0])
                super().send(data)

        conn = rpyc.connect_channel(Counting(SocketStream.connect("127.0.0.1", port)))
        with conn:
            assert conn.root.add(2, 3) == conn.root.exposed_add(2, 3) == 5
            assert asked[:2] == [consts.HANDLE_GETROOT, consts.HANDLE_CALLATTR]
            assert consts.HANDLE_INSPECT not in asked
            assert "add" in dir(conn.root) and "bound method add" in repr(conn.root.add)
            assert isinstance(conn.root.exposed_add, types.MethodType)


def test_python_listens_for_a_rust_service(rust: dict[str, str]) -> None:
    """It shows that it lives, while it is idle and while it runs a long method."""
    with rust_server(rust["interop_patience"]) as (port, complaints):
        with rpyc.connect("127.0.0.1", port, config={"heartbeat": 0.4}) as conn:
            time.sleep(1.2)
            conn.root.rest(1.2)
            conn.ping()
    assert complaints == []


@both_packages
def test_the_mixed_example_of_a_rust_service(rust: dict[str, str], package: str) -> None:
    """The Python half of the example runs with either package."""
    with rust_server(rust["lab_service"]) as (port, complaints):
        lines = run(PYTHONS[package], str(MIXED / "lab_client.py"), "--port", str(port)).splitlines()
    assert complaints == []
    assert lines == [
        "lab.Lab - A laboratory to control from afar.",
        "temperature: 36.5",
        "probes: 36.5 73.0 1.5",
        "3 probes: a, b, c - b is 73.0 - d is there: False",
        "countdown: 3 2 1 0",
        "called back: ('step 0, seen', 'step 1, seen')",
        "the lab heard a call",
        "within first",
        "no probe: 'nothing'",
        "log: ('first begins', 'first fails')",
    ]


@both_packages
def test_the_mixed_example_of_numpy(rust: dict[str, str], package: str, tmp_path: Path) -> None:
    """A Rust program drives numpy in a classic server of either package, which calls its closures."""
    site = Path(numpy.__file__).parents[1]
    for name in ["numpy", "numpy.libs"]:
        if (site / name).exists():
            (tmp_path / name).symlink_to(site / name)
    with python_server(package, "classic", tmp_path) as port:
        lines = run(rust["numpy_from_rust"], f"127.0.0.1:{port}").splitlines()
    assert lines == [
        "shape (3, 4)",
        "column 1: [1 5 9]",
        "doubled, summed: [24, 30, 36, 42]",
        "mean of 100000 samples: 210.817",
        "fetched 800000 bytes",
        "span of each row: [3 3 3]",
        "ValueError: cannot reshape array of size 12 into shape (5,5), a ValueError: true",
        "squares: [0, 1, 4, 9, 16]",
    ]


def test_the_examples_of_calculators(rust: dict[str, str]) -> None:
    """Servers and clients of both languages can be exchanged."""
    results = ["2 + 3 = 5", "7 / 2 = 3.5", "1 / 0 : ZeroDivisionError: division by zero", "history: 2 + 3, 7 / 2, 1 / 0"]
    with rust_server(rust["calculator_server"]) as (port, _):
        lines = run(rust["calculator_client"], f"127.0.0.1:{port}").splitlines()
        assert lines == [*results, "1 + 2 = 3"]
        client = ROOT / "examples" / "python" / "calculator_client.py"
        for python in PYTHONS.values():
            # A tuple came by value here; a server of Python gives a list that lives on.
            lines = run(python, str(client), "--port", str(port)).splitlines()
            assert lines[:2] == ["2 + 3 = 5.0", "7 / 2 = 3.5"]
            assert lines[3:] == ["history: 2 + 3, 7 / 2, 1 / 0", "it lives on the server: 3 entries now"]


def test_the_examples_in_one_program(rust: dict[str, str]) -> None:
    """They say what they do."""
    assert run(rust["callbacks"]).splitlines() == [
        "all of them:",
        "  1: ALPHA",
        "  2: BETA",
        "  3: GAMMA",
        "  4: DELTA",
        "handled 4, seen 4",
        "until the third:",
        "handled 3",
        "the callback failed: LookupError: no shelf for ALPHA",
    ]
    assert run(rust["async_calls"]).splitlines() == [
        "soup is ready, bread is ready",
        "the roast takes too long",
        "heard dinner!",
    ]


def frame(payload: bytes, compressed: int = 0, length: int | None = None) -> bytes:
    """A frame, as it should be or with a length that lies."""
    return struct.pack("!LB", len(payload) if length is None else length, compressed) + payload + b"\n"


def request(arguments: bytes, handler: int = consts.HANDLE_PING, kind: int = consts.MSG_REQUEST) -> bytes:
    """A request whose boxed arguments are these bytes, in a frame."""
    mark = brine.dump("the arguments")
    body = brine.dump((7, (handler, "the arguments")))
    return frame(bytes([kind]) + body.replace(mark, arguments))


def hostile_streams() -> dict[str, bytes]:
    """What no peer should send."""
    dice = random.Random(6)
    one, nothing = brine.dump((None,))[:-1], brine.dump(None)
    boxed_value = brine.dump((consts.LABEL_VALUE, None))[: -len(nothing)]
    boxed_tuple = brine.dump((consts.LABEL_TUPLE, None))[: -len(nothing)]
    # The same bytes as the length of a text that is not there: 4 GiB, less a little.
    long_text = brine.dump("x" * 300)[:2] + struct.pack("!L", 0xFFFF_FF00)
    many = brine.dump((None,) * 300)[:1] + struct.pack("!L", 0xFFFF_FFFF) + nothing
    return {
        "http": b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
        "garbage": dice.randbytes(4096),
        "garbage in a frame": frame(dice.randbytes(4096)),
        "garbage in a request": frame(b"\x01" + dice.randbytes(4096)),
        "a length of 4 GiB": frame(b"x", length=0xFFFF_FFFF),
        "half a frame": frame(b"x" * 100)[:50],
        "bad zlib": frame(b"no zlib at all", compressed=1),
        "a bomb": frame(zlib.compress(bytes(64 << 20)), compressed=1),
        "a count of 4 billion": request(many),
        "a text of 4 GiB": request(boxed_value + long_text),
        "a depth of 1000": request(boxed_value + one * 1000 + nothing),
        "a depth of a million": request(boxed_value + one * 1_000_000 + nothing),
        "a depth of a million boxes": request((boxed_tuple + one) * 1_000_000 + nothing),
        "an unknown label": request(brine.dump((99, 1))),
        "an unknown handler": request(brine.dump((1, ())), handler=10_000),
        "an unknown message": request(brine.dump((1, ())), kind=9),
        "arguments that are none": request(brine.dump((1, 5))),
        "an object that was never given": request(
            brine.dump((2, ((consts.LABEL_LOCAL_REF, ("x.Y", 1, 2)),))), handler=consts.HANDLE_STR
        ),
        "a slice of everything": request(brine.dump((1, (1, 2, 3))), handler=consts.HANDLE_OLDSLICING),
        "an answer to nothing": frame(b"\x02" + brine.dump((12345, (1, 5)))),
    }


@pytest.mark.parametrize("name", sorted(hostile_streams()))
def test_a_rust_service_survives_hostile_bytes(rust: dict[str, str], name: str) -> None:
    """The connection ends, nothing panics, and others are served on."""
    with rust_server(rust["calculator_server"]) as (port, complaints):
        with socket.create_connection(("127.0.0.1", port), timeout=RUN_LIMIT) as peer:
            with contextlib.suppress(OSError):
                peer.sendall(hostile_streams()[name])
                peer.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while peer.recv(65536):
                    pass
        assert "2 + 3 = 5" in run(rust["calculator_client"], f"127.0.0.1:{port}")
    assert complaints == []


@pytest.mark.parametrize("name", sorted(hostile_streams()))
def test_a_rust_client_survives_a_hostile_server(rust: dict[str, str], name: str) -> None:
    """It gets an error that names the peer, not a panic and not a hang."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"

        def serve() -> None:
            peer, _ = listener.accept()
            with peer, contextlib.suppress(OSError):
                peer.recv(1)
                peer.sendall(hostile_streams()[name])
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65536):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            text = run(rust["interop_client"], address, "hostile")
        finally:
            thread.join(RUN_LIMIT)
    assert address in text and "lost" in text, text
