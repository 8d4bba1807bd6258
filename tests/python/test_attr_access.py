"""Which attributes the other side may reach: the recorded truth table, overrides, decorators, live configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Rig

import rpyc
from rpyc.core import consts

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "vectors.json").read_text())[
    "attr_access"
]


class Shapes:
    """The object of the truth table: plain and prefixed names in every combination."""

    foo = 1
    exposed_bar = 2
    both = 3
    exposed_both = 4
    _p = 5
    _q = 6
    exposed__q = 7
    exposed__r = 8
    next = 9
    exposed___dict__ = 10

    def __add__(self, other: object) -> str:
        return "sum"

    def __contains__(self, other: object) -> bool:
        return False

    exposed___contains__ = 11

    def exposed_method(self, *args: Any, **kwargs: Any) -> Any:
        return args, tuple(kwargs.items())

    def plain_method(self) -> str:
        return "plain"


class Overriding:
    """Decides for itself; the configuration has no say."""

    _rpyc_delattr = None

    def __init__(self) -> None:
        self.written: dict[str, Any] = {}

    def _rpyc_getattr(self, name: str) -> Any:
        if name.startswith("no"):
            raise AttributeError(f"not {name}")
        return f"got {name}"

    def _rpyc_setattr(self, name: str, value: Any) -> None:
        self.written[name] = value


class Failing:
    """Properties that raise."""

    @property
    def exposed_attribute(self) -> Any:
        raise AttributeError("abcd")

    @property
    def exposed_runtime(self) -> Any:
        raise RuntimeError("efgh")

    def __init__(self) -> None:
        self.exposed_reads = 0

    @property
    def exposed_counted(self) -> int:
        self.exposed_reads += 1
        return self.exposed_reads


class CatchAll:
    """Answers for every name that is not taken."""

    def __getattr__(self, name: str) -> str:
        if name.startswith("_"):
            raise AttributeError(name)
        return f"caught {name}"


class Service(rpyc.Service):
    """Hands out the objects above."""

    def __init__(self) -> None:
        self.made: Any = None

    def exposed_make(self, name: str) -> Any:
        self.made = globals()[name]()
        return self.made

    def exposed_cls(self, name: str) -> Any:
        return globals()[name]

    def exposed_restricted(self, *args: Any) -> Any:
        return rpyc.restricted(Shapes(), *args)

    def not_exposed(self) -> None:
        """Never reachable by default."""


def read(pair: Any, obj: Any, name: Any) -> Any:
    """One getattr request, without what the proxy does around it."""
    return pair.client.sync_request(consts.HANDLE_GETATTR, obj, name)


@pytest.mark.parametrize(
    "row", VECTORS["rows"] + VECTORS["extra"], ids=lambda row: row.get("note") or row_name(row)
)
def test_truth_table(rig: Rig, row: dict[str, Any]) -> None:
    """Every name resolves to what was recorded, with the configuration edited on the live connection."""
    service = Service()
    pair = rig.pair(service)
    remote = pair.client.root.make("Shapes")
    pair.server._config.update(
        row.get("config") or {k: v for k, v in row.items() if k != "resolved"}
    )
    for name, resolved in row["resolved"].items():
        if resolved is None:
            with pytest.raises(AttributeError) as error:
                read(pair, remote, name)
            # What follows the recorded words may explain.
            assert str(error.value.args[0]).startswith(f"cannot access {name!r}")
        elif not hasattr(service.made, resolved):
            # Permitted, and then it fails as it would locally.
            with pytest.raises(AttributeError) as error:
                read(pair, remote, name)
            assert error.value.args == (f"'Shapes' object has no attribute {resolved!r}",)
        else:
            assert repr(read(pair, remote, name)) == repr(getattr(service.made, resolved)), (
                name,
                resolved,
            )


def row_name(row: dict[str, Any]) -> str:
    """The switches of a row as letters."""
    return "".join(key[6] for key in list(row)[:4] if row[key]) or "nothing"


def test_safe_attributes() -> None:
    """The names are the recorded ones, in a set that programs may extend."""
    assert sorted(rpyc.core.DEFAULT_CONFIG["safe_attrs"]) == VECTORS["safe_attrs"]
    assert isinstance(rpyc.core.DEFAULT_CONFIG["safe_attrs"], set)


def test_names_are_texts(rig: Rig) -> None:
    """Bytes are decoded; nothing else is accepted."""
    pair = rig.pair(Service())
    remote = pair.client.root.make("Shapes")
    assert read(pair, remote, b"bar") == 2
    for wrong in (3, None, ("bar",)):
        with pytest.raises(TypeError, match="name must be a string"):
            read(pair, remote, wrong)
    with pytest.raises(UnicodeDecodeError):
        read(pair, remote, b"\xff")


def test_writing(rig: Rig) -> None:
    """setattr and delattr have switches of their own and resolve names like reading."""
    service = Service()
    pair = rig.pair(service)
    remote = pair.client.root.make("Shapes")
    with pytest.raises(AttributeError, match="cannot access 'bar'"):
        remote.bar = 5
    with pytest.raises(AttributeError, match="cannot access 'bar'"):
        del remote.bar
    pair.server._config.update(allow_setattr=True, allow_delattr=True)
    remote.bar = 5
    assert service.made.exposed_bar == 5 and not hasattr(service.made, "bar")
    remote.exposed_fresh = 6
    assert service.made.exposed_fresh == 6 and remote.fresh == 6
    for name in ("fresh_public", "_p", "foo", "__class__"):
        with pytest.raises(AttributeError, match="cannot access"):
            pair.client.sync_request(consts.HANDLE_SETATTR, remote, name, 1)
    del remote.fresh
    assert not hasattr(service.made, "exposed_fresh")
    pair.server._config["allow_public_attrs"] = True
    remote.fresh_public = 7
    assert service.made.fresh_public == 7


def test_one_name_under_two_prefixes(rig: Rig) -> None:
    """What is kept of a name for one connection is not taken for another one with another prefix."""

    class Twins(rpyc.Service):
        exposed_value, other_value, value = "exposed", "other", "plain"

    configs: list[dict[str, Any]] = [
        {}, {"exposed_prefix": "other_"}, {"exposed_prefix": None, "allow_public_attrs": True},
    ]
    roots = [rig.pair(Twins, config).client.root for config in configs]
    for _ in range(3):
        assert [root.value for root in roots] == ["exposed", "other", "plain"]


def test_a_switch_that_changes_by_itself(rig: Rig) -> None:
    """A configuration that nobody touches may hold values that are not the same each time."""

    class Switch:
        on = False

        def __bool__(self) -> bool:
            return self.on

    switch = Switch()
    remote = rig.pair(Service(), {"allow_public_attrs": switch}).client.root.make("Shapes")
    for on in (False, True, False):
        switch.on = on
        assert hasattr(remote, "foo") is on


def test_a_setting_that_is_none_fails_where_it_is_needed(rig: Rig) -> None:
    """And nowhere else: what does without it goes on."""
    root = rig.pair(Service()).client.root
    assert root.make("Shapes").bar == 2
    broken = {"exposed_prefix": 5}
    pair = rig.pair(Service(), broken, client_config=broken)
    assert pair.client.sync_request(consts.HANDLE_PING, "echo") == "echo"
    with pytest.raises(TypeError):
        pair.client.root.make("Shapes")


def test_service_roots_refuse_writing(rig: Rig) -> None:
    """Also where everything else is allowed."""
    root = rig.pair(
        Service(), {"allow_all_attrs": True, "allow_setattr": True, "allow_delattr": True}
    ).client.root
    with pytest.raises(AttributeError, match="access denied"):
        root.x = 1
    with pytest.raises(AttributeError, match="access denied"):
        del root.exposed_make


def test_overrides_of_a_class(rig: Rig) -> None:
    """`_rpyc_getattr` and `_rpyc_setattr` of the type are asked instead of the configuration."""
    service = Service()
    pair = rig.pair(service, {"allow_getattr": False, "allow_setattr": False})
    pair.server._config["allow_getattr"] = True
    remote = pair.client.root.make("Overriding")
    pair.server._config["allow_getattr"] = False
    assert remote.anything == "got anything" and remote._private == "got _private"
    with pytest.raises(AttributeError, match="not nothing"):
        remote.nothing  # noqa: B018
    remote.fresh = 5
    assert service.made.written == {"fresh": 5}
    with pytest.raises(AttributeError, match="cannot access 'fresh'"):
        del remote.fresh


def test_overrides_in_an_instance_are_ignored(rig: Rig) -> None:
    """Only the type decides: an instance attribute of that name changes nothing."""
    service = Service()
    remote = rig.pair(service).client.root.make("Shapes")
    service.made._rpyc_getattr = lambda name: "from the instance"
    assert remote.bar == 2
    with pytest.raises(AttributeError):
        remote.foo  # noqa: B018


def test_restricted(rig: Rig) -> None:
    """Names in the list for reading, and for writing unless other ones are given; the switches do not matter."""
    root = rig.pair(Service()).client.root
    view = root.restricted(("foo", "_p", "__add__", "exposed_bar"), ("foo",))
    assert (view.foo, view._p, view.exposed_bar, view.__add__(1)) == (1, 5, 2, "sum")
    for name in ("both", "bar", "_q"):
        with pytest.raises(AttributeError):
            getattr(view, name)
    view.foo = 17
    assert view.foo == 17
    with pytest.raises(AttributeError):
        view._p = 1
    with pytest.raises(AttributeError):
        del view.foo
    read_only = root.restricted(("foo",), ())
    with pytest.raises(AttributeError):
        read_only.foo = 1


def test_errors_of_properties(rig: Rig) -> None:
    """Their own text reaches the peer by either name."""
    for config in ({}, {"allow_all_attrs": True}):
        remote = rig.pair(Service(), config).client.root.make("Failing")
        for name in ("attribute", "exposed_attribute"):
            with pytest.raises(AttributeError) as error:
                getattr(remote, name)
            assert error.value.args == ("abcd",)
        for name in ("runtime", "exposed_runtime"):
            with pytest.raises(RuntimeError) as failed:
                getattr(remote, name)
            assert failed.value.args == ("efgh",)


def test_a_property_is_evaluated_once_per_access(rig: Rig) -> None:
    """By either name: to read a register of an instrument may change it."""
    remote = rig.pair(Service()).client.root.make("Failing")
    assert [remote.counted, remote.counted] == [1, 2]
    assert [remote.exposed_counted, remote.exposed_counted] == [3, 4]


def test_catch_all(rig: Rig) -> None:
    """A catch-all `__getattr__` gives every name a twin, private ones too."""
    remote = rig.pair(Service()).client.root.make("CatchAll")
    assert remote.foo == "caught exposed_foo"
    assert remote._private == "caught exposed__private"


def test_attributes_of_classes(rig: Rig) -> None:
    """A class object is under the same procedure."""
    remote = rig.pair(Service()).client.root.cls("Shapes")
    assert remote.bar == 2
    with pytest.raises(AttributeError):
        remote.foo  # noqa: B018
    assert remote().bar == 2


def test_calls_are_checked_by_name_only(rig: Rig) -> None:
    """CALLATTR is a read and then a call; CMP takes comparisons only; calling needs no permission."""
    pair = rig.pair(Service())
    remote = pair.client.root.make("Shapes")
    request = pair.client.sync_request
    assert request(consts.HANDLE_CALLATTR, remote, "method", (1,), (("k", 2),)) == (
        (1,),
        (("k", 2),),
    )
    with pytest.raises(AttributeError, match="cannot access 'plain_method'"):
        request(consts.HANDLE_CALLATTR, remote, "plain_method", ())
    with pytest.raises(AttributeError, match="cannot access 'plain_method'"):
        request(consts.HANDLE_CMP, remote, 1, "plain_method")
    for name in ("__add__", "method"):
        with pytest.raises(AttributeError, match="it is not a comparison"):
            request(consts.HANDLE_CMP, remote, 1, name)
    assert "foo" in request(consts.HANDLE_DIR, remote)


def test_roots(rig: Rig) -> None:
    """Exposed methods by both names, nothing else."""
    root = rig.pair(Service()).client.root
    assert root.make("Shapes").bar == root.exposed_make("Shapes").bar == 2
    # The name of a class that is called just Service.
    assert root.get_service_name() == ""
    for name in ("not_exposed", "on_connect", "_connect", "made", "__dict__"):
        with pytest.raises(AttributeError):
            getattr(root, name)
    closed = rig.pair(Service(), {"allow_exposed_attrs": False}).client.root
    for name in ("make", "exposed_make"):
        with pytest.raises(AttributeError):
            getattr(closed, name)


def test_marked_methods(rig: Rig) -> None:
    """`@rpyc.service` exposes what `@rpyc.exposed` marks, by both names, nested classes included."""

    @rpyc.service
    class Marked(rpyc.Service):
        @rpyc.exposed
        class Nested:
            @rpyc.exposed
            def inner(self) -> str:
                return "inner"

        @rpyc.exposed
        def outer(self) -> str:
            return "outer"

        @rpyc.exposed("other_")
        def elsewhere(self) -> str:
            return "elsewhere"

        def plain(self) -> None:
            """Not marked."""

    root = rig.pair(Marked).client.root
    assert root.outer() == root.exposed_outer() == "outer"
    assert root.Nested().inner() == root.exposed_Nested().exposed_inner() == "inner"
    for name in ("plain", "elsewhere", "other_elsewhere"):
        assert not hasattr(root, name)
    other = rig.pair(Marked, {"exposed_prefix": "other_"}).client.root
    assert other.elsewhere() == other.other_elsewhere() == "elsewhere"
    assert not hasattr(other, "outer")


def test_configuration_of_a_running_server(rig: Rig) -> None:
    """`protocol_config`, updated or replaced, holds for the next connection and not for the one that exists."""
    config: dict[str, Any] = {}
    server = rig.serve(Service, config)
    first = rig.connect(server).root.make("Shapes")
    server.protocol_config.update(allow_public_attrs=True)
    second = rig.connect(server).root.make("Shapes")
    server.protocol_config = {**rpyc.core.DEFAULT_CONFIG, "allow_all_attrs": True}
    third = rig.connect(server).root.make("Shapes")
    assert [hasattr(made, "foo") for made in (first, second, third)] == [False, True, True]
    assert [hasattr(made, "_p") for made in (first, second, third)] == [False, False, True]


def test_environment_of_classic_connections(rig: Rig) -> None:
    """A slave opens its own connection, and only that."""
    pair = rig.pair(rpyc.SlaveService, client_service=rpyc.core.service.MasterService)
    for key in (
        "allow_all_attrs",
        "allow_pickle",
        "allow_setattr",
        "allow_delattr",
        "import_custom_exceptions",
    ):
        assert pair.server._config[key] is True
        assert pair.client._config[key] is False
    assert pair.server._config["allow_exposed_attrs"] is False
    remote = pair.client.modules[__name__].Shapes()
    assert (remote._p, remote.both) == (5, 3)
    remote._p = 50
    assert remote._p == 50
    with pytest.raises(AttributeError):
        remote.bar  # noqa: B018


def test_an_access_rule_may_appear_later(rig: Rig) -> None:
    """That a type has no rule is remembered until the type, a base of it, or its metaclass gets one."""

    class Meta(type):
        pass

    class Base:
        pass

    class Thing(Base, metaclass=Meta):
        exposed_value = 5

    class Giver(rpyc.Service):
        exposed_thing = Thing()

    def rule(*args: Any) -> str:
        return f"ruled {args[-1]}"

    thing = rig.pair(Giver()).client.root.thing
    for place in (Thing, Base, Meta):
        assert [thing.value, thing.value] == [5, 5]
        place._rpyc_getattr = rule  # type: ignore[union-attr]
        assert thing.value == "ruled value"
        del place._rpyc_getattr  # type: ignore[union-attr]
    assert thing.value == 5
