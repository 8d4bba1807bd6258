"""Services, and the marks that expose their members."""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

import pytest

import rpyc
from rpyc.core.protocol import DEFAULT_CONFIG
from rpyc.core.service import (
    ClassicClient,
    ClassicService,
    FakeSlaveService,
    MasterService,
    ModuleNamespace,
    Service,
    Slave,
    SlaveService,
    VoidService,
)


def exposed_names(cls: type) -> set[str]:
    inherited = {"exposed_get_service_aliases", "exposed_get_service_name"}
    return {name for name in dir(cls) if name.startswith("exposed_")} - inherited


class Marked(rpyc.Service):
    @rpyc.exposed
    def method(self) -> str:
        return "method"

    @rpyc.exposed
    @staticmethod
    def outer_static() -> str:
        return "outer static"

    @staticmethod
    @rpyc.exposed
    def inner_static() -> str:
        return "inner static"

    @rpyc.exposed
    @classmethod
    def outer_class(cls) -> str:
        return cls.__name__

    @classmethod
    @rpyc.exposed
    def inner_class(cls) -> str:
        return cls.__name__

    @rpyc.exposed  # type: ignore[prop-decorator]
    @property
    def outer_property(self) -> str:
        """doc"""
        return "outer property"

    @property
    @rpyc.exposed
    def inner_property(self) -> str:
        return "inner property"

    @rpyc.exposed
    class Nested:
        @rpyc.exposed
        def inside(self) -> str:
            return "inside"

        def hidden(self) -> None:
            pass

    def unmarked(self) -> None:
        pass

    data = 5
    part = functools.partial(method)
    instance = Nested()


def test_marks_work_in_a_plain_service() -> None:
    assert exposed_names(Marked) == {
        "exposed_method",
        "exposed_outer_static",
        "exposed_inner_static",
        "exposed_outer_class",
        "exposed_inner_class",
        "exposed_outer_property",
        "exposed_inner_property",
        "exposed_Nested",
    }
    obj: Any = Marked()
    assert obj.exposed_method() == obj.method() == "method"
    assert obj.exposed_outer_static() == "outer static"
    assert obj.exposed_inner_static() == "inner static"
    assert obj.exposed_outer_class() == obj.exposed_inner_class() == "Marked"
    assert obj.exposed_outer_property == obj.outer_property == "outer property"
    assert obj.exposed_inner_property == "inner property"
    assert exposed_names(obj.exposed_Nested) == {"exposed_inside"}
    assert obj.exposed_Nested().exposed_inside() == "inside"


def test_a_marked_property_keeps_its_doc_and_its_setter() -> None:
    class Props(rpyc.Service):
        value = 1

        @rpyc.exposed  # type: ignore[prop-decorator]
        @property
        def prop(self) -> int:
            """The doc."""
            return self.value

        @prop.setter
        def prop(self, value: int) -> None:
            self.value = value

        @prop.deleter
        def prop(self) -> None:
            del self.value

    obj: Any = Props()
    obj.exposed_prop = 7
    assert obj.prop == obj.exposed_prop == 7
    del obj.exposed_prop
    assert obj.exposed_prop == 1
    assert Props.prop.__doc__ == "The doc."
    assert isinstance(Props.__dict__["prop"], property)


def test_the_service_decorator_works_on_any_class_and_twice() -> None:
    class Plain:
        @rpyc.exposed
        def method(self) -> str:
            return "method"

        @rpyc.exposed
        class Nested:
            @rpyc.exposed
            def inside(self) -> None:
                pass

    assert exposed_names(Plain) == set()
    assert rpyc.service(Plain) is Plain
    expected = {"exposed_method", "exposed_Nested"}
    assert exposed_names(Plain) == expected
    assert exposed_names(Plain.Nested) == {"exposed_inside"}
    rpyc.service(Plain)
    assert exposed_names(Plain) == expected

    @rpyc.service
    class Child(Plain):
        @rpyc.exposed
        def more(self) -> None:
            pass

    assert exposed_names(Child) == expected | {"exposed_more"}


def test_the_service_decorator_changes_nothing_on_a_service() -> None:
    before = dict(vars(Marked))
    rpyc.service(Marked)
    assert dict(vars(Marked)) == before


def test_marks_of_a_mixin_count() -> None:
    class Mixin:
        @rpyc.exposed
        def mixed(self) -> str:
            return "mixed"

    class Mixed(Mixin, rpyc.Service):
        pass

    obj: Any = Mixed()
    assert obj.exposed_mixed() == "mixed"
    assert not hasattr(Mixin, "exposed_mixed")


def test_an_override_can_not_be_got_around() -> None:
    class Guarded(Marked):
        def method(self) -> str:
            return "checked " + super().method()

    class Off(Marked):
        method = None  # type: ignore[assignment]

    guarded: Any = Guarded()
    assert guarded.exposed_method() == "checked method"
    assert Off.exposed_method is None  # type: ignore[attr-defined]
    assert Marked().exposed_method() == "method"  # type: ignore[attr-defined]


def test_an_override_of_the_twin_stays() -> None:
    class ByTwin(Marked):
        def exposed_method(self) -> str:
            return "twin"

    assert ByTwin().exposed_method() == "twin"


def test_custom_prefixes() -> None:
    class Prefixed(rpyc.Service):
        @rpyc.exposed("my_")
        def one(self) -> None:
            pass

        @rpyc.exposed("")
        def two(self) -> None:
            pass

        @rpyc.exposed
        def exposed_three(self) -> None:
            pass

    assert {name for name in vars(Prefixed) if not name.startswith("__")} == {
        "one",
        "my_one",
        "two",
        "exposed_three",
    }


def test_the_default_prefix_is_read_at_decoration_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFAULT_CONFIG, "exposed_prefix", "shown_")

    class Shown(rpyc.Service):
        @rpyc.exposed
        def one(self) -> None:
            pass

    assert "shown_one" in vars(Shown) and Shown.one.__exposed__ == "shown_"  # type: ignore[attr-defined]


def test_descriptors_can_be_marked() -> None:
    class Raising:
        def __get__(self, obj: object, owner: type) -> None:
            raise AttributeError("abcd")

    class Described(rpyc.Service):
        attr = rpyc.exposed(Raising())
        lazy = rpyc.exposed(functools.cached_property(lambda self: "lazy"))

    for name in ("attr", "exposed_attr"):
        with pytest.raises(AttributeError, match=r"^abcd$"):
            getattr(Described(), name)
    assert Described().exposed_lazy == "lazy"  # type: ignore[attr-defined]


def test_decorators_with_wraps_keep_the_mark() -> None:
    def traced(func: Any) -> Any:
        @functools.wraps(func)
        def wrapper(*args: Any) -> Any:
            return "traced " + func(*args)

        return wrapper

    class Traced(rpyc.Service):
        @traced
        @rpyc.exposed
        def method(self) -> str:
            return "method"

    assert Traced().exposed_method() == "traced method"  # type: ignore[attr-defined]


def test_members_that_answer_to_every_name_are_not_asked() -> None:
    class Agreeable:
        def __getattr__(self, name: str) -> str:
            raise AssertionError(f"asked for {name}")

    class Careful(rpyc.Service):
        other = Agreeable()

    assert exposed_names(Careful) == set()


def test_what_can_not_be_marked() -> None:
    unmarkable: tuple[Any, ...] = (5, None, [], {})
    for bad in unmarkable:
        with pytest.raises(TypeError, match="expects a callable"):
            rpyc.exposed(bad)
    with pytest.raises(AttributeError):
        rpyc.exposed(len)
    with pytest.raises(TypeError):
        rpyc.exposed("my_")(5)


def test_subclass_keywords_pass_through() -> None:
    class Keyworded(rpyc.Service):
        def __init_subclass__(cls, flavour: str = "", **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            cls.flavour = flavour  # type: ignore[attr-defined]

    class Sweet(Keyworded, flavour="sweet"):
        @rpyc.exposed
        def method(self) -> None:
            pass

    assert Sweet.flavour == "sweet" and exposed_names(Sweet) == {"exposed_method"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "aliases", "expected"),
    [
        ("FooService", (), ("FOO",)),
        ("Service", (), ("",)),
        ("Serviceable", (), ("SERVICEABLE",)),
        ("Any", ["a", "Bb"], ("A", "BB")),
    ],
)
def test_service_names(name: str, aliases: Any, expected: tuple[str, ...]) -> None:
    cls = types.new_class(name, (rpyc.Service,), {}, lambda ns: ns.update(ALIASES=aliases))
    assert cls.get_service_aliases() == expected  # type: ignore[attr-defined]
    assert cls.get_service_name() == expected[0]  # type: ignore[attr-defined]
    assert cls().exposed_get_service_aliases() == expected
    assert cls().exposed_get_service_name() == expected[0]


def test_names_of_the_services_here() -> None:
    names = [
        cls.get_service_name() for cls in (VoidService, SlaveService, MasterService, ClassicService)
    ]
    assert names == ["VOID", "SLAVE", "MASTER", "CLASSIC"]


def test_a_service_denies_changes() -> None:
    with pytest.raises(AttributeError, match="access denied"):
        Service()._rpyc_setattr("a", 1)
    with pytest.raises(AttributeError, match="access denied"):
        Service()._rpyc_delattr("a")


class FakeConnection:
    """Records what a service does to its connection."""

    def __init__(self, service: Any, channel: Any, config: Any) -> None:
        self.service, self.channel, self.config = service, channel, config
        self._config: dict[str, Any] = {}
        self.root = channel
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        raise OSError("nobody there")


class Connecting(rpyc.Service):
    _protocol = FakeConnection  # type: ignore[assignment]

    def on_connect(self, conn: Any) -> None:
        self.conn = conn
        if conn.channel == "fail":
            raise KeyError("in on_connect")


def test_connecting_makes_an_instance_of_a_class_and_uses_an_instance() -> None:
    first: Any = Connecting._connect("channel", {"a": 1})
    second: Any = Connecting._connect("channel")
    assert type(first.service) is Connecting and first.service is not second.service
    assert first.service.conn is first
    assert (first.channel, first.config, second.config) == ("channel", {"a": 1}, {})
    service = Connecting()
    shared: Any = service._connect("channel")
    assert shared.service is service
    with pytest.raises(AttributeError):
        service._connect = None


def test_a_failing_on_connect_closes_the_connection_and_is_reported() -> None:
    service = Connecting()
    with pytest.raises(KeyError, match="in on_connect"):
        service._connect("fail")
    assert service.conn.closed == 1


def test_a_slave_runs_code() -> None:
    slave = Slave()
    slave.execute("x = 20")
    assert slave.eval("x + 1") == 21 and slave.namespace["x"] == 20
    import xml.dom

    assert slave.getmodule("xml.dom") is slave.getmodule(("xml", "dom")) is xml.dom
    assert slave.getconn() is None
    with pytest.raises(ImportError):
        slave.getmodule("no_such_module")


def test_a_slave_service_opens_its_connection_and_has_both_spellings() -> None:
    service: Any = SlaveService()
    conn = FakeConnection(service, None, {})
    service.on_connect(conn)
    assert service.getconn() is service.exposed_getconn() is conn
    denied = {key for key, value in conn._config.items() if value is not True}
    assert denied == {"allow_exposed_attrs"} and len(conn._config) == 9
    service.exposed_execute("y = 2")
    assert service.eval("y") == service.exposed_eval("y") == 2
    assert service.exposed_namespace is service.namespace
    assert service.exposed_getmodule("sys") is sys
    box = types.SimpleNamespace()
    service.exposed_setattr(box, "a", 1)
    service.setattr(box, "b", 2)
    assert service.exposed_getattr(box, "b") == 2 and service.getattr(box, "a") == 1


class RecordingModules:
    """A getmodule that imports here and records what was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __call__(self, name: Any) -> Any:
        self.asked.append(name)
        return Slave().getmodule(name)


def test_a_module_namespace_fetches_each_module_once() -> None:
    getmodule = RecordingModules()
    ns = ModuleNamespace(getmodule)
    assert getmodule.asked == ["builtins", "importlib.util"]
    import xml.dom

    assert ns["xml.dom"] is ns["xml.dom"] is xml.dom and ns["xml", "dom"] is xml.dom
    assert ns.sys is ns.sys is sys
    assert getmodule.asked[2:] == ["xml.dom", ("xml", "dom"), "sys"]
    with pytest.raises(AttributeError, match="no_such_module"):
        ns.no_such_module
    with pytest.raises(ImportError):
        ns["no_such_module"]


def test_what_a_module_namespace_contains() -> None:
    ns = ModuleNamespace(RecordingModules())
    assert "os" in ns and "os.path" in ns and "__main__" in ns
    assert "no_such_module" not in ns and "no.such.module" not in ns and "" not in ns


def test_a_master_gets_the_slaves_tools() -> None:
    slave = Slave()
    conn = FakeConnection(None, slave, {})
    MasterService().on_connect(conn)  # type: ignore[arg-type]
    tools: Any = conn
    tools.execute("z = 3")
    assert tools.eval("z") == tools.namespace["z"] == 3
    assert tools.modules.sys is sys
    assert tools.builtin is tools.builtins and tools.builtins.len([1]) == 1
    assert isinstance(tools.teleport, functools.partial) and tools.teleport.args == (conn,)


def test_a_classic_service_is_slave_first_and_master_then() -> None:
    service: Any = ClassicService()
    order: list[str] = []

    class Slavish(Slave):
        @property
        def getmodule(self) -> Any:
            order.append("fetched" if service._conn is conn else "too early")
            return super().getmodule

    conn = FakeConnection(service, Slavish(), {})
    service.on_connect(conn)
    assert order[0] == "fetched" and conn._config["allow_all_attrs"]


def test_a_fake_slave_has_nothing_behind_its_names() -> None:
    names = exposed_names(FakeSlaveService)
    assert names == {
        f"exposed_{tool}" for tool in ("namespace", "execute", "eval", "getmodule", "getconn")
    }
    assert all(getattr(FakeSlaveService, name) is None for name in names)


def test_a_master_at_the_other_end_of_a_classic_client_installs_harmlessly() -> None:
    # The client gives out no modules, so a master that asks gets nothing, but no error either.
    client = ClassicClient()
    peer = types.SimpleNamespace(
        getmodule=client.exposed_getmodule, eval=None, execute=None, namespace=None
    )
    conn: Any = FakeConnection(None, peer, {})
    MasterService().on_connect(conn)
    assert conn.builtins is None and conn.eval is None
    # RPyC's own ClassicClient has None instead of a function.
    conn = FakeConnection(None, types.SimpleNamespace(getmodule=None), {})
    MasterService().on_connect(conn)
    assert not hasattr(conn, "modules")
