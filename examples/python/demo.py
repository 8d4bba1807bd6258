"""A tour in one run: a server in a process of its own, and a client that drives it."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator

from roles import HOST, play

import rpyc

MEASURED_SECONDS = 1.0


class DemoService(rpyc.Service):
    """A bit of everything."""

    def exposed_process_id(self) -> int:
        """Where this runs."""
        return os.getpid()

    def exposed_add(self, a: int, b: int) -> int:
        """The smallest call."""
        return a + b

    def exposed_sort(self, words: list[str], key: Callable[[str], int]) -> list[str]:
        """Sorts by a key that the client computes, one call back for each word."""
        return sorted(words, key=key)

    def exposed_work(self, seconds: float) -> str:
        """Something slow."""
        time.sleep(seconds)
        return f"done after {seconds} s"

    def exposed_fail(self, text: str) -> int:
        """Something wrong: ``text`` must be a number."""
        return int(text)

    def exposed_countdown(self, start: int) -> Iterator[int]:
        """A generator; it stays here, and the client draws from it."""
        yield from range(start, 0, -1)


def client(port: int) -> None:
    """The tour."""
    engine = "native engine" if "rpyc._rpyc" in sys.modules else "pure Python"
    print(f"RPyC {rpyc.__version__} ({engine}) on Python {platform.python_version()}")
    conn = rpyc.connect(HOST, port)
    root = conn.root
    say("server", f"process {root.process_id()}, port {port}")
    say("client", f"process {os.getpid()}")

    say("call", f"root.add(2, 3) -> {root.add(2, 3)}")

    def length(word: str) -> int:
        say("callback", f"the server asks process {os.getpid()} for the length of {word!r}")
        return len(word)

    say("call", f"root.sort([...], key=length) -> {root.sort(['kiwi', 'fig', 'apple'], length)}")

    result = rpyc.async_(root.work)(0.2)
    say("async", "root.work(0.2) is on its way, the client goes on")
    result.wait()
    say("async", f"result: {result.value}")

    try:
        root.fail("twelve")
    except ValueError as error:
        message, *traceback = str(error).splitlines()
        say("exception", f"ValueError: {message}")
        for line in traceback:
            if line:
                say("", f"  {line}")

    say("iteration", "root.countdown(5) -> " + " ".join(str(number) for number in root.countdown(5)))

    say("speed", f"{calls_per_second(root.add):,.0f} calls per second: f(1, 2), one after the other, over TCP")
    conn.close()


def calls_per_second(add: Callable[[int, int], int]) -> float:
    """Calls for about a second."""
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < MEASURED_SECONDS:
        for _ in range(100):
            add(1, 2)
        count += 100
    return count / elapsed


def say(topic: str, text: str) -> None:
    """One aligned line."""
    print(f"{topic:<10} {text}", flush=True)


if __name__ == "__main__":
    play(DemoService, client)
