"""A service for the Rust client in rust_client.rs. Run as a program, it serves under either package.

``python python_lab.py service`` serves the lab, ``python python_lab.py classic`` the interpreter. The first line of the
output is the port.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import rpyc
from rpyc.utils.server import ThreadedServer

_gate = threading.Event()
_given_up = threading.Event()


class Reagent:
    """Something with a state, operators and an order."""

    def __init__(self, amount: int) -> None:
        self.exposed_amount = amount

    def __repr__(self) -> str:
        return f"Reagent({self.exposed_amount})"

    def __hash__(self) -> int:
        return 1000 + self.exposed_amount

    def __eq__(self, other: object) -> bool:
        return self.exposed_amount == other

    def __lt__(self, other: int) -> bool:
        return self.exposed_amount < other

    def __add__(self, other: int) -> int:
        return self.exposed_amount + other

    def __neg__(self) -> int:
        return -self.exposed_amount

    def __bool__(self) -> bool:
        return self.exposed_amount != 0

    def __enter__(self) -> str:
        return f"using {self.exposed_amount}"

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self.exposed_amount = -1 if kind is None else -2
        return False


class LabService(rpyc.Service):
    """What the Rust client uses."""

    def on_connect(self, conn: rpyc.Connection) -> None:
        """Each client has a lab of its own."""
        self._conn = conn
        self.exposed_shelf = [1, 2, 3]
        self._ticks = 0

    def exposed_mix(self, a: int, b: int = 10, *more: int, **options: int) -> tuple[int, int, list[str]]:
        """Mixes."""
        return a + b, len(more), sorted(options)

    def exposed_reagent(self, amount: int) -> Reagent:
        """A new one."""
        return Reagent(amount)

    def exposed_reagent_class(self) -> type[Reagent]:
        """The class."""
        return Reagent

    def exposed_echo(self, value: Any) -> Any:
        """What was given: plain things by value, others as what they were."""
        return value

    def exposed_kind(self, value: Any) -> str:
        """How Python sees a value."""
        return f"{type(value).__name__} {value!r}"

    def exposed_stock(self) -> dict[str, int]:
        """By reference."""
        return {"salt": 3, "sugar": 5}

    def exposed_count(self, limit: int) -> Iterator[int]:
        """One by one."""
        yield from range(limit)

    def exposed_each(self, items: Any, callback: Callable[..., Any]) -> list[Any]:
        """Calls back for each item."""
        return [callback(item) for item in items]

    def exposed_within(self, manager: Any, fail: bool) -> str:
        """Uses a context manager of the client."""
        with manager as value:
            if fail:
                raise LookupError("inside")
            return f"with {value}"

    def exposed_use(self, thing: Any) -> tuple[Any, ...]:
        """Uses an object of the client as if it were local."""
        return len(thing), thing[1], list(thing), thing.factor, thing.scaled(4), 5 in thing, repr(thing)

    def exposed_caught(self, callback: Callable[[], Any]) -> str:
        """The class of what a callback raises, as Python sees it."""
        try:
            callback()
        except ValueError as error:
            return f"ValueError: {str(error).splitlines()[0]}"
        except Exception as error:
            return f"{type(error).__module__}.{type(error).__name__}"
        return "nothing"

    def exposed_fail(self, text: str) -> None:
        """Raises from some depth."""
        raise KeyError(text)

    def exposed_hold(self) -> None:
        """Waits until another client lets it go on."""
        if not _gate.wait(20):
            raise TimeoutError("nobody opened the gate")

    def exposed_rest(self, seconds: float) -> None:
        """Takes its time."""
        time.sleep(seconds)

    def exposed_open_gate(self) -> None:
        """Lets those that wait go on."""
        _gate.set()

    def exposed_tick(self) -> int:
        """How often this client has called it."""
        self._ticks += 1
        return self._ticks

    def exposed_work(self) -> None:
        """Works until its caller has given it up."""
        deadline = time.monotonic() + 20
        while not rpyc.is_cancelled() and time.monotonic() < deadline:
            time.sleep(0.001)
        if rpyc.is_cancelled():
            _given_up.set()

    def exposed_noticed(self) -> bool:
        """Whether ``work`` noticed that its caller had given it up."""
        return _given_up.wait(20)

    def exposed_exit(self) -> None:
        """Ends the connection in the middle of a call."""
        self._conn.close()


def main() -> None:
    """Serves until it is ended."""
    service = rpyc.SlaveService if sys.argv[1] == "classic" else LabService
    config = {"allow_all_attrs": False, "allow_safe_attrs": True}
    server = ThreadedServer(service, hostname="127.0.0.1", port=0, protocol_config=config)
    serving = threading.Thread(target=server.start)
    serving.start()
    # The constructor has bound; connections are refused until the thread listens.
    deadline = time.monotonic() + 10
    while not server.active:
        if time.monotonic() > deadline:
            raise RuntimeError("the server does not start")
        time.sleep(0.01)
    print(server.port, flush=True)
    serving.join()


if __name__ == "__main__":
    main()
