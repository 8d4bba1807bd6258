"""Asynchronous calls: results that arrive later, callbacks on arrival, and patience that ends."""

from __future__ import annotations

import time

from roles import HOST, play

import rpyc


class SlowService(rpyc.Service):
    """Takes its time."""

    def exposed_square(self, number: int, seconds: float) -> int:
        """The square, after some seconds."""
        time.sleep(seconds)
        return number * number


def client(port: int) -> None:
    """Sends calls, does something else, and collects the results."""
    conn = rpyc.connect(HOST, port)
    square = rpyc.async_(conn.root.square)

    # The call is on its way; nothing waits.
    result = square(12, seconds=0.1)
    print("meanwhile: sum of the first thousand numbers is", sum(range(1000)))
    result.wait()
    print("12 squared:", result.value)

    # Many at once cost one wait. The server runs one request of a connection after the other.
    results = [square(number, seconds=0) for number in range(10)]
    print("ten squares:", [result.value for result in results])

    # A callback runs when the reply is read: here, inside wait().
    announced = square(9, seconds=0.1)
    announced.add_callback(lambda done: print("arrived:", done.value))
    announced.wait()

    # Patience that ends: the call itself goes on, its late result is dropped.
    impatient = rpyc.timed(conn.root.square, 0.1)
    try:
        print(impatient(3, seconds=0.5).value)
    except rpyc.AsyncResultTimeout:
        print("3 squared: timed out")
    conn.close()


if __name__ == "__main__":
    play(SlowService, client)
