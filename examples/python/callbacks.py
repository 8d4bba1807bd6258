"""Callbacks: a function given to the server is called there and runs here, while the first call still waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from roles import HOST, play

import rpyc


class WorkService(rpyc.Service):
    """Calls back while it works."""

    def exposed_process(self, items: Iterable[str], on_progress: Callable[[int, str], bool]) -> int:
        """Handles items until there are no more or ``on_progress`` says stop. Returns how many it handled.

        Both arguments live on the client: iterating and calling them go back over the connection.
        """
        handled = 0
        for item in items:
            handled += 1
            if not on_progress(handled, item.upper()):
                break
        return handled


def client(port: int) -> None:
    """Hands functions to the server."""
    conn = rpyc.connect(HOST, port)
    items = ["alpha", "beta", "gamma", "delta"]

    def report(count: int, item: str) -> bool:
        print(f"  {count}: {item}")
        return True

    print("all of them:")
    print("handled", conn.root.process(items, report))

    print("until the third:")
    print("handled", conn.root.process(items, lambda count, item: report(count, item) and count < 3))

    def fail(count: int, item: str) -> bool:
        raise LookupError(f"no shelf for {item}")

    # An error in the callback passes through the server and comes back as what it was.
    try:
        conn.root.process(items, fail)
    except LookupError as error:
        print("the callback failed:", str(error).splitlines()[0])
    conn.close()


if __name__ == "__main__":
    play(WorkService, client)
