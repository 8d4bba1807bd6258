"""A client of calculator_server.py."""

from __future__ import annotations

import argparse

import rpyc


def main() -> None:
    """Connects, calculates, and prints what came back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where calculator_server.py runs")
    parser.add_argument("--port", type=int, required=True, help="the port that it printed")
    options = parser.parse_args()

    conn = rpyc.connect(options.host, options.port)
    calculator = conn.root
    print("2 + 3 =", calculator.add(2, 3))
    print("7 / 2 =", calculator.divide(7, 2))
    try:
        calculator.divide(1, 0)
    except ZeroDivisionError as error:
        # The text goes on with the traceback of the other side.
        print("1 / 0 :", str(error).splitlines()[0])

    history = calculator.get_history()
    print("history:", ", ".join(history))
    calculator.add(4, 5)
    print("it lives on the server:", len(history), "entries now")
    conn.close()


if __name__ == "__main__":
    main()
