"""What is not a rate: memory, frames, the time of the import. Each in fresh processes."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import contenders as who
from contenders import Contender
from peers import BenchError, Pair, clean_environment, placements, running
from relay import Relay
from results import Key, Results
from workloads import MIB

IDLE_CONNECTIONS = 2000

DESCRIPTORS = 3
"""File descriptors that a connection may take in one process: the engine duplicates the socket's."""

PLACE = ("tcp", "free")

IMPORT = "import time; t = time.perf_counter(); import rpyc; print(time.perf_counter() - t)"

IMPORTS = 5
"""Processes a round."""

TIMES = 2
"""Times a workload is done to count its frames: what one time leaves to be released is counted with the next."""


def peak_memory(sizes: tuple[int, ...], results: Results) -> None:
    """The most memory that either end of a connection needs for one transfer, in multiples of its payload. What the
    process had before is not counted; the payload itself is."""
    for contender in (who.OURS, who.RPYC, who.MANAGERS):
        for kind in ("push", "echo"):
            for size in sizes:
                name = f"{kind}{size}"
                if contender != who.OURS and size != min(sizes):
                    # What the others take grows with the size; one of them shows it.
                    continue
                with fresh(contender) as pair:
                    # What the first call takes for good does not belong to the transfer.
                    pair.ask(order("held", times=10))
                    ends = {"client": pair.client.pid, "server": pair.server.pid}
                    before = {end: resident(pid) for end, pid in ends.items()}
                    for pid in ends.values():
                        forget_peak(pid)
                    # The checked transfer and one more: a second must not add to the peak of the first.
                    pair.ask(order(name, times=1))
                    for end, pid in ends.items():
                        peak = (status(pid, "VmHWM") - before[end]) / (size * MIB)
                        results.add(Key("singles", *PLACE, f"{end} {name}", contender.name), peak)


def idle_memory(connections: int, results: Results) -> None:
    """Resident memory of a server for each connection that has called once, in KiB: of our pool, and of rpyc's server
    with a thread for each (its own pool stops answering under this many)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = hard if hard != resource.RLIM_INFINITY else 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(limit, connections * DESCRIPTORS + 256)), hard))
    room = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 256) // DESCRIPTORS
    if room < connections:
        results.note(f"Only {room} idle connections: `ulimit -n` permits no more.")
    count = min(connections, room)
    pool = ("--server", "pool")
    for contender in (replace(who.OURS, server_words=pool), who.RPYC):
        # The same clients for all: only the server is measured.
        with fresh(replace(contender, client=who.OURS_PYTHON)) as pair:
            pair.ask(order("idle", times=20))
            before = resident(pair.server.pid)
            pair.ask(order("idle", times=count))
            after = resident(pair.server.pid)
        results.add(Key("singles", *PLACE, "idle", contender.name), (after - before) / count / 1024)


def rust_idle_memory(connections: int, results: Results) -> None:
    """The same for servers in Rust."""
    for contender in who.RUST:
        with fresh(contender) as pair:
            if "missing" in pair.ask("idle 20"):
                continue
            before = resident(pair.server.pid)
            pair.ask(f"idle {connections}")
            after = resident(pair.server.pid)
        results.add(Key("singles", *PLACE, "rust idle", contender.name), (after - before) / connections / 1024)


def frames(results: Results) -> None:
    """Frames that the client sends for one time of a workload. The class of the instances is new to it."""
    for contender in (who.OURS, who.RPYC, who.STOCK):
        for name in ("method", "iterate", "list", "instances"):
            relays: list[Relay] = []

            def via(address: str, relays: list[Relay] = relays) -> str:
                relays.append(Relay(address))
                return relays[0].address

            with fresh(contender, via) as pair:
                # Instances are received once: their class is to be new.
                workload, warm, times = (name, 1, TIMES) if name != "instances" else ("first instances", 0, 1)
                pair.ask(order(workload, warm))
                before = relays[0].frames
                answer = pair.ask(order(workload, times))
                sent = (relays[0].frames - before) / times
            key = Key("singles", *PLACE, f"requests {name}", contender.name)
            if "missing" in answer:
                results.missing[key] = answer["missing"]
            else:
                results.add(key, sent)


def import_time(results: Results) -> None:
    """Milliseconds of ``import rpyc`` in a fresh interpreter that has its bytecode cached."""
    for contender in (who.OURS, who.RPYC):
        command = [str(contender.client), "-c", IMPORT]
        times = [
            float(subprocess.run(command, env=clean_environment(), capture_output=True, check=True, timeout=30).stdout)
            for _ in range(IMPORTS)
        ]
        key = Key("singles", "-", "free", "import", contender.name)
        results.add(key, sorted(times)[IMPORTS // 2] * 1000)


def order(workload: str, times: int) -> str:
    """The line that asks a client for exactly so many times."""
    return json.dumps({"workload": workload, "times": times})


@contextmanager
def fresh(contender: Contender, via: Callable[[str], str] = str) -> Iterator[Pair]:
    """New processes at both ends, over TCP, anywhere."""
    # TCP needs no folder for its socket.
    with running(contender, "tcp", placements()["free"], Path(), via=via) as pair:
        yield pair


def resident(pid: int) -> int:
    """Bytes of physical memory that a process has now."""
    return status(pid, "VmRSS")


def status(pid: int, name: str) -> int:
    """An amount of memory in /proc, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"/proc/{pid}/status has no {name}")


def forget_peak(pid: int) -> None:
    """VmHWM starts anew from what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
