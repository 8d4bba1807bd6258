"""A peer that wants to run code here, or to see what it must not. Each attack is played against both roles."""

from __future__ import annotations

import copy
import pickle
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from conftest import PATIENCE, Rig, in_thread
from hostile import LOCAL, REMOTE, ROLES, VALUE, Victim, error_of, victim

import rpyc
from rpyc.core import brine, consts, netref, vinegar
from rpyc.utils import classic

BOTH_ROLES = pytest.mark.parametrize("role", ROLES)

np = pytest.importorskip("numpy")


# Pickles. The peer's connection answers every request for a pickle with one that runs code.

RAN: list[str] = []
"""What the attacker's pickles have run."""


def explode(text: str) -> None:
    RAN.append(text)


class Bomb:
    def __reduce__(self) -> Any:
        return explode, ("the peer's code",)


class PicklingConnection(rpyc.Connection):
    def _handle_pickle(self, obj: Any, proto: int) -> bytes:
        return pickle.dumps(Bomb())

    def _handle_pickle_buffers(self, obj: Any) -> Any:
        return pickle.dumps(Bomb()), ()


class Bait:
    """Looks worth copying: an array, a container, something with state."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the attacker's side runs this, not the victim's")

    def __len__(self) -> int:
        return 2

    def __getitem__(self, at: int) -> int:
        return at

    def __getstate__(self) -> Any:
        return {}

    def __buffer__(self, flags: int) -> Any:
        return b"bytes"


class Attacker(rpyc.Service):
    _protocol = PicklingConnection

    def exposed_bait(self) -> Any:
        return Bait()

    def exposed_list(self) -> Any:
        return [1, 2, 3]


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy-of-a-list": lambda proxy: copy.deepcopy([proxy]),
    **{f"pickle-{protocol}": lambda proxy, protocol=protocol: pickle.loads(pickle.dumps(proxy, protocol)) for protocol in range(6)},
    "reduce": lambda proxy: pickle.loads(pickle.dumps(_Reduced(proxy.__reduce__()))),
    "reduce_ex": lambda proxy: pickle.loads(pickle.dumps(_Reduced(proxy.__reduce_ex__(2)))),
    "obtain": classic.obtain,
    "array": np.array,
    "asarray": np.asarray,
    "array-method": lambda proxy: proxy.__array__(),
    "mean": np.mean,
    "memoryview": memoryview,
    "bytes": bytes,
}  # fmt: skip


class _Reduced:
    def __init__(self, reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


class Careless(rpyc.Service):
    """A server that copies what it is given."""

    def exposed_copy(self, how: str, what: Any) -> None:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - any, as long as nothing runs
            value = COPIES[how](what)
            raise LookupError(f"copied without the peer's pickle: {type(value)}")
        assert not RAN, caught.value


@BOTH_ROLES
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("what", ["bait", "list"])
def test_no_pickle_of_the_peer_is_loaded(rig: Rig, role: str, how: str, what: str) -> None:
    """Whatever copies a proxy, the peer's bytes are not unpickled unless this side's configuration allows it."""
    RAN.clear()
    if role == "client":
        pair = rig.pair(Attacker, {"allow_pickle": True, "allow_all_attrs": True})
        Careless().exposed_copy(how, getattr(pair.client.root, what)())
    else:
        attacker = Attacker()
        pair = rig.pair(Careless, None, Attacker, {"allow_pickle": True, "allow_all_attrs": True})
        pair.client.root.copy(how, getattr(attacker, f"exposed_{what}")())
    assert not RAN


@BOTH_ROLES
def test_the_local_side_may_allow_it(rig: Rig, role: str) -> None:
    """The other half: with `allow_pickle` here, the peer's pickle is loaded. That is what the key means."""
    RAN.clear()
    if role == "client":
        pair = rig.pair(Attacker, {"allow_pickle": True}, rpyc.VoidService, {"allow_pickle": True})
        classic.obtain(pair.client.root.list())
    else:

        class Trusting(rpyc.Service):
            def exposed_take(self, what: Any) -> None:
                classic.obtain(what)

        pair = rig.pair(Trusting, {"allow_pickle": True}, Attacker, {"allow_pickle": True})
        pair.client.root.take([1, 2, 3])
    assert RAN == ["the peer's code"]


def test_cve_2024_27758(rig: Rig) -> None:
    """The attack as published: a service makes an array of what a client gives it, and the client answers the request
    for its pickle with one that runs a command."""

    class Statistics(rpyc.Service):
        def exposed_mean(self, numbers: Any) -> float:
            return float(np.mean(np.array(numbers)))

    RAN.clear()
    pair = rig.pair(Statistics, None, Attacker, {"allow_pickle": True, "allow_all_attrs": True, "allow_public_attrs": True})
    with pytest.raises(ValueError, match="pickling is disabled"):
        pair.client.root.mean(Bait())
    assert not RAN


@BOTH_ROLES
def test_cve_2019_16328(rig: Rig, role: str) -> None:
    """The attack as published: CMP took the name of any method, so `__getattribute__` read what the policy denies, and
    from there it went over the connection and the globals of its methods to the builtins."""

    class Plain(rpyc.Service):
        def exposed_list(self) -> list[int]:
            return [1]

    target = victim(rig, role, Plain)
    root = target.root()
    _, (_, listed) = target.ask(consts.HANDLE_CALLATTR, root, (VALUE, "list"), (VALUE, ()), (VALUE, ()))
    for obj in (root, (LOCAL, listed), (VALUE, 5), (VALUE, "text")):
        for op in ("__getattribute__", "__getattr__", "__delattr__", "__class__", "__reduce_ex__", "__init_subclass__", "append", "index", "__contains__"):  # fmt: skip
            for other in ("__class__", "_protocol", "__globals__", "__dict__"):
                name, text = target.refusal(consts.HANDLE_CMP, obj, (VALUE, other), (VALUE, op))
                assert name == "AttributeError" and "comparison" in text
    # Read step by step, with the handlers that a policy is asked in.
    for steps in (["_protocol"], ["__class__"], ["exposed_list", "__func__"], ["list", "__globals__"], ["list", "__self__"]):
        here = root
        for name in steps[:-1]:
            kind, (_, id_pack) = target.ask(consts.HANDLE_GETATTR, here, (VALUE, name))
            assert kind == consts.MSG_REPLY
            here = (LOCAL, id_pack)
        assert target.refusal(consts.HANDLE_GETATTR, here, (VALUE, steps[-1]))[0] == "AttributeError"


# Received exceptions.


class Caller(rpyc.Service):
    """Calls what it is given, and keeps what that raises."""

    caught: Any = None

    def exposed_call(self, function: Any) -> None:
        try:
            function()
        except BaseException as error:
            Caller.caught = error


def received(rig: Rig, role: str, payload: Any, **config: Any) -> Any:
    """The exception that this payload becomes at the victim."""
    target = victim(rig, role, Caller, **config)
    if role == "client":
        target.peer.send(b"\x03" + brine.dump((0, payload)))
        return error_of(target.waiting)
    return raised_in_a_callback(target, payload)


def raised_in_a_callback(target: Victim, payload: Any) -> Any:
    root = target.root()
    mine = (REMOTE, ("builtins.function", 1, 7))
    request = (consts.HANDLE_CALLATTR, (2, (root, (VALUE, "call"), (2, (mine,)), (VALUE, ()))))
    target.peer.send(b"\x01" + brine.dump((99, request)))
    asked = target.peer.receive()
    assert asked is not None and asked[0] == consts.MSG_REQUEST
    target.peer.send(b"\x03" + brine.dump((brine.load(asked[1:])[0], payload)))
    while (message := target.peer.receive()) is not None and message[0] != consts.MSG_REPLY:
        assert message[0] == consts.MSG_REQUEST, message
    return Caller.caught


@pytest.fixture
def module() -> Any:
    """A module with exception classes that run code when something is set, looked up or made."""
    module = types.ModuleType("hostile_exceptions")
    module.ran = []  # type: ignore[attr-defined]
    source = '''
def __getattr__(name):
    ran.append(f"module {name}")
    raise AttributeError(name)

class Meta(type):
    def __getattr__(cls, name):
        ran.append(f"class {name}")
        raise AttributeError(name)

class Watchful(Exception, metaclass=Meta):
    code = 7
    __slots__ = ("slot",)

    @property
    def guarded(self):
        return "own"

    @guarded.setter
    def guarded(self, value):
        ran.append(f"guarded = {value}")

    def __setattr__(self, name, value):
        ran.append(f"set {name}")
        super().__setattr__(name, value)

    @property
    def args(self):
        return ("own",)

    @args.setter
    def args(self, value):
        ran.append("args")

    def method(self):
        return "own"

    @classmethod
    def made(cls):
        return "own"
'''
    exec(source, module.__dict__)
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


@BOTH_ROLES
def test_only_data_is_set_on_exceptions(rig: Rig, role: str, module: Any) -> None:
    """No special name, method, property or class attribute of any kind; and no code of the class runs for the rest."""
    bad = dict.fromkeys(("__class__", "__dict__", "__traceback__", "__cause__", "__context__", "__notes__", "__str__", "_private", "_remote_tb", "guarded", "method", "made", "with_traceback", "add_note", "mro"), "peer")  # fmt: skip
    good = {"code": 8, "slot": 9, "detail": "fine"}
    payload = ((module.__name__, "Watchful"), ("a",), tuple({**bad, **good}.items()), "the traceback")
    error = received(rig, role, payload, instantiate_custom_exceptions=True)
    assert isinstance(error, module.Watchful)
    assert (error.code, error.slot, error.detail) == (8, 9, "fine") and module.Watchful.code == 7
    assert (error.guarded, error.method(), error.made(), error.args) == ("own", "own", "own", ("own",))
    assert error.__cause__ is None and not hasattr(error, "_private") and "the traceback" in str(error)
    assert module.ran == []
    missing = received(rig, role, ((module.__name__, "nothing"), (), (), ""), instantiate_custom_exceptions=True)
    assert type(missing).__name__ == "hostile_exceptions.nothing" and module.ran == []


@BOTH_ROLES
def test_names_of_classes_run_no_code_of_modules(rig: Rig, role: str, module: Any) -> None:
    """A proxy looks for a local class of its name, in the module as it is."""
    target = victim(rig, role)
    Caller.caught = None
    assert netref._local_class(f"{module.__name__}.Watchful") is module.Watchful
    assert netref._local_class(f"{module.__name__}.anything.at.all") is types.ModuleType
    target.peer.send(b"\x01" + brine.dump((5, (consts.HANDLE_PING, (2, ((REMOTE, (f"{module.__name__}.lazy", 1, 2)),))))))
    asked = brine.load(target.peer.receive()[1:])
    assert asked[1][0] == consts.HANDLE_INSPECT
    target.peer.send(b"\x02" + brine.dump((asked[0], (VALUE, (("__qualname__", None), ("__slots__", ""), ("ok", None))))))
    while (message := target.peer.receive())[0] == consts.MSG_REQUEST:
        pass
    assert brine.load(message[1:])[0] == 5
    assert module.ran == []


# What the interpreter's own exceptions do not check. The first one ended CPython 3.11 when it was printed.
UNSHOWABLE: list[tuple[str, dict[str, Any]]] = [
    ("UnicodeDecodeError", {"object": b"abc", "start": -(10**12), "end": -(10**12) + 1, "encoding": "x", "reason": "y"}),
    ("UnicodeDecodeError", {"object": "text", "start": 0, "end": 1, "encoding": "x", "reason": "y"}),
    ("UnicodeDecodeError", {"object": b"abc", "start": 0, "end": 10**15, "encoding": "x", "reason": "y"}),
    ("UnicodeDecodeError", {"object": b"abc", "start": 0, "end": 1, "encoding": 5, "reason": ()}),
    ("UnicodeEncodeError", {"object": b"bytes", "start": 0, "end": 1, "encoding": "x", "reason": "y"}),
    ("UnicodeEncodeError", {"start": 10**17}),
    ("UnicodeTranslateError", {"object": "abc", "start": -5, "end": -4, "reason": "y"}),
    ("SyntaxError", {"text": 7, "msg": 5, "filename": 3, "lineno": "x", "offset": ()}),
    ("SyntaxError", {"text": "x = 1", "msg": "m", "filename": "f", "lineno": 1, "offset": 1, "end_lineno": 1, "end_offset": 10**12}),
    ("ImportError", {"msg": "m", "name": "antigravity", "name_from": "fly", "path": 1}),
    ("OSError", {"errno": "x", "strerror": 5, "filename": (1,), "filename2": 3, "characters_written": -1}),
    ("ExceptionGroup", {"message": 5, "exceptions": 3}),
    ("AttributeError", {"name": 3, "obj": 3}),
    ("NameError", {"name": ()}),
    ("KeyError", {}),
    ("StopIteration", {"value": 3}),
]  # fmt: skip

SHOWING = """
import sys, traceback
from rpyc.core import vinegar
for name, attrs in eval(sys.stdin.readline()):
    error = vinegar.load((("builtins", name), (), tuple(attrs.items()), "tb"), False, False, False)
    for show in (str, repr, lambda error: "".join(traceback.format_exception(error))):
        show(error)
    print(name, type(error).__mro__[1].__name__)
assert "antigravity" not in sys.modules
print("all shown")
"""


def test_every_received_exception_can_be_shown(rig: Rig) -> None:
    """Values that the interpreter's own exceptions believe without looking: the process went down with SIGSEGV, took all
    memory, or imported a module of the peer's choice."""
    program = rig.program(SHOWING)
    known = [case for case in UNSHOWABLE if hasattr(__import__("builtins"), case[0])]
    program.tell(repr(known))
    for name, _ in known:
        assert program.line().split()[0] == name
    assert program.line() == "all shown"


def test_fields_that_go_together_arrive() -> None:
    """The other half: what a sane peer sends is set."""
    for original in (b"\xff".decode, lambda: "\xe9".encode("ascii"), lambda: compile("x = = 1", "file.py", "exec")):
        try:
            original()
        except (UnicodeError, SyntaxError) as error:
            dumped = vinegar.dump(type(error), error, None, False, False)
            loaded = vinegar.load(brine.load(brine.dump(dumped)), False, False, False)
            names = ("object", "start", "end", "reason", "encoding", "msg", "lineno", "offset", "text", "filename")
            assert [getattr(loaded, name, None) for name in names] == [getattr(error, name, None) for name in names]


@pytest.mark.parametrize(
    "allowed, imported",
    [
        (False, False), (True, True), (["hostile_a"], True), ({"hostile_b"}, False), ("hostile_a", True), ((), False),
        (lambda name: name.startswith("hostile_"), True), (lambda name: False, False),
    ],
)  # fmt: skip
@BOTH_ROLES
def test_which_modules_an_exception_may_import(
    rig: Rig, role: str, allowed: Any, imported: bool, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None, all, those in a container, or those that a predicate likes. The name is the peer's."""
    (tmp_path / "hostile_a.py").write_text("class Oops(Exception): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "hostile_a", raising=False)
    error = received(
        rig, role, (("hostile_a", "Oops"), (), (), ""), import_custom_exceptions=allowed, instantiate_custom_exceptions=True
    )
    assert ("hostile_a" in sys.modules) is imported
    assert isinstance(error, vinegar.GenericException) is not imported
    sys.modules.pop("hostile_a", None)


@BOTH_ROLES
def test_class_caches_are_bounded(rig: Rig, role: str) -> None:
    """A peer that invents a class name for each exception does not fill the memory."""
    for number in range(2500):
        vinegar.load((("m", f"{role}{number}"), (), (), ""), False, False, False)
    assert len(vinegar._generic_exceptions_cache) <= 1000 and len(vinegar._exception_classes_cache) <= 1000


# Ids.


@BOTH_ROLES
def test_addresses_are_no_ids(rig: Rig, role: str) -> None:
    """A peer that guesses the address of an object reaches nothing by it: not by a reference, not by INSPECT or DEL."""

    class Holder(rpyc.Service):
        thing = ["a thing"]

        def exposed_thing(self) -> Any:
            return self.thing

    target = victim(rig, role, Holder)
    _, (_, (name, class_id, _)) = target.ask(consts.HANDLE_CALLATTR, target.root(), (VALUE, "thing"), (VALUE, ()), (VALUE, ()))
    guessed = (name, class_id, id(Holder.thing))
    assert target.refusal(consts.HANDLE_REPR, (LOCAL, guessed))[0] == "KeyError"
    assert target.refusal(consts.HANDLE_INSPECT, (VALUE, guessed))[0] == "KeyError"
    assert target.refusal(consts.HANDLE_DEL, (LOCAL, guessed), (VALUE, 1))[0] == "KeyError"
    # This process itself finds it that way, as programs of RPyC do.
    assert target.conn._local_objects[guessed] is Holder.thing


@BOTH_ROLES
def test_a_registry_datagram_too_many(role: str, rig: Rig) -> None:
    """Registries and their clients read one datagram of bounded size, and decode it by the same bounded decoder."""
    from rpyc.utils._registry import messages

    assert messages.MAX_DGRAM_SIZE == 1500 and messages.MAX_REPLY_SIZE == 65535
    for data in (b"\x10" * 1400 + b"\x02", b"\x15\xff\xff\xff\xff", b"\x17\xff\xff\xff\xff1", b"\x1a\x15\x7f\xff\xff\xff"):
        with pytest.raises(messages.MalformedMessage):
            messages.decode_value(data) if role == "client" else messages.decode_request(data)
    assert in_thread(lambda: True).result(PATIENCE)
