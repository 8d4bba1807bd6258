"""Who is measured: programs for both ends, and what they can do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workloads import Workload

ROOT = Path(__file__).resolve().parent.parent
ENDS = Path(__file__).with_name("ends")

SLOW = frozenset(f"{kind}{size}" for kind in ("push", "echo") for size in (64, 256))
"""Transfers that take seconds with rpyc's 34 MiB/s: their rate is that of 16 MiB."""


@dataclass(frozen=True)
class Contender:
    """A client program and a server program.

    Each is an interpreter for ``end``, a program in ``ends/``; without an ``end`` both are the floor's binary.
    ``skips`` has the workloads left out, with the reason.
    """

    name: str
    title: str
    client: Path
    server: Path
    end: str = ""
    client_words: tuple[str, ...] = ()
    server_words: tuple[str, ...] = ()
    skips: dict[str, str] = field(default_factory=dict)

    def server_command(self, transport: str, *address: str) -> list[str]:
        """The command line of the server."""
        return [*self._program(self.server), "server", transport, *address, *self.server_words]

    def client_command(self, transport: str, address: str) -> list[str]:
        """The command line of the client."""
        return [*self._program(self.client), "client", transport, address, *self.client_words]

    def order(self, workload: Workload, span: float) -> str | None:
        """The line that asks the client for a measurement of ``span`` seconds; None if it cannot do it."""
        if self.end:
            return json.dumps({"workload": workload.name, "seconds": span})
        return f"{' '.join(map(str, workload.floor))} {span}" if workload.floor else None

    def _program(self, interpreter: Path) -> list[str]:
        return [str(interpreter), str(ENDS / self.end)] if self.end else [str(interpreter)]


@dataclass(frozen=True)
class RustContender(Contender):
    """A crate, measured by the program in ``rust/``, which knows it by ``end``."""

    def server_command(self, transport: str, *address: str) -> list[str]:
        """The command line of the server; it knows nothing but TCP."""
        return [str(self.server), "server", self.end]

    def client_command(self, transport: str, address: str) -> list[str]:
        """The command line of the client."""
        return [str(self.client), "client", self.end, address]

    def order(self, workload: Workload, span: float) -> str | None:
        """The line that asks the client for a measurement of ``span`` seconds."""
        return f"{workload.name} {span}"


def program(variable: str, default: str) -> Path:
    """The program named by an environment variable, or the one that the Makefile makes."""
    return Path(os.environ.get(variable) or ROOT / default)


OURS_PYTHON = program("OURS_PYTHON", ".venv/bin/python")
BENCH_PYTHON = program("BENCH_PYTHON", ".venv-bench/bin/python")
FLOOR = program("FLOOR", "target/floor/release/floor")
RUST_BENCH = program("RUST_BENCH", "target/rust-bench/release/rust-bench")

SLOW_SKIPS = dict.fromkeys(SLOW, "seconds a transfer; measured with 16 MiB")
NO_ASYNC_UNIX = {"unix async5000": "blocks for good: both ends write, neither reads"}
"""A Unix socket holds fewer requests than that."""


def rpyc_pair(name: str, title: str, client: Path, server: Path, **fields: Any) -> Contender:
    """Two ends of RPyC, each of one package or the other."""
    return Contender(name, title, client, server, "rpyc_end.py", **fields)


OURS = rpyc_pair("ours", "ours", OURS_PYTHON, OURS_PYTHON)
RPYC = rpyc_pair("rpyc", "rpyc 6.0.2", BENCH_PYTHON, BENCH_PYTHON, skips=SLOW_SKIPS | NO_ASYNC_UNIX)
STOCK = rpyc_pair("stock", "ours vs stock", OURS_PYTHON, BENCH_PYTHON, skips=SLOW_SKIPS)
MANAGERS = Contender(
    "managers",
    "managers",
    BENCH_PYTHON,
    BENCH_PYTHON,
    "managers_end.py",
    skips=dict.fromkeys(("push256", "echo256"), "a second or more a transfer; measured with 64 MiB"),
)
SERPENT = Contender(
    "serpent", "Pyro5 serpent", BENCH_PYTHON, BENCH_PYTHON, "pyro_end.py", client_words=("serpent",)
)
MSGPACK = Contender(
    "msgpack", "Pyro5 msgpack", BENCH_PYTHON, BENCH_PYTHON, "pyro_end.py", client_words=("msgpack",)
)
EXECNET = Contender("execnet", "execnet", BENCH_PYTHON, BENCH_PYTHON, "execnet_end.py")
SOCKET = Contender("socket", "Python socket", BENCH_PYTHON, BENCH_PYTHON, "socket_end.py")
RAW = Contender("floor", "Rust floor", FLOOR, FLOOR, skips=NO_ASYNC_UNIX)

RUST = tuple(
    RustContender(f"rust {end}", title, RUST_BENCH, RUST_BENCH, end)
    for end, title in (
        ("rpyc", "rpyc (Rust)"),
        ("rpyc-tokio", "rpyc (Rust, tokio)"),
        ("tarpc", "tarpc"),
        ("capnp", "capnp-rpc"),
        ("remoc", "remoc"),
        ("socket", "Rust socket"),
    )
)

ALL = (OURS, RPYC, STOCK, MANAGERS, SERPENT, MSGPACK, EXECNET, SOCKET, RAW)


def titles(names: Iterable[str]) -> dict[str, str]:
    """The titles of those contenders, in the order of ``ALL``, then what else there is."""
    known = {contender.name: contender.title for contender in (*ALL[:-1], *RUST, RAW)}
    known["quiet"] = "ours, no polling"
    present = set(names)
    return {name: title for name, title in known.items() if name in present}
