"""Vinegar: exceptions in a form that can be sent, and back."""

from __future__ import annotations

import builtins
import json
import re
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path
from typing import Any

import pytest

import rpyc
from rpyc.core import brine, vinegar

VECTORS = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "vectors.json").read_text()
)["vinegar"]

# Attributes that exceptions have gained since Python 3.11, where the vectors come from.
NEWER_ATTRIBUTES = {"name_from"}


class CustomError(Exception):
    def __init__(self, code: int, items: list[int]) -> None:
        super().__init__(code, items)
        self.code, self.items = code, items


CustomError.__module__ = "__main__"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vectors' module situation, and empty caches."""
    monkeypatch.setattr(sys.modules["__main__"], "CustomError", CustomError, raising=False)
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    monkeypatch.setattr(vinegar, "_generic_exceptions_cache", {})
    monkeypatch.setattr(vinegar, "_exception_classes_cache", {})


def dump(exc: BaseException, tb: bool = False, ver: bool = True) -> Any:
    try:
        raise exc
    except BaseException as caught:
        return vinegar.dump(type(caught), caught, caught.__traceback__, tb, ver)


def load(val: Any, imp: Any = False, inst: bool = False) -> Any:
    return vinegar.load(val, imp, inst, False)


def mro(cls: type) -> list[str]:
    return [f"{base.__module__}.{base.__name__}" for base in cls.__mro__]


def available(record: dict[str, Any]) -> bool:
    return "ExceptionGroup" not in record["exception"] or sys.version_info >= (3, 11)


DUMP_LOAD = [record for record in VECTORS["dump_load"] if available(record)]


@pytest.mark.parametrize("record", DUMP_LOAD, ids=lambda r: r["exception"])
def test_dump_of_the_vectors(record: dict[str, Any]) -> None:
    options = {key: record["options"][key] for key in ("ver",) if key in record["options"]}
    names = {"json": json, "rpyc": rpyc, "CustomError": CustomError}
    exc = eval(record["exception"], vars(builtins) | names)
    dumped = dump(exc, **options)
    if record["dumped"] == "1":
        assert dumped == 1
        return
    name, args, attrs, text = dumped
    expected = eval(record["dumped"])
    # RPyC sends add_note too, as a text that covers the method at the other end.
    wanted = {key: value for key, value in expected[2] if key != "add_note"}
    got = {key: hide_addresses(value) for key, value in attrs}
    assert (name, args, text) == (expected[0], expected[1], expected[3])
    assert {key: got.get(key, "missing") for key in wanted} == wanted
    assert set(got) - set(wanted) <= NEWER_ATTRIBUTES
    assert attrs[-1][0] == "_remote_version"
    assert brine.load(brine.dump(dumped)) == dumped


def hide_addresses(value: Any) -> Any:
    return re.sub(r"0x[0-9a-f]{6,}", "0xADDR", value) if isinstance(value, str) else value


@pytest.mark.parametrize("record", DUMP_LOAD, ids=lambda r: r["exception"])
def test_load_of_what_rpyc_sends(record: dict[str, Any]) -> None:
    options = {key: record["options"][key] for key in ("imp", "inst") if key in record["options"]}
    exc = load(brine.load(bytes.fromhex(record["hex"])), **options)
    if "load_error" in record:
        # RPyC fails to make exception groups.
        assert isinstance(exc, builtins.ExceptionGroup)
        return
    expected = record["loaded"]
    cls = exc if isinstance(exc, type) else type(exc)
    assert expected["is_class"] is isinstance(exc, type)
    assert (cls.__module__, cls.__name__) == (expected["module"], expected["name"])
    assert mro(cls) == expected["mro"]
    if isinstance(exc, type):
        return
    assert repr(exc.args) == expected["args"]
    assert (str(exc).splitlines() or [""])[0] == expected["str_first_line"]
    assert exc._remote_tb == expected["remote_tb"]
    got = {key: repr(value) for key, value in vars(exc).items() if key != "_remote_tb"}
    del expected["attrs"]["add_note"]
    assert got == expected["attrs"]


# RPyC lets the error of setting such an attribute escape from its reader.
HARMLESS_HERE = "hostile attribute"


@pytest.mark.parametrize("record", VECTORS["load_only"], ids=lambda r: r["note"])
def test_load_of_handmade_values(record: dict[str, Any]) -> None:
    value = eval(record["value"])
    assert brine.load(bytes.fromhex(record["hex"])) == value
    if "load_error" in record and record["note"] != HARMLESS_HERE:
        with pytest.raises(getattr(builtins, record["load_error"].split(":")[0])):
            load(value, **record["options"])
        return
    exc = load(value, **record["options"])
    if record["note"] == HARMLESS_HERE:
        assert mro(type(exc))[1] == "builtins.ValueError" and exc.args == ()
    elif isinstance(record["loaded"], str):
        assert repr(exc) == record["loaded"]
    else:
        assert mro(type(exc)) == record["loaded"]["mro"]
        assert repr(exc.args) == record["loaded"]["args"]
        assert str(exc) == repr(exc) == record["loaded"]["str"]


def test_the_traceback_travels_with_its_causes() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    except ValueError as caught:
        text = vinegar.dump(ValueError, caught, caught.__traceback__, True, True)[3]
    assert text.startswith("Traceback (most recent call last):")
    assert "KeyError: 'inner'" in text and text.endswith("ValueError: outer\n")


def test_hops_are_counted() -> None:
    once = load(dump(ValueError("x"), tb=True))
    twice = load(dump(once, tb=True))
    assert str(once).count("========= Remote Traceback") == 1
    assert "\n\n========= Remote Traceback (1) =========\n" in str(once)
    assert "\n\n========= Remote Traceback (2) =========\n" in str(twice)
    assert isinstance(twice, ValueError)


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class AwkwardError(Exception):
    @property
    def broken(self) -> None:
        raise RuntimeError("no property")

    @property
    def absent(self) -> None:
        raise AttributeError("not now")

    @property
    def hostile(self) -> Hostile:
        return Hostile()


class NoDirError(Exception):
    def __dir__(self) -> list[str]:
        raise RuntimeError("no dir")

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_nothing_in_an_exception_breaks_the_dump() -> None:
    deep: Any = ()
    for _ in range(5000):
        deep = (deep,)
    args = (Hostile(), "lone \ud800", 10**5000, (1, ["\udfff"]), "fine", deep)
    dumped = dump(AwkwardError(*args), tb=True)
    assert brine.load(brine.dump(dumped)) == dumped
    _, sent, attrs, _ = dumped
    assert sent[0] == "<unprintable Hostile object>"
    assert sent[1] == r"'lone \ud800'"
    assert sent[2] == "<unprintable int object>"
    assert sent[3] == r"(1, ['\udfff'])"
    assert sent[4] == "fine"
    # Some versions of Python print it, and some give up.
    assert type(sent[5]) is str
    assert dict(attrs)["broken"] == "<unreadable: RuntimeError>"
    assert dict(attrs)["hostile"] == "<unprintable Hostile object>"
    assert "absent" not in dict(attrs)
    exc = load(dump(NoDirError("x"), tb=True), inst=True)
    assert isinstance(exc, NoDirError) and "<Unprintable exception>" in str(exc)


def test_version_and_traceback_can_be_denied() -> None:
    exc = load(dump(ValueError("x"), tb=False, ver=False))
    assert exc._remote_tb == "<traceback denied>"
    assert exc._remote_version == "<version denied>"


def test_the_version_is_read_when_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpyc.version, "__version__", "1.0.0")
    exc = load(dump(ValueError("x")))
    assert exc._remote_version == "1.0.0"
    assert "WARNING: Remote is on RPyC 1.0.0 and local is on RPyC 1.0.0." in exc._remote_tb


def test_the_same_major_version_gives_no_warning() -> None:
    exc = load((("builtins", "ValueError"), (), (("_remote_version", "6.99"),), "TB"))
    assert exc._remote_tb == "TB"


if sys.version_info >= (3, 11):

    def test_exception_groups_arrive_as_groups() -> None:
        sent = ExceptionGroup("two things", [ValueError(1), ExceptionGroup("in", [KeyError(2)])])
        exc = load(dump(sent, tb=True))
        assert isinstance(exc, ExceptionGroup) and exc.message == "two things"
        assert str(exc).startswith("two things")
        assert "========= Remote Traceback (1) =========" in str(exc)
        [member] = exc.exceptions
        assert isinstance(member, rpyc.GenericException) and "ValueError(1)" in str(member)
        # The methods are the real ones, so Python can take it apart.
        matched, rest = exc.split(rpyc.GenericException)
        assert matched is not None and rest is None
        base = load(dump(BaseExceptionGroup("b", [KeyboardInterrupt()])))
        assert isinstance(base, BaseExceptionGroup)

    def test_notes_can_be_added_to_a_received_exception() -> None:
        exc = load(dump(ValueError("x")))
        exc.add_note("seen here")
        assert exc.__notes__ == ["seen here"]
        # RPyC sends a text of that name.
        exc = load((("builtins", "ValueError"), (), (("add_note", "<built-in ...>"),), "TB"))
        exc.add_note("seen here")


class DemandingError(ValueError):
    def __new__(cls, code: int, *, detail: str) -> DemandingError:
        return super().__new__(cls, code, detail)

    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(code)
        self.detail = detail


class FinalError(Exception):
    def __init_subclass__(cls) -> None:
        raise TypeError("final")


def test_classes_with_demanding_constructors_arrive() -> None:
    exc = load(dump(DemandingError(5, detail="d")), inst=True)
    assert isinstance(exc, DemandingError) and exc.args == (5,) and exc.detail == "d"


def test_a_class_that_refuses_is_stood_in_for_by_name() -> None:
    exc = load(dump(FinalError("m")), inst=True)
    assert isinstance(exc, rpyc.GenericException)
    assert type(exc).__name__ == f"{__name__}.FinalError"
    assert str(exc).startswith("m\n")


class MethodError(Exception):
    read_only = property(lambda self: "local")

    def describe(self) -> str:
        return "described"


def test_attributes_that_would_do_harm_are_not_set() -> None:
    attrs = tuple(
        (name, "text")
        for name in (
            "__class__",
            "__dict__",
            "__cause__",
            "__traceback__",
            "_private",
            "_remote_tb",
            "add_note",
            "args",
            "describe",
            "read_only",
            "with_traceback",
            "good",
        )
    )
    exc = load(((__name__, "MethodError"), ("a",), attrs, "TB"), inst=True)
    assert exc.args == ("a",) and exc._remote_tb == "TB" and exc.good == "text"
    assert exc.describe() == "described" and exc.read_only == "local"
    assert set(vars(exc)) == {"good", "_remote_tb"}
    assert exc.with_traceback(None) is exc


@pytest.mark.parametrize(
    "value",
    [
        None,
        1.5,
        b"bytes",
        (),
        (("builtins", "ValueError"), (), (), "TB", 5),
        ("ValueError", (), (), "TB"),
        (("builtins", 5), (), (), "TB"),
        (("builtins", "ValueError"), 5, (), "TB"),
        (("builtins", "ValueError"), (), 5, "TB"),
        (("builtins", "ValueError"), (), ("abc",), "TB"),
        (("builtins", "ValueError"), (), (), b"TB"),
    ],
)
def test_other_values_are_refused_with_a_clear_error(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="loading an exception"):
        load(value)


def test_odd_but_loadable_values() -> None:
    attrs = ((slice(1), "unhashable"), (5, "number"), ("ok", 1))
    exc = load((("mod\0ule", "Na\0me"), (), attrs, "TB"))
    assert exc.ok == 1 and isinstance(exc, rpyc.GenericException)
    assert len(type(load((("m" * 10**6, "n" * 10**6), (), (), "TB"))).__name__) <= 1000


def test_a_program_chooses_the_class_by_name() -> None:
    vinegar._generic_exceptions_cache["far.Away"] = KeyError
    vinegar._generic_exceptions_cache["json.JSONDecodeError"] = LookupError
    assert isinstance(load((("far", "Away"), ("a",), (), "TB")), KeyError)
    # It decides even if the real class is here.
    assert isinstance(load((("json", "JSONDecodeError"), ("a",), (), "TB"), inst=True), LookupError)


def test_a_generated_class_does_not_hide_the_real_one() -> None:
    value = (("json", "JSONDecodeError"), ("a",), (), "TB")
    assert isinstance(load(value), rpyc.GenericException)
    assert isinstance(load(value, inst=True), json.JSONDecodeError)


def test_generated_classes_are_kept_by_name() -> None:
    value = (("far", "Away"), ("a",), (), "TB")
    assert type(load(value)) is type(load(value))
    assert type(load((("builtins", "ValueError"), (), (), ""))) is type(
        load((("builtins", "ValueError"), (), (), ""))
    )


def test_the_caches_are_bounded_and_keep_what_a_program_chose() -> None:
    vinegar._generic_exceptions_cache["far.Away"] = KeyError
    for number in range(3000):
        load((("m", f"E{number}"), (), (), "TB"))
    assert len(vinegar._generic_exceptions_cache) <= 1001
    assert len(vinegar._exception_classes_cache) <= 1001
    assert "m.E2999" in vinegar._generic_exceptions_cache
    assert isinstance(load((("far", "Away"), (), (), "TB")), KeyError)


def test_exceptions_module_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vinegar, "exceptions_module", json)
    assert isinstance(load((("json", "JSONDecodeError"), (), (), "")), json.JSONDecodeError)
    assert isinstance(load((("builtins", "ValueError"), (), (), "")), rpyc.GenericException)


@pytest.mark.parametrize(
    ("allowed", "imported"),
    [
        (True, True),
        (False, False),
        (["wave"], True),
        ({"other"}, False),
        ("wave", True),
        ("waves", False),
    ],
)
def test_imports_are_allowed_by_flag_or_by_name(allowed: Any, imported: bool) -> None:
    load((("wave", "Error"), (), (), "TB"), imp=allowed, inst=True)
    assert ("wave" in sys.modules) is imported


def test_a_module_that_fails_to_import_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exits_at_import.py").write_text("raise SystemExit(3)")
    (tmp_path / "fails_at_import.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("exits_at_import", "fails_at_import", "no.such.module", "", ".rel"):
        exc = load(((name, "Error"), (), (), "TB"), imp=True, inst=True)
        assert isinstance(exc, rpyc.GenericException)


def test_received_exceptions_print_as_rpyc_prints_them() -> None:
    exc = load(dump(ValueError("x")))
    assert type(exc).__qualname__ == "_get_exception_class.<locals>.Derived"
    assert "x\n\n========= Remote Traceback (1) =========\n" in "".join(
        traceback.format_exception(exc)
    )


def test_an_uncaught_received_exception_prints_and_exits() -> None:
    code = """
        from rpyc.core import vinegar
        value = (("builtins", "ValueError"), ("x",), (), "REMOTE TB")
        raise vinegar.load(value, False, False, False)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1 and "REMOTE TB" in result.stderr
