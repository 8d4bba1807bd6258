"""`rpyc.STRICT`: what objects tell of themselves is told by the rules, and ids say nothing. In both roles."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Rig
from hostile import LOCAL, REMOTE, ROLES, TUPLE, VALUE, victim

import rpyc
from rpyc.core import consts

BOTH_ROLES = pytest.mark.parametrize("role", ROLES)


class Thing:
    """Has secrets, and things to show."""

    def __init__(self) -> None:
        self.secret_name = "secret value"

    def exposed_shown(self) -> str:
        return "shown"

    def hidden(self) -> str:
        return "hidden"


class Talking(Thing):
    def exposed___repr__(self) -> str:
        return "what it says of itself"


class Service(rpyc.Service):
    def __init__(self) -> None:
        self.things = [Thing(), Thing(), Talking()]

    def exposed_thing(self, number: int) -> Any:
        return self.things[number]

    def exposed_class(self) -> Any:
        return Thing

    def exposed_numbers(self) -> list[int]:
        return [1, 2, 3]

    def exposed_fail(self) -> None:
        raise ValueError(self.things[0], "text")

    def exposed_call(self, function: Any) -> Any:
        return function(self.things[0])


def ask(target: Any, name: str, *args: Any) -> Any:
    boxed = tuple((VALUE, arg) for arg in args)
    return target.ask(consts.HANDLE_CALLATTR, target.root(), (VALUE, name), (TUPLE, boxed), (VALUE, ()))


@BOTH_ROLES
def test_objects_keep_to_themselves(rig: Rig, role: str) -> None:
    """No repr, str, hash or names without permission; INSPECT lists what may be reached, and nothing else."""
    target = victim(rig, role, Service, **rpyc.STRICT)
    _, (_, pack) = ask(target, "thing", 0)
    for handler in (consts.HANDLE_REPR, consts.HANDLE_STR, consts.HANDLE_HASH, consts.HANDLE_DIR):
        for obj in ((LOCAL, pack), target.root(), (VALUE, 5)):
            assert target.refusal(handler, obj)[0] == "AttributeError"
    _, (_, methods) = target.ask(consts.HANDLE_INSPECT, (VALUE, pack))
    assert {name for name, _ in methods} == {"exposed_shown"}
    _, (_, methods) = target.ask(consts.HANDLE_INSPECT, (VALUE, target.root()[1]))
    names = {name for name, _ in methods}
    assert "exposed_thing" in names and names.isdisjoint({"on_connect", "_connect", "__getstate__", "__init__", "__sizeof__"})
    _, (_, talking) = ask(target, "thing", 2)
    assert target.ask(consts.HANDLE_REPR, (LOCAL, talking)) == (consts.MSG_REPLY, (VALUE, "what it says of itself"))


@BOTH_ROLES
def test_ids_say_nothing(rig: Rig, role: str) -> None:
    """Instance ids are random, class ids are no addresses; both stay the same for the same object, and work."""
    target = victim(rig, role, Service, **rpyc.STRICT)
    packs = [ask(target, "thing", number)[1][1] for number in (0, 1, 0)]
    assert packs[0] == packs[2] != packs[1]
    numbers = [pack[2] for pack in packs[:2]]
    assert all(number > 1 << 32 for number in numbers) and abs(numbers[0] - numbers[1]) > 1 << 32
    assert packs[0][1] == packs[1][1] != id(Thing)
    assert ask(target, "class")[1][1] == (f"{__name__}.Thing", packs[0][1], 0)
    near = (packs[0][0], packs[0][1], numbers[0] + 1)
    assert target.refusal(consts.HANDLE_GETATTR, (LOCAL, near), (VALUE, "shown"))[0] == "KeyError"
    other = victim(rig, role, Service, **rpyc.STRICT)
    again = ask(other, "thing", 0)[1][1]
    # isinstance compares class ids across connections of one peer.
    assert again[1] == packs[0][1] and again[2] not in numbers


@BOTH_ROLES
def test_exceptions_say_little(rig: Rig, role: str) -> None:
    """Class, texts and numbers; no traceback, version or repr."""
    target = victim(rig, role, Service, **rpyc.STRICT)
    kind, (name, args, attrs, traceback) = ask(target, "fail")
    assert kind == consts.MSG_EXCEPTION and name == ("builtins", "ValueError")
    assert args == ("<Thing object>", "text") and traceback == "<traceback denied>"
    assert ("_remote_version", "<version denied>") in attrs and "0x" not in repr((args, attrs))


def test_programs_work_with_it(rig: Rig) -> None:
    """Methods, containers, iteration, comparison and callbacks do; what shows an object doesn't."""
    pair = rig.pair(Service, dict(rpyc.STRICT), client_config=dict(rpyc.STRICT))
    root = pair.client.root
    numbers = root.numbers()
    assert (list(numbers), len(numbers), numbers[1], 3 in numbers, numbers == numbers) == ([1, 2, 3], 3, 2, True, True)
    assert root.thing(0).shown() == "shown" and root.call(lambda thing: thing.shown()) == "shown"
    assert isinstance(root.thing(0), Thing) and repr(root.thing(2)) == "what it says of itself"
    for show in (repr, str, hash, dir, lambda thing: thing.hidden(), lambda thing: thing.secret_name, lambda thing: numbers * 2):
        with pytest.raises((AttributeError, TypeError)):
            show(root.thing(0))
    with pytest.raises(ValueError) as caught:
        root.fail()
    assert "Thing object" in str(caught.value) and "secret" not in str(caught.value)


@BOTH_ROLES
def test_it_is_a_configuration_like_any_other(rig: Rig, role: str) -> None:
    """To be overlaid; its keys exist, and each differs from the default or repeats it for safety's sake."""
    assert set(rpyc.STRICT) <= set(rpyc.DEFAULT_CONFIG)
    target = victim(rig, role, Service, **{**rpyc.STRICT, "gate_introspection": False})
    _, (_, pack) = ask(target, "thing", 0)
    assert target.ask(consts.HANDLE_REPR, (LOCAL, pack))[0] == consts.MSG_REPLY
    assert REMOTE == 4
