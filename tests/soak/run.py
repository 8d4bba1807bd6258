"""A long mixed load with faults: `run.py [SECONDS] [SEED]`. Ends by itself; non-zero if something leaked or was lost.

One server process of this package serves all the time, over TCP, a Unix socket and TLS; this process has its clients.
Both are measured. Around them: a server of RPyC 6.0.2, clients of RPyC 6.0.2 that are killed, a server of this package
that is killed and started again, and a proxy that resets, stalls and cuts connections.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import load
import server

import rpyc
from rpyc.utils.factory import ssl_connect, unix_connect

HERE = Path(__file__).parent
OURS = sys.executable
RIVAL = os.environ["RPYC_RIVAL_PYTHON"]
# How much memory may be more at the end than after a fifth of the time: bytes, and part of what was.
MORE_BYTES, MORE_PART = 12 << 20, 0.15
# Calls over routes with faults must end within this many seconds.
TIMEOUT = 20


class Process:
    """A process that is spoken to in lines."""

    def __init__(self, python: str, program: str, *args: object) -> None:
        self._popen = subprocess.Popen(
            [python, str(HERE / program), *map(str, args)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )

    def line(self) -> str:
        """Its next line of output; empty at its end."""
        assert self._popen.stdout is not None
        return self._popen.stdout.readline()

    def ask(self) -> Any:
        """Its answer to an empty line."""
        assert self._popen.stdin is not None
        self._popen.stdin.write("\n")
        self._popen.stdin.flush()
        return json.loads(self.line())

    def end(self) -> str:
        """Close its stdin, and tell what it still said."""
        with contextlib.suppress(BrokenPipeError):
            return self._popen.communicate(timeout=30)[0]
        return ""

    def kill(self) -> None:
        """SIGKILL."""
        self._popen.kill()
        self._popen.communicate()


def certificate(folder: Path) -> None:
    """A key and a certificate that nobody signed."""
    names = ["-keyout", str(folder / "key"), "-out", str(folder / "crt"), "-subj", "/CN=localhost"]
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", *names]
    subprocess.run(command, check=True, capture_output=True)


class Victims:
    """A server that is killed and started again at the same port, and rival clients that are killed."""

    def __init__(self, folder: Path, main_port: int) -> None:
        self._folder, self._main_port = folder, main_port
        self.server = Process(OURS, "server.py", folder, 0, "tcp")
        self.port = json.loads(self.server.line())["tcp"]
        self.kills = self.rival_calls = 0

    def be_killed(self, ended: threading.Event, seed: int) -> None:
        """Until the end."""
        rng = random.Random(seed)
        while not ended.is_set():
            client = Process(RIVAL, "client.py", self._main_port)
            reader = threading.Thread(target=self._read, args=(client,))
            reader.start()
            ended.wait(rng.uniform(1, 6))
            self.server.kill()
            self.server = Process(OURS, "server.py", self._folder, self.port, "tcp")
            self.server.line()
            ended.wait(rng.uniform(1, 6))
            client.kill()
            reader.join()
            self.kills += 2

    def _read(self, client: Process) -> None:
        last = 0
        with contextlib.suppress(ValueError):
            while line := client.line():
                last = int(line)
        self.rival_calls += last


def main() -> int:
    """The soak. Prints what happens, and what is wrong at the end."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1200.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory(prefix="rpyc-soak-") as name:
        folder = Path(name)
        certificate(folder)
        return soak(folder, seconds, seed)


def soak(folder: Path, seconds: float, seed: int) -> int:
    """Start everything, watch it, end it, judge it."""
    main_server = Process(OURS, "server.py", folder, 0, "tcp", "unix", "tls")
    ports = json.loads(main_server.line())
    rival = Process(RIVAL, "server.py", folder, 0, "tcp")
    rival_port = json.loads(rival.line())["tcp"]
    proxy = Process(OURS, "proxy.py", ports["tcp"], seed, max(2.0, seconds / 200))
    proxy_port = int(proxy.line())
    victims = Victims(folder, ports["tcp"])

    def tcp(port: int, **config: Any) -> Any:
        # A faulty route ends its calls in time; a clean one must not need that.
        limits = {"sync_request_timeout": TIMEOUT if config else 300, "allow_public_attrs": True}
        return lambda: rpyc.connect("127.0.0.1", port, config=limits | config)

    routes = [
        load.Route("tcp", tcp(ports["tcp"]), False),
        load.Route("unix", lambda: unix_connect(ports["unix"], config={"sync_request_timeout": 300}), False),
        load.Route(
            "tls",
            lambda: ssl_connect(
                "127.0.0.1", ports["tls"], ca_certs=str(folder / "crt"), config={"sync_request_timeout": 300}
            ),
            False,
        ),
        load.Route("to 6.0.2", tcp(rival_port), False),
        load.Route("faults", tcp(proxy_port, heartbeat=5), True),
        load.Route("kills", tcp(victims.port, heartbeat=5), True),
    ]
    before = server.figures()
    ended = threading.Event()
    # It says of every loss that there was one.
    logging.getLogger("rpyc.reconnecting").setLevel(logging.CRITICAL)
    clients = {
        route.name: rpyc.ReconnectingClient(route.connect, attempts=1000, time_limit=120, longest_delay=0.5)
        for route in routes
    }
    threads = [
        threading.Thread(target=load.work, args=(route, clients[route.name], ended, seed * 100 + number))
        for route in routes for number in range(3)
    ]
    threads.append(threading.Thread(target=victims.be_killed, args=(ended, seed)))
    for thread in threads:
        thread.start()
    curve = watch(main_server, routes, seconds)
    ended.set()
    late = [thread for thread in threads if thread.join(60) or thread.is_alive()]
    for client in clients.values():
        client.close()
    faults = proxy.end().strip()
    victims.server.end()
    rival.end()
    problems = [f"{len(late)} threads did not end within a minute"] if late else []
    problems += [f"{route.name}: {wrong}" for route in routes for wrong in route.wrong]
    problems += [f"{route.name}: nothing was called" for route in routes if not route.calls]
    problems += leaks(curve, main_server, before)
    main_server.end()
    for route in routes:
        print(f"{route.name:9} {route.calls:9} calls answered, {route.faults} calls ended by faults")
    print(f"from 6.0.2 {victims.rival_calls:8} calls; {victims.kills} processes killed; the proxy's faults: {faults}")
    for problem in problems:
        print("WRONG:", problem)
    print("soak: failed" if problems else "soak: nothing leaked, nothing was lost")
    return bool(problems)


def watch(main_server: Process, routes: list[load.Route], seconds: float) -> list[tuple[dict[str, int], dict[str, int]]]:
    """The figures of both processes, forty times; printed twenty times."""
    print("  time     calls  ended |  client MB  descr.  threads |  server MB  descr.  threads", flush=True)
    start, curve = time.monotonic(), []
    for step in range(1, 41):
        time.sleep(max(0.0, start + seconds * step / 40 - time.monotonic()))
        ours, theirs = server.figures(), main_server.ask()
        curve.append((ours, theirs))
        if step % 2 == 0:
            calls, faults = sum(route.calls for route in routes), sum(route.faults for route in routes)
            sides = " | ".join(
                f"{side['memory'] / 1e6:10.1f} {side['descriptors']:7} {side['threads']:8}" for side in (ours, theirs)
            )
            print(f"{time.monotonic() - start:6.0f} {calls:9} {faults:6} | {sides}", flush=True)
    return curve


def leaks(
    curve: list[tuple[dict[str, int], dict[str, int]]], main_server: Process, before: dict[str, int]
) -> list[str]:
    """What is more than it should be: memory over time, threads and descriptors at the end."""
    problems = []
    for side, name in enumerate(("client", "server")):
        early = statistics.median(pair[side]["memory"] for pair in curve[4:12])
        last = statistics.median(pair[side]["memory"] for pair in curve[-8:])
        if last - early > max(MORE_BYTES, MORE_PART * early):
            problems.append(f"the {name}'s memory grew from {early / 1e6:.1f} to {last / 1e6:.1f} MB")
    limit = time.monotonic() + 30
    while True:
        after, theirs = server.figures(), main_server.ask()
        # The listeners, the standard files and the threads that accept; the connections' are gone.
        idle = theirs["threads"] <= 4 and theirs["descriptors"] <= theirs["threads"] * 4
        fds = after["descriptors"] <= before["descriptors"]
        if (idle and fds and after["threads"] <= before["threads"]) or time.monotonic() > limit:
            break
        time.sleep(0.2)
    if not fds or after["threads"] > before["threads"]:
        problems.append(f"the client has {after}, and had {before}")
    if not idle:
        problems.append(f"the idle server has {theirs}")
    return problems


if __name__ == "__main__":
    sys.exit(main())
