"""What is measured: the one list that the driver, the targets and the report share.

The programs that do it are in ``ends/``; they know the workloads by name.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20

SIZES = (1, 16, 64, 256)
"""Sizes of the large payloads, in MiB."""


@dataclass(frozen=True)
class Workload:
    """One thing that is measured.

    ``floor`` is what the Rust floor does for it: bytes of one request and of one reply as rpyc 6.0.2 frames them
    (uncompressed, taken from the frames of a real connection), and requests in flight. ``scale`` turns calls a second
    into ``unit``: MiB of payload in one call, each byte counted once however often it travels.
    """

    name: str
    title: str
    unit: str = "calls/s"
    floor: tuple[int, int, int] | None = None
    scale: float = 1.0


# A call of a held function is CALL. The floor of `conn.root.add(1, 2)` is one CALLATTR, the fewest frames that can do
# it; rpyc 6.0.2 spends a GETATTR, a CALL and a DEL on it.
CALLS = (
    Workload("held", "held call `f(1, 2)`", floor=(81, 16, 1)),
    Workload("method", "`conn.root.add(1, 2)`", floor=(79, 16, 1)),
    Workload("attribute", "`conn.root.value`", floor=(77, 16, 1)),
    Workload("bare held", "the frame of `f(1, 2)`, from a bare socket"),
    Workload("bare method", "the frame of `conn.root.add(1, 2)`, from a bare socket"),
    Workload("async300", "300 calls outstanding", floor=(81, 16, 300)),
    Workload("async5000", "5,000 calls outstanding", floor=(81, 16, 5000)),
    Workload("batch", "5,000 calls in a batch"),
    Workload("connect", "connect, call, close", "times/s"),
)

BULK = tuple(
    Workload(
        f"{kind}{size}",
        f"{kind} of {size} MiB",
        "MiB/s",
        floor=(size * MIB + 84, size * MIB + 20 if kind == "echo" else 20, 1),
        scale=size,
    )
    for kind in ("push", "echo")
    for size in SIZES
)

STRUCTURES = (
    Workload("iterate", "`for` over a remote list of 1,000", "times/s"),
    Workload("list", "`list()` of a remote list of 1,000", "times/s"),
    Workload("instances", "200 instances of one class", "times/s"),
    Workload("numpy16", "obtain a NumPy array of 16 MiB", "MiB/s", scale=16),
)

THREADS = (
    *(Workload(f"threads{count}", f"{count} thread{'s' * (count > 1)} on one connection") for count in (1, 4, 16)),
    Workload("background", "1 thread beside a BgServingThread"),
)

POOL = (Workload("held", "held call, a server with a thread pool", floor=(81, 16, 1)),)

RUST = (
    Workload("sync", "call `add(1, 2)`", floor=(81, 16, 1)),
    Workload("outstanding", "1,000 calls outstanding", floor=(81, 16, 1000)),
    Workload("push", "push of 16 MiB", "MiB/s", floor=(16 * MIB + 84, 20, 1), scale=16),
    Workload("echo", "echo of 16 MiB", "MiB/s", floor=(16 * MIB + 84, 16 * MIB + 20, 1), scale=16),
)
"""Rust to Rust, over TCP."""

LINK = (Workload("text16", "push of 16 MiB of log text", "MiB/s", scale=16),)

BUSY = (Workload("held", "held call, all cores kept busy", floor=(81, 16, 1)),)

SINGLES = (
    *(
        Workload(f"{end} {workload}", f"peak memory of the {end}, {workload[:4]} of {workload[4:]} MiB", "payloads")
        for workload in ("push16", "push64", "push256", "echo16", "echo64", "echo256")
        for end in ("client", "server")
    ),
    Workload("idle", "memory of an idle connection", "KiB"),
    Workload("rust idle", "memory of an idle connection, Rust", "KiB"),
    Workload("import", "`import rpyc`", "ms"),
    Workload("requests method", "frames of `conn.root.add(1, 2)`", "frames"),
    Workload("requests iterate", "frames to iterate a remote list of 1,000", "frames"),
    Workload("requests list", "frames to `list()` a remote list of 1,000", "frames"),
    Workload("requests instances", "frames to receive 200 instances of one class", "frames"),
)
"""Amounts; less is better. Frames are those that the client sends for one time, once the connection is warm but for
the instances, whose class is new."""

BY_NAME = {
    workload.name: workload for workload in (*CALLS, *BULK, *STRUCTURES, *THREADS, *RUST, *LINK, *SINGLES)
}
