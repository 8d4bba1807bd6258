"""Classic mode: the other interpreter's modules, names and objects at hand, as if they were here.

A classic server lets its clients do anything that its user may do. Serve it to programs and on networks you trust.
"""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
from pathlib import Path

from roles import server_process

from rpyc.utils import classic


def main() -> None:
    """Connects to a classic server that runs already, or to one of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port of a running rpyc_classic (default: starts one)")
    options = parser.parse_args()
    if options.port:
        client(options.port)
    else:
        # The command that comes with the package, for one connection. It says its name, then host, TAB and port.
        command = Path(sysconfig.get_path("scripts")) / "rpyc_classic"
        arguments = ["--mode", "oneshot", "--port", "0", "--quiet"]
        with server_process([sys.executable, str(command), *arguments], announcement=r"\t(\d+)") as port:
            client(port)


def client(port: int) -> None:
    """Works inside the other process."""
    conn = classic.connect("127.0.0.1", port)

    # Modules: what is done to them happens there.
    remote_os = conn.modules.os
    print("another process:", remote_os.getpid() != os.getpid())
    print("remote path:", conn.modules["os.path"].join("a", "b"))

    # Code and names.
    conn.execute("numbers = [n * n for n in range(5)]")
    numbers = conn.namespace["numbers"]
    print("remote list:", numbers, "sum", conn.eval("sum(numbers)"))

    # A reference follows the original, a copy does not.
    copy = classic.obtain(numbers)
    numbers.append(25)
    print("reference:", len(numbers), "entries; copy:", len(copy), "entries")

    # A function of ours, run there.
    def where(prefix: str) -> str:
        import os

        return f"{prefix} {os.getpid()}"

    teleported = conn.teleport(where)
    print("teleported function ran there:", teleported("process") == f"process {remote_os.getpid()}")
    conn.close()


if __name__ == "__main__":
    main()
