"""Checks what the Rust service in examples/mixed/lab_service.rs gives a Python client, of either package.

``python rust_driver.py PORT`` prints ``done`` if all holds.
"""

from __future__ import annotations

import gc
import pydoc
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import rpyc


def raises(kind: str, call: Callable[[], Any]) -> BaseException:
    """The exception that the call raises; it must be of this class, by name."""
    try:
        call()
    except Exception as error:
        names = [f"{base.__module__}.{base.__qualname__}" for base in type(error).__mro__]
        assert any(name == f"builtins.{kind}" or name.endswith(f".{kind}") for name in names), (kind, names, error)
        return error
    raise AssertionError(f"no {kind}")


def arguments(lab: Any) -> None:
    """By position, by name, by default; wrong ones are a TypeError that names method and parameter."""
    assert lab.add_probe("a") == 20.0
    assert lab.add_probe("b", 2.5) == 2.5
    assert lab.add_probe(factor=3, name="c", value=1) == 3.0
    assert lab.add_probe("d", None, 2) == 40.0
    assert lab.describe(1, None, "x", b"y", z=(1, 2.5)) == "1, None, 'x', b\"y\", z=(1, 2.5)"
    for call, words in [
        (lambda: lab.add_probe(), ["add_probe()", "missing", "'name'"]),
        (lambda: lab.add_probe(1), ["add_probe()", "'name'", "expected str, found int"]),
        (lambda: lab.add_probe("a", 1, 2, 3), ["add_probe()", "takes 3 positional", "4 were given"]),
        (lambda: lab.add_probe("a", probe=1), ["add_probe()", "unexpected", "'probe'"]),
        (lambda: lab.add_probe("a", name="b"), ["add_probe()", "multiple values", "'name'"]),
        (lambda: lab.add_probe("a", factor=2**70), ["add_probe()", "'factor'", "i64"]),
        (lambda: lab.run(1, 2), ["run()", "'on_step'", "expected a remote object, found int"]),
        (lambda: setattr(lab, "temperature", "hot"), ["temperature", "expected float, found str"]),
    ]:
        text = str(raises("TypeError", call))
        assert all(word in text for word in words), (words, text)


def attributes(lab: Any) -> None:
    """Read and set as they are exposed; nothing else is there."""
    lab.temperature = 30
    assert lab.temperature == 30.0
    raises("lab.Overheated", lambda: setattr(lab, "temperature", 5000))
    for name in ["probes", "set_temperature", "connected", "call_method"]:
        raises("AttributeError", lambda name=name: getattr(lab, name))
    raises("AttributeError", lambda: setattr(lab, "log", ()))
    raises("AttributeError", lambda: delattr(lab, "temperature"))
    names = dir(lab)
    assert {"add_probe", "countdown", "temperature", "__len__"} <= set(names), names
    assert not {"probes", "set_temperature"} & set(names), names
    # Services are also called by RPyC's own prefix.
    assert lab.exposed_measure("b") == 2.5
    assert callable(lab) and lab("x") == "the lab heard x"
    assert repr(lab) == str(lab) == "<lab.Lab object>"
    assert hash(lab) == hash(lab) and lab == lab


def documentation(lab: Any) -> None:
    """Doc comments are what help() shows."""
    assert lab.__doc__.startswith("A laboratory to control from afar."), lab.__doc__
    assert lab.add_probe.__doc__.startswith("Adds a probe."), lab.add_probe.__doc__
    text = pydoc.plain(pydoc.render_doc(lab))
    assert "add_probe" in text and "Adds a probe." in text and "Counts down" in text, text


def containers(lab: Any) -> None:
    """Python's syntax works with what is exposed."""
    assert len(lab) == 4 and "b" in lab and "zz" not in lab
    assert lab["b"] == 2.5
    assert list(lab) == ["a", "b", "c", "d"]
    assert list(lab.countdown(5)) == [5, 4, 3, 2, 1, 0]
    numbers = lab.countdown(3)
    assert next(numbers) == 3 and iter(numbers) is not None and list(numbers) == [2, 1, 0]
    raises("StopIteration", lambda: next(numbers))
    scale = lab.scaler(3)
    assert scale(14) == 42 and callable(scale)
    text = str(raises("TypeError", lambda: scale("x")))
    assert "expected int, found str" in text, text


def errors(lab: Any) -> None:
    """Exceptions have their class, text and attributes; a panic is one, and the connection lives on."""
    error = raises("KeyError", lambda: lab.measure("nothing"))
    assert error.args == ("nothing",), error.args
    overheated = raises("lab.Overheated", lambda: setattr(lab, "temperature", 5000.0))
    assert "5000 degrees" in str(overheated) and overheated.degrees == 5000.0  # type: ignore[attr-defined]
    assert "the lab exploded" in str(raises("RuntimeError", lab.explode))
    raises("AttributeError", lambda: lab.measure.nothing)
    assert lab.measure("b") == 2.5


def callbacks(lab: Any) -> None:
    """Functions of this program run here, while the call waits; what they raise comes back as it was."""
    main = threading.get_ident()
    assert lab.run(3, lambda step, text: (step, text, threading.get_ident() == main)) == (
        (0, "step 0", True),
        (1, "step 1", True),
        (2, "step 2", True),
    )
    assert lab.run(1, lambda step, text: lab.run(2, lambda inner, _: inner + 10)) == ((10, 11),)

    def fail(step: int, text: str) -> None:
        raise LookupError("no such step")

    assert "no such step" in str(raises("LookupError", lambda: lab.run(1, fail)))


def context_managers(lab: Any) -> None:
    """A with statement enters and leaves, with and without an exception."""
    with lab.experiment("good") as experiment:
        assert experiment.name == "good"

    def fail() -> None:
        with lab.experiment("bad"):
            raise ValueError("spilled")

    raises("ValueError", fail)
    assert lab.log == ("good begins", "good ends", "bad begins", "bad fails"), lab.log


def bulk(lab: Any) -> None:
    """A megabyte, both ways, and at once from two threads."""
    data = bytes(range(256)) * 4096
    assert lab.reverse(data) == data[::-1]
    asynchronous = [rpyc.async_(lab.reverse)(data) for _ in range(4)]
    assert all(result.value == data[::-1] for result in asynchronous)
    assert lab.reverse(b"") == b""


def releases(conn: Any, lab: Any) -> None:
    """What nobody here uses is let go of there."""
    gc.collect()
    conn.ping()
    # The method itself is held, too, until it is known to be one.
    lab.held()
    before = lab.held()
    kept = [lab.scaler(n) for n in range(20)]
    assert lab.held() >= before + 20
    for n in range(20):
        assert next(lab.countdown(n)) == n
    del kept
    gc.collect()
    deadline = time.monotonic() + 10
    while lab.held() > before:
        assert time.monotonic() < deadline, f"{lab.held()} are held, {before} at first"
        conn.ping()


def main() -> None:
    """Plays all checks over one connection."""
    conn = rpyc.connect("127.0.0.1", int(sys.argv[1]))
    lab = conn.root
    for check in (arguments, attributes, documentation, containers, errors, callbacks, context_managers, bulk):
        check(lab)
    releases(conn, lab)
    conn.close()
    print("done")


if __name__ == "__main__":
    main()
