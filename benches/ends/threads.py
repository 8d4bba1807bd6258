"""Several threads that call through one connection, with the latency of each call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

from measuring import Answer


class Threads:
    """``count`` threads; each calls again as soon as it has its answer."""

    def __init__(self, call: Callable[[int, int], Any], count: int) -> None:
        self.call = call
        self.count = count

    def for_seconds(self, span: float) -> Answer:
        """Calls of all threads in ``span`` seconds; median and 99th percentile of the latency, in seconds; and the
        calls of the thread that made the fewest, as a part of the average."""
        self._run(span / 10)
        start = perf_counter()
        latencies = self._run(span)
        elapsed = perf_counter() - start
        ordered = sorted(latency for of_thread in latencies for latency in of_thread)
        return {
            "calls": len(ordered),
            "seconds": elapsed,
            "p50": ordered[len(ordered) // 2],
            "p99": ordered[len(ordered) * 99 // 100],
            "least": min(map(len, latencies)) * self.count / len(ordered),
        }

    def _run(self, span: float) -> list[list[float]]:
        latencies: list[list[float]] = [[] for _ in range(self.count)]
        gate = threading.Barrier(self.count)

        def work(mine: list[float]) -> None:
            gate.wait(10)
            before = perf_counter()
            deadline = before + span
            while before < deadline:
                self.call(1, 2)
                now = perf_counter()
                mine.append(now - before)
                before = now

        threads = [threading.Thread(target=work, args=(mine,)) for mine in latencies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return latencies
