"""What all measured programs share: the dialogue with the driver, and how a workload is repeated.

A client reads one order a line, ``{"workload": NAME, "seconds": S}`` or ``{"workload": NAME, "times": N}``, and
answers each with one line ``{"calls": N, "seconds": S, ...}``, or with ``{"missing": REASON}`` if its library has
nothing of the kind. Every program ends when its standard input ends, so that none outlives its driver.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

MIB = 1 << 20

SIZES = (1, 16, 64, 256)
"""Sizes of the large payloads, in MiB."""

Answer = dict[str, Any]


class Missing(Exception):
    """The library cannot do the workload; the text says why."""


class Workload:
    """A workload, ready to run: checked once, connected, its arguments made.

    ``batch(n)`` does it ``n`` times; each time counts as ``calls`` calls. Long ones, which are not warmed up, are
    repeated one by one, and the slowest time is told.
    """

    def __init__(self, batch: Callable[[int], None], calls: int = 1, long: bool = False) -> None:
        self.batch = batch
        self.calls = calls
        self.long = long

    def for_seconds(self, span: float) -> Answer:
        """Warms up for a tenth of ``span`` seconds, then repeats for ``span`` seconds."""
        if self.long:
            return self._one_by_one(span)
        self._growing(span / 10)
        return self._growing(span)

    def times(self, count: int) -> Answer:
        """Exactly ``count`` times, with no warming up."""
        start = perf_counter()
        self.batch(count)
        return {"calls": count * self.calls, "seconds": perf_counter() - start}

    def _one_by_one(self, span: float) -> Answer:
        durations: list[float] = []
        while sum(durations) < span:
            start = perf_counter()
            self.batch(1)
            durations.append(perf_counter() - start)
        return {
            "calls": len(durations) * self.calls,
            "seconds": sum(durations),
            "median_seconds": sorted(durations)[len(durations) // 2],
            "slowest_seconds": max(durations),
        }

    def _growing(self, span: float) -> Answer:
        """Batches, at first of one and soon of many: the clock is read seldom enough not to be measured."""
        size, times = 1, 0
        start = before = perf_counter()
        while True:
            self.batch(size)
            times += size
            now = perf_counter()
            if now - start >= span:
                return {"calls": times * self.calls, "seconds": now - start}
            if now - before < span / 50:
                size *= 2
            before = now


def obey(makers: Mapping[str, Callable[[], Any]]) -> None:
    """Plays the client until standard input ends. A maker gives a ready ``Workload``, or something alike."""
    ready: dict[str, Any] = {}
    for line in sys.stdin:
        order = json.loads(line)
        name = order["workload"]
        try:
            if name not in makers:
                raise Missing("the library has nothing of the kind")
            if name not in ready:
                # One at a time: the payloads of the large ones add up.
                ready = {name: makers[name]()}
            workload = ready[name]
            say(**(workload.times(order["times"]) if "times" in order else workload.for_seconds(order["seconds"])))
        except Missing as reason:
            say(missing=str(reason))


def repeated(call: Callable[[], object]) -> Callable[[int], None]:
    """A batch out of one call."""

    def batch(times: int) -> None:
        for _ in range(times):
            call()

    return batch


def pushing(push: Callable[[bytes], Any], size: int) -> Workload:
    """``size`` random bytes there, and their number back. They are random, so that compressing them cannot pay."""
    data = os.urandom(size)
    require(push(data), size)
    return Workload(repeated(partial(push, data)), long=True)


def echoing(echo: Callable[[bytes], Any], size: int) -> Workload:
    """``size`` random bytes there and back."""
    data = os.urandom(size)
    if echo(data) != data:
        raise RuntimeError(f"the peer answered other bytes than the {size} it was sent")
    return Workload(repeated(partial(echo, data)), long=True)


def bulk(
    push: Callable[[bytes], Any], echo: Callable[[bytes], Any], sizes: tuple[int, ...] = SIZES
) -> dict[str, Callable[[], Workload]]:
    """The makers of all large transfers."""
    makers: dict[str, Callable[[], Workload]] = {}
    for size in sizes:
        makers[f"push{size}"] = partial(pushing, push, size * MIB)
        makers[f"echo{size}"] = partial(echoing, echo, size * MIB)
    return makers


def compressible(size: int) -> bytes:
    """``size`` bytes like a log: zlib makes them about a fifth."""
    chance = random.Random(7)
    lines, length = [], 0
    while length < size:
        line = (
            f"2026-01-{chance.randrange(1, 29):02} {chance.randrange(24):02}:{chance.randrange(60):02} "
            f"INFO worker-{chance.randrange(16)} handled request {chance.randrange(10**6)} in "
            f"{chance.randrange(900)} us, status={chance.choice(('ok', 'ok', 'ok', 'retry', 'failed'))}\n"
        ).encode()
        lines.append(line)
        length += len(line)
    return b"".join(lines)[:size]


def require(result: object, expected: object) -> None:
    """A fast wrong answer is worth nothing."""
    if result != expected:
        raise RuntimeError(f"the peer answered {result!r}, expected {expected!r}")


def say(**fields: object) -> None:
    """One JSON line for the driver."""
    print(json.dumps(fields), flush=True)


def wait_for_end() -> None:
    """Returns when standard input ends."""
    sys.stdin.buffer.read()
