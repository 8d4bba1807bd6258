"""System calls of a process from its start to its end, as ``strace -c`` counts them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

SENDS = frozenset({"sendto", "sendmsg", "write", "writev"})
RECEIVES = frozenset({"recvfrom", "recvmsg", "read", "readv"})


def command(out: Path) -> list[str]:
    """The words that go before a command whose system calls are to be counted, all threads included."""
    return ["strace", "-f", "-c", "-o", str(out)]


def parse(path: Path) -> Counter[str]:
    """Calls by name. The table's columns: share, seconds, microseconds a call, calls, errors (or nothing), name."""
    counts: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] not in ("total", "syscall"):
            counts[fields[-1]] += int(fields[3])
    return counts
