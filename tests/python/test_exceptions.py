"""Exceptions that cross a connection: what arrives, what stays, and what cannot be sent."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import pytest
from conftest import Rig, eventually

import rpyc
from rpyc.core import vinegar


class OwnError(Exception):
    """A class with attributes."""

    def __init__(self, code: int, items: Any) -> None:
        super().__init__(code, items)
        self.code, self.items = code, items


class BadText:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class BadProperty(Exception):
    """Reading one of its attributes fails."""

    @property
    def broken(self) -> Any:
        """Not to be had."""
        raise RuntimeError("no property")


class Service(rpyc.Service):
    """Fails in every way."""

    def exposed_raise(self, make: str) -> None:
        raise eval(make)

    def exposed_chain(self) -> None:
        try:
            raise KeyError("cause")
        except KeyError as error:
            raise ValueError("effect") from error

    def exposed_call(self, function: Any, *args: Any) -> Any:
        return function(*args)

    def exposed_value(self, make: str) -> Any:
        return eval(make)

    def exposed_nested(self, depth: int) -> Any:
        value: Any = ()
        for _ in range(depth):
            value = (value,)
        return value

    def exposed_same(self, value: Any) -> Any:
        return value


def failure(conn: Any, make: str) -> Any:
    """The exception that arrives when the peer raises the given expression."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        getattr(conn.root, "raise")(make)
    return caught.value


@pytest.fixture
def conn(rig: Rig) -> Any:
    """A connection under the default configuration."""
    return rig.pair(Service()).client


# What arrives


@pytest.mark.parametrize(
    "make",
    [
        "ValueError('x', 7)", "KeyError('k')", "ZeroDivisionError()", "AssertionError('no')", "GeneratorExit()", "SystemExit(3)",
        "StopAsyncIteration(5)", "EOFError('e')", "TimeoutError('t')", "ImportError('m', name='n', path='p')",
        "FileNotFoundError(2, 'No such', 'fn')", "UnicodeDecodeError('utf8', b'\\xff', 0, 1, 'why')", "RecursionError('r')",
    ],
)
def test_builtin_exceptions(conn: Any, make: str) -> None:
    """Caught by their own class, with their arguments, also those that end programs."""
    original, error = eval(make), failure(conn, make)
    assert isinstance(error, type(original)) and type(error).__name__ == type(original).__name__
    assert error.args == original.args
    assert "Remote Traceback (1)" in str(error)
    for name in ("errno", "strerror", "filename", "name", "path", "encoding", "reason", "code"):
        if hasattr(original, name):
            assert getattr(error, name) == getattr(original, name)
    assert conn.root.same(1) == 1


def test_text_of_a_remote_exception(conn: Any) -> None:
    """Its own text, a heading, the remote traceback; repr is the same."""
    error = failure(conn, "ValueError('bad')")
    head, _, trace = str(error).partition("\n\n========= Remote Traceback (1) =========\n")
    assert head == "bad" and trace == error._remote_tb
    assert repr(error) == str(error)
    assert trace.startswith("Traceback (most recent call last)") and "exposed_raise" in trace
    assert trace.rstrip().endswith("ValueError: bad")


def test_causes_are_part_of_the_text(conn: Any) -> None:
    """Chained exceptions are in the remote traceback."""
    with pytest.raises(ValueError, match="effect") as caught:
        conn.root.chain()
    text = caught.value._remote_tb  # type: ignore[attr-defined]
    assert "KeyError: 'cause'" in text and "direct cause" in text


def test_stop_iteration(conn: Any) -> None:
    """It arrives, without its value."""
    error = failure(conn, "StopIteration('lost')")
    assert type(error) is StopIteration and error.args == ()


def test_exceptions_cross_twice(conn: Any) -> None:
    """A failing callback comes back through the peer; the heading counts the hops."""

    def fail() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError) as caught:
        conn.root.call(fail)
    assert "Remote Traceback (2)" in str(caught.value)
    assert caught.value.args == ("mine",)


def test_arguments_that_are_no_plain_values(conn: Any) -> None:
    """They arrive as their repr."""
    assert failure(conn, "ValueError([1], 2, {'k': 3})").args == ("[1]", 2, "{'k': 3}")


# Classes


def test_unknown_classes(conn: Any) -> None:
    """Without permission: a GenericException whose name says what it was."""
    error = failure(conn, "OwnError(3, [1])")
    assert issubclass(type(error), rpyc.GenericException)
    assert type(error).__name__ == f"{__name__}.OwnError"
    assert (error.args, error.code, error.items) == ((3, "[1]"), 3, "[1]")


def test_known_classes(rig: Rig) -> None:
    """With permission: the class itself, made without calling its constructor."""
    client = rig.pair(Service(), client_config={"instantiate_custom_exceptions": True}).client
    error = failure(client, "OwnError(3, [1])")
    assert isinstance(error, OwnError) and not isinstance(error, rpyc.GenericException)
    assert (error.args, error.code, error.items) == ((3, "[1]"), 3, "[1]")


def test_imported_classes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module is imported only if both switches are on."""
    make = "__import__('wave').Error('w')"
    for importing, wanted in ((False, False), (True, True)):
        pair = rig.pair(Service(), client_config={"instantiate_custom_exceptions": True, "import_custom_exceptions": importing})
        error_type = __import__("wave").Error
        raised = vinegar.dump(error_type, error_type("w"), None, False, False)
        monkeypatch.delitem(sys.modules, "wave")
        loaded = vinegar.load(raised, importing, True, False)
        assert isinstance(loaded, rpyc.GenericException) is not wanted
        assert ("wave" in sys.modules) is wanted
        assert failure(pair.client, make).args == ("w",)


def test_registered_classes(conn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class put into the cache of generic exceptions is the one that arrives under that name."""

    class Local(Exception):
        """The program's own idea of the remote class."""

    monkeypatch.setitem(vinegar._generic_exceptions_cache, f"{__name__}.OwnError", Local)
    assert isinstance(failure(conn, "OwnError(1, 2)"), Local)


# What is told


def test_versions(rig: Rig, conn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer's version comes along, and a different major version is remarked upon."""
    error = failure(conn, "ValueError()")
    assert error._remote_version == rpyc.version.__version__ and "WARNING" not in error._remote_tb
    monkeypatch.setattr(rpyc.version, "__version__", "1.0.0")
    old = failure(conn, "ValueError()")
    assert old._remote_version == "1.0.0"
    assert "WARNING: Remote is on RPyC 1.0.0 and local is on RPyC" in old._remote_tb


def test_what_is_denied(rig: Rig) -> None:
    """Traceback and version are left out on demand."""
    client = rig.pair(Service(), {"include_local_traceback": False, "include_local_version": False}).client
    error = failure(client, "ValueError('x')")
    assert (error._remote_tb, error._remote_version, error.args) == ("<traceback denied>", "<version denied>", ("x",))


def test_last_traceback_is_kept(rig: Rig) -> None:
    """The failing end keeps the traceback for a post-mortem."""
    pair = rig.pair(Service())
    assert pair.server._last_traceback is None
    failure(pair.client, "ValueError()")
    trace: Any = pair.server._last_traceback
    while trace.tb_next:
        trace = trace.tb_next
    assert trace.tb_frame.f_code.co_name == "exposed_raise"


def test_logger_is_told(rig: Rig) -> None:
    """A logger in the configuration gets a debug record of every exception but StopIteration."""

    class Log:
        """Only what a connection uses."""

        def __init__(self) -> None:
            self.records: list[str] = []

        def debug(self, message: str, *args: Any, **kwargs: Any) -> None:
            """Keep it."""
            self.records.append(message % args if args else message)

    log = Log()
    client = rig.pair(Service(), {"logger": log}).client
    failure(client, "StopIteration()")
    assert log.records == []
    failure(client, "ValueError()")
    assert len(log.records) == 1


# What ends things


def test_interrupts_stay_where_they_are(rig: Rig) -> None:
    """KeyboardInterrupt ends the serving loop by default and is sent when so configured."""
    pair = rig.pair(Service())
    with pytest.raises(EOFError):
        getattr(pair.client.root, "raise")("KeyboardInterrupt()")
    eventually(pair.ended.done)
    assert isinstance(pair.ended.exception(), KeyboardInterrupt)
    sent = rig.pair(Service(), {"propagate_KeyboardInterrupt_locally": False}).client
    assert isinstance(failure(sent, "KeyboardInterrupt()"), KeyboardInterrupt)


def test_exits_may_stay_too(rig: Rig) -> None:
    """SystemExit is sent by default and ends the serving loop when so configured."""
    pair = rig.pair(Service(), {"propagate_SystemExit_locally": True})
    with pytest.raises(EOFError):
        getattr(pair.client.root, "raise")("SystemExit(5)")
    eventually(pair.ended.done)
    assert isinstance(pair.ended.exception(), SystemExit)


# What cannot be sent


@pytest.mark.parametrize("make", ["ValueError(BadText())", "BadProperty('m')"])
def test_exceptions_that_cannot_be_shown(conn: Any, make: str) -> None:
    """Sane where 6.0.2 dies: the caller gets the exception, with a placeholder, and the connection goes on."""
    error = failure(conn, make)
    assert type(error).__name__.rpartition(".")[2] == make.partition("(")[0]
    assert conn.root.same(1) == 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are new in Python 3.11")
def test_exception_groups(conn: Any) -> None:
    """Sane where 6.0.2 raises an unrelated TypeError: something that is an exception and tells the message."""
    error = failure(conn, "ExceptionGroup('together', [ValueError(1)])")
    assert "ExceptionGroup" in type(error).__name__ and "together" in str(error)
    assert conn.root.same(1) == 1


def test_hints_are_no_attributes(conn: Any) -> None:
    """Intended difference: `add_note` of a received exception is a method, not the text that 6.0.2 sends along."""
    if sys.version_info >= (3, 11):
        error = failure(conn, "ValueError('x')")
        error.add_note("mine")
        assert error.__notes__ == ["mine"]


@pytest.mark.parametrize("make", ["'\\ud800'", "(1, '\\ud800')", "frozenset(['\\udfff'])"])
def test_answers_without_an_encoding(conn: Any, make: str) -> None:
    """Sane where 6.0.2 ends the connection: the caller is told why."""
    with pytest.raises(UnicodeEncodeError):
        conn.root.value(make)
    assert conn.root.same(1) == 1


def test_requests_without_an_encoding(conn: Any) -> None:
    """The caller is told, and no request stays behind."""
    with pytest.raises(UnicodeEncodeError):
        conn.root.same("\ud800")
    with pytest.raises(ValueError):  # noqa: PT011
        conn.root.same(10**5000)
    assert conn.root.same(1) == 1
    eventually(lambda: conn.poll_all() or not conn._request_callbacks)


def test_answers_that_are_too_deep(conn: Any) -> None:
    """Sane where 6.0.2 ends the connection: a tuple nested beyond all limits is an error of that call only."""
    assert conn.root.nested(50) is not None
    with pytest.raises(Exception):  # noqa: B017, PT011
        conn.root.nested(20_000)
    assert conn.root.same(1) == 1


def test_objects_that_cannot_be_named(conn: Any) -> None:
    """Sane where 6.0.2 ends the connection: an object whose attributes explode fails that call, if anything."""
    with contextlib.suppress(Exception):
        conn.root.value("type('Bomb', (), {'__getattr__': lambda self, name: 1 / 0})()")
    assert conn.root.same(1) == 1
