"""The examples do what they say: each runs as a process of its own, as a reader would run it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "python"

SECONDS = 40.0
"""How long any of these processes may take."""


def run_example(name: str, *arguments: str) -> list[str]:
    """The example's output, line by line. It must end by itself, without an error and without complaints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


class ServerProcess:
    """A server example that goes on until it is interrupted; its log is kept."""

    def __init__(self, name: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._impatience = Timer(SECONDS, self._process.kill)
        self._impatience.start()
        self.log: list[str] = []
        self.port = int(self.wait_for(r"server started on \[127\.0\.0\.1\]:(\d+)")[1])

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Reads the log until a line matches."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append(line)
            if found := re.search(pattern, line):
                return found
        pytest.fail(f"the server ended without saying {pattern!r}:\n" + "".join(self.log))

    def interrupt(self) -> int:
        """Presses Ctrl-C and gives the exit status."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(SECONDS)

    def close(self) -> None:
        """Leaves nothing behind, whatever happened."""
        self._impatience.cancel()
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def calculator() -> Iterator[ServerProcess]:
    """A running calculator_server.py."""
    server = ServerProcess("calculator_server.py")
    yield server
    server.close()


def test_calculator(calculator: ServerProcess) -> None:
    """Two clients, one after the other: each gets a calculator of its own. Ctrl-C ends the server in order."""
    expected = [
        "2 + 3 = 5",
        "7 / 2 = 3.5",
        "1 / 0 : division by zero",
        "history: 2 + 3, 7 / 2, 1 / 0",
        "it lives on the server: 4 entries now",
    ]
    for _ in range(2):
        assert run_example("calculator_client.py", "--port", str(calculator.port)) == expected
        calculator.wait_for("client connected: <rpyc.core.protocol.Connection ")
        calculator.wait_for("client disconnected after 4 calculations")
    assert calculator.interrupt() == 0


def test_async_calls() -> None:
    """Results, many results, a callback, an expired result."""
    assert run_example("async_calls.py") == [
        "meanwhile: sum of the first thousand numbers is 499500",
        "12 squared: 144",
        "ten squares: [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]",
        "arrived: 81",
        "3 squared: timed out",
    ]


def test_callbacks() -> None:
    """The server calls the client while the client waits, and gets its errors."""
    assert run_example("callbacks.py") == [
        "all of them:",
        "  1: ALPHA",
        "  2: BETA",
        "  3: GAMMA",
        "  4: DELTA",
        "handled 4",
        "until the third:",
        "  1: ALPHA",
        "  2: BETA",
        "  3: GAMMA",
        "handled 3",
        "the callback failed: no shelf for ALPHA",
    ]


def test_classic_mode() -> None:
    """Against the command rpyc_classic, in one-shot mode."""
    assert run_example("classic_mode.py") == [
        "another process: True",
        "remote path: a/b",
        "remote list: [0, 1, 4, 9, 16] sum 30",
        "reference: 6 entries; copy: 5 entries",
        "teleported function ran there: True",
    ]


def test_attribute_policy() -> None:
    """What the policies let through and what they refuse."""
    assert run_example("attribute_policy.py") == [
        "public name: Ada",
        "private name: refused, cannot access '_pin' of a remote Account object: its owner does not expose it",
        "setting: refused, cannot access 'limit' of a remote Account object: its owner's allow_setattr is off",
        "restricted, listed: 100",
        "restricted, other: refused, owner",
        "own hook, allowed: for your eyes",
        "own hook, refused: refused, only text may be read, not __dict__",
        "own hook, setting: refused, read only",
    ]


@pytest.mark.parametrize("name", ["async_calls.py", "callbacks.py", "attribute_policy.py"])
def test_roles_apart(name: str) -> None:
    """With --serve and --port the same example runs in two terminals, with the same output."""
    server = ServerProcess(name, "--serve")
    try:
        apart = run_example(name, "--port", str(server.port))
        assert apart == run_example(name)
        server.wait_for("goodbye")
        assert server.interrupt() == 0
    finally:
        server.close()


def test_demo() -> None:
    """Every stop of the tour, and that client and server are two processes."""
    lines = run_example("demo.py")
    topics = [line[:10].strip() for line in lines[1:]]
    assert [topic for topic in topics if topic] == [
        *["server", "client", "call", "callback", "callback", "callback", "call"],
        *["async", "async", "exception", "iteration", "speed"],
    ]
    text = "\n".join(lines)
    assert re.match(r"RPyC 6\.0\.2 \(.+\) on Python 3\.", lines[0])
    server, client = re.findall(r"^(?:server|client) +process (\d+)", text, re.MULTILINE)
    assert int(server) != int(client)
    assert int(server) != os.getpid()
    assert "root.add(2, 3) -> 5" in text
    assert f"the server asks process {client} for the length of 'apple'" in text
    assert "root.sort([...], key=length) -> ['fig', 'kiwi', 'apple']" in text
    assert "result: done after 0.2 s" in text
    assert "ValueError: invalid literal for int() with base 10: 'twelve'" in text
    assert "========= Remote Traceback (1) =========" in text
    assert "in exposed_fail" in text
    assert "root.countdown(5) -> 5 4 3 2 1" in text
    speed = re.search(r"^speed +([\d,]+) calls per second", text, re.MULTILINE)
    assert speed is not None
    assert int(speed[1].replace(",", "")) > 0
