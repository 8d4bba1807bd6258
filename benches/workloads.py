"""What is measured: the one list that the worker, the driver and the report share."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20

OUTSTANDING = 300
"""Asynchronous calls in flight at once. rpyc 6.0.2 blocks for good with 500 of them on a Unix socket: both ends write,
neither reads."""


@dataclass(frozen=True)
class Workload:
    """One thing that a client does over and over.

    ``request`` and ``reply`` are the bytes of one call as rpyc 6.0.2 frames it (uncompressed), taken from the frames
    of a real connection; the raw floor moves just as many. ``outstanding`` calls are sent before the first reply is
    awaited. ``payload`` is the number of user bytes carried each way, 0 where only calls are counted.
    """

    name: str
    title: str
    request: int
    reply: int
    outstanding: int = 1
    payload: int = 0

    @property
    def unit(self) -> str:
        """``MiB/s`` (of payload, each byte going there and back) or ``calls/s``."""
        return "MiB/s" if self.payload else "calls/s"

    def rate(self, calls: int, seconds: float) -> float:
        """The measured rate in ``unit``."""
        per_call = self.payload / MIB if self.payload else 1
        return calls * per_call / seconds


# A call of a held function is CALL. The floor of `conn.root.add(1, 2)` is one CALLATTR, the fewest frames that can do
# it; rpyc 6.0.2 spends a GETATTR, a CALL and a DEL on it.
WORKLOADS = (
    Workload("held", "held call `f(1, 2)`", request=81, reply=16),
    Workload("method", "`conn.root.add(1, 2)`", request=79, reply=16),
    Workload("attribute", "`conn.root.value`", request=77, reply=16),
    Workload("async", f"{OUTSTANDING} calls outstanding", request=81, reply=16, outstanding=OUTSTANDING),
    Workload("echo1", "echo of 1 MiB", request=MIB + 84, reply=MIB + 20, payload=MIB),
    Workload("echo16", "echo of 16 MiB", request=16 * MIB + 84, reply=16 * MIB + 20, payload=16 * MIB),
)

BY_NAME = {workload.name: workload for workload in WORKLOADS}
