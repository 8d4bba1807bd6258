"""The processes that are measured: started in one placement, asked with a time limit, ended for sure."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contenders import Contender

START_TIMEOUT = 60.0
"""Seconds until a new process must have said that it is ready."""

ORDER_TIMEOUT = 25.0
"""Seconds an order may take beyond the span it was asked for."""

END_TIMEOUT = 5.0
"""Seconds from closing a process's standard input to killing it."""


class BenchError(Exception):
    """A measured process failed or was silent for too long; the text names it."""


class Peer:
    """A child process that is asked by lines and answers by JSON lines."""

    def __init__(self, title: str, command: list[str]) -> None:
        self.title = title
        self._buffer = b""
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=clean_environment()
            )
        except OSError as error:
            raise BenchError(
                f"{title}: cannot start {command[0]}: {error}; `make bench` builds what is needed"
            ) from error

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def ask(self, line: str, timeout: float) -> dict[str, Any]:
        """Sends a line and gives the answer, or raises BenchError after ``timeout`` seconds."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
        except BrokenPipeError as error:
            raise BenchError(f"{self.title}: ended before {line!r}") from error
        return self.answer(timeout, line)

    def answer(self, timeout: float, to: str = "the start") -> dict[str, Any]:
        """The next JSON line of the process, or BenchError after ``timeout`` seconds."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                self._process.kill()
                raise BenchError(f"{self.title}: no answer to {to} within {timeout:.0f} s")
            piece = os.read(descriptor, 65536)
            if not piece:
                raise BenchError(f"{self.title}: ended instead of answering {to}; its own words are on stderr")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the process: politely, then surely."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@dataclass(frozen=True)
class Pair:
    """A running client and its server."""

    contender: Contender
    client: Peer
    server: Peer
    identities: dict[str, dict[str, Any]]
    """What client and server said of themselves: version, interpreter; empty for the floor."""

    def ask(self, order: str, span: float = 0.0) -> dict[str, Any]:
        """The client's answer to an order that takes about ``span`` seconds."""
        return self.client.ask(order, span + ORDER_TIMEOUT)


@contextmanager
def running(
    contender: Contender,
    transport: str,
    cpus: set[int],
    directory: Path,
    *,
    host: str = "",
    prefixes: tuple[list[str], list[str]] = ([], []),
    via: Callable[[str], str] = str,
) -> Iterator[Pair]:
    """Starts a contender's server and client on the given cores; ends both on exit.

    ``directory`` holds the Unix socket. ``host`` is where the server listens, if not on the loopback. ``prefixes`` go
    before the commands of server and client: they may put them elsewhere. ``via`` turns the server's address into what
    the client is told. The floor's client connects only when it measures, so it has nothing to say at its start.
    """
    title = f"{contender.title} over {transport}"
    with ExitStack() as stack, placed(cpus):
        place = [str(directory / f"{contender.name}.sock")] if transport == "unix" else [host] if host else []
        server = Peer(f"{title}, server", [*prefixes[0], *contender.server_command(transport, *place)])
        stack.callback(server.close)
        served = server.answer(START_TIMEOUT)
        address = served.pop("address")
        client = Peer(f"{title}, client", [*prefixes[1], *contender.client_command(transport, via(address))])
        stack.callback(client.close)
        identities = {"client": client.answer(START_TIMEOUT), "server": served} if contender.end else {}
        ends = stack.pop_all()
    with ends:
        yield Pair(contender, client, server, identities)


@contextmanager
def placed(cpus: set[int]) -> Iterator[None]:
    """Children started inside inherit these cores, all their threads included; the driver gets its own back."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def placements() -> dict[str, set[int]]:
    """Where both processes may run: on one core (the last: the first takes the interrupts), or anywhere."""
    cpus = os.sched_getaffinity(0)
    return {"one core": {max(cpus)}, "free": cpus}


def clean_environment() -> dict[str, str]:
    """The environment without what would put another package, or another mode, before an interpreter's own."""
    strange = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "RPYC_BIND_THREADS"}
    return {name: value for name, value in os.environ.items() if name not in strange}
