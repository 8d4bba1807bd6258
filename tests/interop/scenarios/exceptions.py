"""Remote exceptions: class, arguments, text and traceback."""

from __future__ import annotations

from typing import Any

import rpyc

from .registry import raises, scenario


def raiser(root: Any) -> Any:
    """The remote function whose name is a keyword here."""
    return getattr(root, "raise")


@scenario
def builtin_exceptions(peer: Any) -> None:
    """They arrive as their own class, with arguments, attributes and the remote traceback."""
    fail = raiser(peer.connect().root)
    error: Any = raises(ValueError, fail, "ValueError", "bad value", 7)
    assert error.args == ("bad value", 7)
    assert error.__class__.__name__ == "ValueError"
    assert "========= Remote Traceback (1) =========" in str(error)
    assert str(error).startswith("('bad value', 7)")
    assert "exposed_raise" in error._remote_tb
    assert error._remote_tb.startswith("Traceback (most recent call last)")
    assert error._remote_version.split(".")[0] == rpyc.__version__.split(".")[0]
    assert "WARNING" not in error._remote_tb

    missing: Any = raises(KeyError, fail, "KeyError", "gone")
    assert missing.args == ("gone",)
    absent: Any = raises(FileNotFoundError, fail, "FileNotFoundError", 2, "No such thing", "a-file")
    assert (absent.errno, absent.strerror, absent.filename) == (2, "No such thing", "a-file")
    raises(ZeroDivisionError, fail, "ZeroDivisionError")
    raises(NotImplementedError, fail, "NotImplementedError")
    raises(TimeoutError, fail, "TimeoutError")
    raises(SystemExit, fail, "SystemExit", 4)
    raises(GeneratorExit, fail, "GeneratorExit")


@scenario
def stop_iteration(peer: Any) -> None:
    """It has an encoding of its own, which carries nothing."""
    fail = raiser(peer.connect().root)
    assert raises(StopIteration, fail, "StopIteration", "lost").args == ()


@scenario
def unknown_exceptions(peer: Any) -> None:
    """A class that the client may not instantiate arrives as a GenericException that names it."""
    fail = raiser(peer.connect().root)
    error: Any = raises(rpyc.GenericException, fail, "TeapotError", 418, "short and stout")
    assert error.args == (418, "short and stout")
    assert error.code == 418
    assert type(error).__name__ == "shared_errors.TeapotError"


@scenario
def custom_exceptions(peer: Any) -> None:
    """With permission it is imported and instantiated."""
    fail = raiser(peer.connect(instantiate_custom_exceptions=True, import_custom_exceptions=True).root)
    error: Any = raises(Exception, fail, "TeapotError", 418, "short and stout")
    from shared_errors import TeapotError

    assert isinstance(error, TeapotError)
    assert (error.code, error.args) == (418, (418, "short and stout"))
    assert "Remote Traceback (1)" in str(error)


@scenario
def exceptions_that_cross_twice(peer: Any) -> None:
    """A callback fails on the client, and its exception comes back through the server."""
    root = peer.connect().root

    def fail() -> None:
        raise KeyError("from the client")

    error: Any = raises(KeyError, root.apply, fail)
    assert error.args == ("from the client",)
    assert "Remote Traceback (2)" in str(error)
    assert "exposed_apply" in error._remote_tb


@scenario
def a_failed_call_harms_nothing(peer: Any) -> None:
    """Calls go on after exceptions of every kind."""
    conn = peer.connect()
    fail = raiser(conn.root)
    for name in ("ValueError", "StopIteration", "SystemExit", "AttributeError", "EOFError", "RecursionError"):
        raises(BaseException, fail, name)
        assert conn.root.same(name) == name
    assert not conn.closed
