"""A Python client of lab_service.rs. It runs with this package and with PyPI's rpyc alike."""

from __future__ import annotations

import argparse

import rpyc


def main() -> None:
    """Connects to the lab and uses it like an object of this program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where lab_service runs")
    parser.add_argument("--port", type=int, required=True, help="the port that it printed")
    options = parser.parse_args()

    conn = rpyc.connect(options.host, options.port)
    lab = conn.root
    print(type(lab).__name__, "-", lab.__doc__.splitlines()[0])

    lab.temperature = 36.5
    print("temperature:", lab.temperature)
    print("probes:", lab.add_probe("a"), lab.add_probe("b", factor=2), lab.add_probe(name="c", value=1.5))
    print(len(lab), "probes:", ", ".join(lab), "- b is", lab["b"], "- d is there:", "d" in lab)
    print("countdown:", *lab.countdown(3))
    print("called back:", lab.run(2, lambda step, text: f"{text}, seen"))
    print(lab("a call"))

    try:
        with lab.experiment("first") as experiment:
            print("within", experiment.name)
            lab.measure("nothing")
    except KeyError as error:
        print("no probe:", str(error).splitlines()[0])
    print("log:", lab.log)
    conn.close()


if __name__ == "__main__":
    main()
