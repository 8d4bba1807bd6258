"""Many threads on one connection, with callbacks: every answer to its caller, and nobody waits for long.

The threads that call have no timer of their own: a wake-up that is lost is a call that never ends. So what `make test`
asserts does not depend on the speed of the machine. `make stress` (`RPYC_STRESS=1`) runs the full size, with delays at
each hand-over of the read role (a build with the feature `chaos`), and looks at the clock too.
"""

from __future__ import annotations

import ast
import bisect
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Rig, in_thread

import rpyc

FULL = bool(os.environ.get("RPYC_STRESS"))
THREADS, CALLS = (64, 2000) if FULL else (24, 60)
# Seconds: by far more than a run takes on a loaded machine, by far less than for ever.
PATIENCE = 900 if FULL else 60
# What a call may wait beyond its own time, in seconds.
LONGEST_WAIT = 0.1

SERVER = """
import sys
import rpyc
from rpyc.utils import server

class Service(rpyc.Service):
    def exposed_call(self, function, value):
        return function(value)
    def exposed_nest(self, function, value, depth):
        return function(self.exposed_nest, value, depth - 1) if depth else value
    def exposed_same(self, value):
        return value

serving = getattr(server, sys.argv[1])(Service, hostname="127.0.0.1", port=0)
thread = serving._start_in_thread()
print(serving.port, flush=True)
thread.join()
"""

# Sleeps for a moment, again and again, and tells when the machine did not let it go on in time: that is no wait of ours.
WATCH = """
import threading, time
ended = threading.Event()
threading.Thread(target=lambda: (input(), ended.set()), daemon=True).start()
late = []
while not ended.is_set():
    due = time.perf_counter() + 0.002
    time.sleep(0.002)
    if (now := time.perf_counter()) > due + 0.002:
        late.append((due, now))
print(late, flush=True)
"""


@pytest.fixture(params=["free", "pinned"])
def placement(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where this process and those that it starts run: anywhere, or all on one core."""
    cores = os.sched_getaffinity(0)
    if request.param == "pinned":
        os.sched_setaffinity(0, {min(cores)})
    yield request.param
    os.sched_setaffinity(0, cores)


@pytest.fixture(params=[5e-3, 1e-6], ids=["patient", "hasty"])
def switching(request: pytest.FixtureRequest) -> Iterator[float]:
    """How long the interpreter lets a thread run before another one may: as usual, or hardly at all."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(request.param)
    yield request.param
    sys.setswitchinterval(before)


@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize("kind", ["ThreadedServer", "ThreadPoolServer"])
def test_many_threads_with_callbacks(rig: Rig, placement: str, switching: float, kind: str) -> None:
    """Plain calls, callbacks and callbacks that call back, from all threads at once."""
    server = rig.program(SERVER, kind)
    conn = rpyc.connect("127.0.0.1", int(server.line()), config={"sync_request_timeout": PATIENCE})
    rig.on_end(conn.close)
    call, nest, same = conn.root.call, conn.root.nest, conn.root.same

    steps: list[float] = []

    def down(remote: Any, value: int, depth: int) -> Any:
        steps.append(time.perf_counter())
        return remote(down, value, depth - 1) if depth else value

    def answer(value: int) -> tuple[int, int]:
        steps.append(time.perf_counter())
        return value, value

    def work(base: int) -> list[tuple[float, float]]:
        spans = []
        for n in range(base, base + count):
            begun = time.perf_counter()
            if n % 8 == 0 and not timed:
                assert nest(down, n, 4) == n
            elif n % 2:
                assert same(n) == n
            else:
                assert call(answer, n) == (n, n)
            spans.append((begun, time.perf_counter()))
        return spans

    # The whole number, and the clock, with one kind of server and the usual switching. No calls are nested deeply then:
    # of two handlers in one thread the lower one ends later, however long it could have gone on.
    timed = FULL and (kind, switching) == ("ThreadedServer", 5e-3)
    watch = rig.program(WATCH) if timed else None
    count = CALLS if timed else min(CALLS, 200)
    running = [in_thread(lambda base=base: work(base)) for base in range(0, THREADS * 10_000, 10_000)]
    spans = [span for future in running for span in future.result(PATIENCE)]
    assert len(spans) == THREADS * count
    assert not conn._request_callbacks
    if watch is not None:
        watch.tell()
        look_at_the_clock(spans, steps, ast.literal_eval(watch.line()))


Span = tuple[float, float]


def look_at_the_clock(spans: list[Span], callbacks: list[float], late: list[Span]) -> None:
    """All calls share one connection: a call's own time is that of the steps (callbacks, answers) made during it.

    What the machine took for others, as the watching process saw it, is not counted either.
    """
    steps = sorted([end for _, end in spans] + callbacks)
    each = (steps[-1] - steps[0]) / len(steps)
    longest = beyond = taken = most = 0.0
    for begun, end in spans:
        during = bisect.bisect(steps, end) - bisect.bisect(steps, begun)
        longest = max(longest, end - begun)
        most = max(most, during)
        if end - begun - during * each > beyond:
            stolen = sum(max(0.0, min(end, until) - max(begun, since)) for since, until in late)
            if end - begun - during * each - stolen > beyond:
                beyond, taken = end - begun - during * each - stolen, stolen
    print(
        f"{len(spans)} calls, {len(steps)} steps, {1 / each:.0f} a second; the longest call took {longest * 1e3:.0f} ms, "
        f"in which {most:.0f} steps were made at most; the longest wait beyond that was {beyond * 1e3:.0f} ms "
        f"({taken * 1e3:.0f} ms more were the machine's)"
    )
    assert beyond <= LONGEST_WAIT
    # Nobody is passed over: each of the others comes before it a few times at most.
    assert most <= 10 * THREADS
